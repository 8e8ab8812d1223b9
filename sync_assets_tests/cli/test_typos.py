"""A mistyped word is answered with the right one: forty of them, of every kind that a person types."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sync_assets.cli import main
from sync_assets_tests.fixtures.pair import Pair

DEFS = """\
type: sync_assets.TableSync
attributes:
  defaults: {group: shop}
  tables:
    - {source: orders, tags: {tier: gold}}
    - {source: sales.order_lines, owners: ["team:data"]}
    - {source: sales.customers}
    - {source: 상점.주문}
"""
SOURCE = (
    "CREATE SCHEMA sales",
    "CREATE SCHEMA 상점",
    "CREATE TABLE orders (id int PRIMARY KEY, email text)",
    "CREATE TABLE sales.order_lines (id int PRIMARY KEY)",
    "CREATE TABLE sales.customers (id int PRIMARY KEY)",
    "CREATE TABLE 상점.주문 (id int PRIMARY KEY)",
)

# what was typed, after `sync-assets`: what was meant
TYPED = {
    # commands and options
    "rnu": "run",
    "verfy": "verify",
    "statsu": "status",
    "docter": "doctor",
    "state exprot file": "export",
    "run --ful-refresh": "--full-refresh",
    "verify --repiar": "--repair",
    "metrics --lisen x": "--listen",
    # tables, in commands of every kind
    "run ordres": "public.orders",
    "plan sales.order_line": "sales.order_lines",
    "check sales.custmers": "sales.customers",
    "status slaes.customers": "sales.customers",
    "verify Sales.Customers": "sales.customers",
    "check 상점.주믄": "상점.주문",
    "why oders 1": "public.orders",
    "forget sales.custoners --yes": "sales.customers",
    "compare source target sales.customer": "sales.customers",
    # globs
    "run slaes.*": "sales.*",
    "run order_*": "sales.order_*",
    "compare source target salse.*": "sales.*",
    "refresh --take salse.*": "sales.*",
    "init slaes": "sales",
    # selections
    "run group:sohp": "group:shop",
    "run gruop:shop": "group:shop",
    "run tag:tier=glod": "tag:tier=gold",
    "run owner:team:dta": 'owner:"team:data"',
    "run key:target/sales/custmers": "key:target/sales/customers",
    # connections
    "compare suorce target orders": "source",
    "state export - --connection targte": "target",
}
# what was written, at the table public.orders or the component: what was meant
WRITTEN = {
    # keys
    "      sorce: x": "source",
    "      delets: hard": "deletes",
    "      snapshot_grup: g": "snapshot_group",
    "      checks: {rowcount: true}": "row_count",
    "  defualts: {deletes: hard}": "defaults",
    "  alerts: {webhok: x}": "webhook",
    "  limits: {max_mb_per_secnd: 1}": "max_mb_per_second",
    # values
    "      sync_mode: ful_sync": "full_sync",
    "      sync_mode: xmin_incremetal": "xmin_incremental",
    "      deletes: sotf": "soft",
    "      on_schema_change: evovle": "evolve",
    "      carry: [indexs]": "indexes",
    "      carry: [indexes, foreign_key]": "foreign_keys",
    "      mask: {email: hamc}": "hmac",
    "      mask: {email: {keep_lats: 4}}": "keep_last",
    # tables of the source
    "    - source: sales.custmers": "sales.customers",
    "    - source: Orders": "public.orders",
}


@pytest.fixture(autouse=True)
def _project(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.source(*SOURCE)
    (tmp_path / "defs.yaml").write_text(DEFS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)


def told(*words: str) -> str:
    """What a command that fails says."""
    result = CliRunner().invoke(main, words)
    assert result.exit_code in (1, 2), result.output
    return result.stderr


def answered(said: str, meant: str) -> bool:
    return f"id you mean {meant}?" in said or f"id you mean '{meant}'?" in said


def test_there_are_forty_of_them() -> None:
    assert len(TYPED) + len(WRITTEN) >= 40


@pytest.mark.parametrize(("words", "meant"), TYPED.items(), ids=TYPED)
def test_a_mistyped_word_of_a_command(words: str, meant: str) -> None:
    if words.startswith("forget"):
        assert CliRunner().invoke(main, ["run", "--json"]).exit_code == 0
    assert answered(said := told(*words.split()), meant), said


@pytest.mark.parametrize(("line", "meant"), WRITTEN.items(), ids=WRITTEN)
def test_a_mistyped_word_of_a_file(line: str, meant: str, tmp_path: Path) -> None:
    if line.startswith("    - "):
        at_table, at_end = "", f"  tables:\n{line}\n"
    elif line.startswith("      "):
        at_table, at_end = f"{line}\n", ""
    else:
        at_table, at_end = "", f"{line}\n"
    tables = "" if at_end.startswith("  tables") else f"  tables:\n    - source: orders\n{at_table}"
    text = f"type: sync_assets.TableSync\nattributes:\n{tables}{at_end}"
    (tmp_path / "defs.yaml").write_text(text)
    assert answered(said := told("run"), meant), said


def test_what_nothing_is_near_is_not_guessed() -> None:
    for words in ("run zebra", "run zebra.*", "run group:zebra", "frobnicate", "init zebra"):
        assert "id you mean" not in told(*words.split())
