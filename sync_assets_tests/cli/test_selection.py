"""Which tables SELECT means: names and globs by themselves, selections through Dagster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sync_assets.cli.selection import configured_tables, named, selected
from sync_assets.engine.errors import ConfigurationError

DEFS = """\
type: sync_assets.TableSync
attributes:
  group: shop
  tables:
    - {source: orders, tags: {tier: gold}}
    - {source: items, group: other, owners: ["team:x"]}
    - {source: sales.orders, target: "replica.or ders"}
    - {source: 상점.주문, target: 공개.주문, group: korean}
"""
WHOLE = """\
  - source: tenant_a.visits
    partition_of: {table: all.visits, column: tenant, value: "{schema}"}
  - source: tenant_b.visits
    partition_of: {table: all.visits, column: tenant, value: "{schema}"}
"""


@pytest.fixture(autouse=True)
def _defs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "defs.yaml").write_text(DEFS)
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))


@pytest.mark.parametrize(
    ("words", "targets"),
    [
        ((), ["public.orders", "public.items", "replica.or ders", "공개.주문"]),
        (("orders",), ["public.orders"]),
        (("public.*",), ["public.orders", "public.items"]),
        (("*or*ders",), ["public.orders", "replica.or ders"]),
        (("replica.or ders",), ["replica.or ders"]),
        (("group:shop",), ["public.orders", "replica.or ders"]),
        (("key:target/public/*",), ["public.orders", "public.items"]),
        (('key:"target/public/items"',), ["public.items"]),
        (("key:target/공개/주문",), ["공개.주문"]),
        (('key:"target/공개/주문"',), ["공개.주문"]),
        (("not key:target/*/*ders and key:*/*주*",), ["공개.주문"]),
        (('key:"target/replica/or ders"',), ["replica.or ders"]),
        (("+target/public/orders",), ["public.orders"]),
        (("source/public/items+",), ["public.items"]),
        (("source/상점/주문+",), ["공개.주문"]),
        (("tag:tier=gold", 'owner:"team:x"'), ["public.orders", "public.items"]),
        (("group:shop and not tag:tier=gold",), ["replica.or ders"]),
        (("items", "group:shop"), ["public.orders", "public.items", "replica.or ders"]),
    ],
)
def test_a_word_selects(words: tuple[str, ...], targets: list[str]) -> None:
    _, tables = configured_tables()
    assert [str(each.table.target) for each in selected(tables, words)] == targets


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("ordres", "no target table matches 'ordres'"),
        ("sales.*", "no target table matches"),
        ("group:nothing", "no target table matches 'group:nothing'"),
        ("target/public/nothing", "no target table matches"),
        ("source/public/items", "no target table matches"),
        ("((", "Invalid selection string"),
        ("group:", "Invalid selection string"),
    ],
)
def test_a_word_that_selects_nothing_is_refused(word: str, said: str) -> None:
    _, tables = configured_tables()
    with pytest.raises(ConfigurationError) as raised:
        selected(tables, [word])
    assert said in str(raised.value)


def test_one_table_is_named_not_matched() -> None:
    _, tables = configured_tables()
    assert str(named(tables, "items", None).table.target) == "public.items"
    with pytest.raises(ConfigurationError, match="no target table matches"):
        named(tables, "public.*", None)


def test_a_plain_word_does_not_load_dagster() -> None:
    code = (
        "import sys\n"
        "from sync_assets.cli.selection import configured_tables, selected\n"
        "selected(configured_tables()[1], ['orders', 'public.*'])\n"
        "sys.exit('dagster' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_table_of_many_sources_selects_them(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(
        f"type: sync_assets.TableSync\nattributes:\n  tables:\n{WHOLE}"
    )
    _, tables = configured_tables()
    both = ["all.visits_tenant_a", "all.visits_tenant_b"]
    for word in ("all.visits", "all.vis*"):
        assert [str(each.table.target) for each in selected(tables, [word])] == both
    assert [str(each.table.target) for each in selected(tables, both[:1])] == both[:1]
    with pytest.raises(ConfigurationError, match="table of many sources") as refused:
        named(tables, "all.visits", None)
    assert "all.visits_tenant_a, all.visits_tenant_b" in refused.value.remedy
