"""Tables by pattern: which a component has over a source, and what holds for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sync_assets.config.catalog import Catalog, Discovered, read_catalog, taking, write_catalog
from sync_assets.config.folder import read_written
from sync_assets.config.model import TableSyncConfig
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.table import Deletes, SyncMode

KEYLESS = {"problem": "it has no key", "remedy": "Add one.", "whole": True}
SOURCE = Catalog(
    relations=(
        Discovered(source="sales.orders", key=("id",)),
        Discovered(source="sales.order_lines", key=("id",)),
        Discovered(source="sales.log_2024", key=("id",)),
        Discovered(source="sales.notes", **KEYLESS),
        Discovered(source='sales."a*b"', key=("id",)),
        Discovered(source="public.t", key=("id",)),
        Discovered(source="sales.fresh", key=("id",), taken=False),
    )
)


def config(tables: list[Any], catalog: Catalog | None = SOURCE, **more: Any) -> TableSyncConfig:
    return TableSyncConfig.model_validate({"tables": tables, **more}).with_catalog(catalog)


def sources(found: TableSyncConfig) -> list[str]:
    return [str(each.table.source) for each in found.synced_tables("g")]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        (["*.t"], ["public.t"]),
        (["sales.order*"], ["sales.orders", "sales.order_lines"]),
        (["sales.order?"], ["sales.orders"]),
        (["t*"], ["public.t"]),
        (
            [{"source": "sales.*", "except": ["*.log_*", "sales.orders"]}],
            ["sales.order_lines", "sales.a*b"],
        ),
        # A name in double quotes is a name.
        (['sales."a*b"'], ["sales.a*b"]),
        # Named and matched is there once; a name needs no catalog.
        (["sales.order*", "sales.orders"], ["sales.order_lines", "sales.orders"]),
        (["elsewhere.x"], ["elsewhere.x"]),
        (["nothing.*"], []),
    ],
)
def test_a_pattern_is_every_table_that_matches_and_can_be_synced(
    tables: list[Any], expected: list[str]
) -> None:
    assert sources(config([{"source": t} if isinstance(t, str) else t for t in tables])) == expected


def test_the_narrower_pattern_wins_and_a_table_s_own_words_over_both() -> None:
    found = config(
        [
            {"source": "sales.*", "deletes": "hard", "owners": ["team:sales"]},
            {"source": "sales.order*", "deletes": "soft"},
            {"source": "sales.orders", "max_delete_ratio": 0.5},
        ],
        defaults={"deletes": "ignore", "target": "raw.{schema}_{table}"},
    )
    said = {str(t.table.target): (t.table.deletes, t.owners) for t in found.synced_tables("g")}
    team = ("team:sales",)
    assert said == {
        "raw.sales_log_2024": (Deletes.HARD, team),
        "raw.sales_a*b": (Deletes.HARD, team),
        "raw.sales_order_lines": (Deletes.SOFT, team),
        "raw.sales_orders": (Deletes.SOFT, team),
    }
    assert found.synced_tables("g")[-1].table.max_delete_ratio == 0.5


def test_what_cannot_be_synced_is_left_out_and_named_unless_it_is_read_whole() -> None:
    assert {str(each.name): each.why for each in config([{"source": "sales.*"}]).left_out()} == {
        "sales.notes": "it has no key",
        "sales.fresh": "it is new, and waits to be taken",
    }
    whole = config([{"source": "sales.n*", "sync_mode": "full_sync"}])
    assert [t.table.mode for t in whole.synced_tables("g")] == [SyncMode.FULL_SYNC]
    assert sources(config([{"source": "sales.f*"}], taking(SOURCE, ["sales.fr*"]))) == [
        "sales.fresh"
    ]


def written(folder: Path, tables: list[Any]) -> Path:
    (folder / "shop").mkdir(exist_ok=True)
    text = yaml.safe_dump({"type": "sync_assets.TableSync", "attributes": {"tables": tables}})
    (folder / "shop" / "defs.yaml").write_text(text)
    return folder


def test_the_catalog_is_read_from_beside_the_definitions(tmp_path: Path) -> None:
    place = written(tmp_path, [{"source": "sales.order*"}])
    (component,) = read_written(place).components
    assert read_written(place).tables == []
    write_catalog(component.catalog_file, SOURCE)
    assert read_catalog(component.catalog_file) == SOURCE
    assert component.catalog_file.is_relative_to(tmp_path / ".local_defs_state")
    (table, _) = read_written(place).tables
    assert (str(table.table.source), table.group) == ("sales.orders", "shop")
    assert table.discovered == SOURCE.relations[0]


def test_two_patterns_onto_one_target_are_refused_with_the_line(tmp_path: Path) -> None:
    place = written(
        tmp_path,
        [{"source": "sales.orders", "target": "x.y"}, {"source": "public.*", "target": "x.y"}],
    )
    (component,) = read_written(place).components
    write_catalog(component.catalog_file, SOURCE)
    with pytest.raises(
        ConfigurationError, match=r"shop/defs.yaml:\d+: attributes.tables\[1\].target: 'x.y'"
    ):
        read_written(place)


@pytest.mark.parametrize("text", ["", "{", '{"version": 2, "relations": []}'])
def test_a_catalog_that_cannot_be_read_says_how_to_write_it_anew(tmp_path: Path, text: str) -> None:
    place = written(tmp_path, [{"source": "sales.*"}])
    (component,) = read_written(place).components
    write_catalog(component.catalog_file, SOURCE)
    component.catalog_file.write_text(text)
    with pytest.raises(
        ConfigurationError, match=r"cannot be read: .*Write it anew: sync-assets refresh"
    ):
        read_written(place)
