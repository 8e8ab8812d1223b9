"""Tables of a snapshot group: one op, one moment of the source, all or none."""

from typing import Any

import dagster as dg
import pytest

from sync_assets.cli.selection import selected
from sync_assets.config.model import TableSyncConfig
from sync_assets_tests.fixtures.pair import Pair, execute
from sync_assets_tests.fixtures.ticks import Ticks

ATTRIBUTES: dict[str, Any] = {
    "tables": [
        {"source": "orders", "snapshot_group": "sales", "schedule": "@daily"},
        {"source": "single"},
        {"source": "lines", "snapshot_group": "sales", "schedule": "@daily"},
    ]
}
BOTH = [dg.AssetKey(["target", "public", name]) for name in ("orders", "lines")]


@pytest.fixture
def ticks(pair: Pair, instance: dg.DagsterInstance) -> Ticks:
    pair.source(
        "CREATE TABLE orders (id int PRIMARY KEY)",
        "CREATE TABLE lines (id int PRIMARY KEY)",
        "CREATE TABLE single (id int PRIMARY KEY)",
        "INSERT INTO orders VALUES (1)",
        "INSERT INTO lines VALUES (1)",
    )
    return Ticks(instance, pair.source_url, pair.target_url, ATTRIBUTES)


def test_they_are_one_op_that_cannot_be_split(ticks: Ticks) -> None:
    definitions = ticks.definitions
    graph = definitions.resolve_asset_graph()
    assert graph.get(BOTH[0]).execution_set_asset_keys == set(BOTH)
    (assets,) = {definitions.resolve_assets_def(key) for key in BOTH}
    assert assets.op.name == "target__public__orders__sales"
    assert not assets.can_subset


def test_each_has_its_receipt_of_the_same_snapshot(ticks: Ticks) -> None:
    result = ticks.run()
    receipts = {
        key: result.asset_materializations_for_node("target__public__orders__sales") for key in BOTH
    }[BOTH[0]]
    assert [receipt.asset_key for receipt in receipts] == BOTH
    moments = (
        "SELECT DISTINCT receipt -> 'snapshot_at' FROM sync_assets.receipt"
        f" WHERE run_id = '{result.run_id}' AND target_table <> 'single'"
    )
    assert len(execute(ticks.target_url, moments)) == 1
    assert [receipt.metadata["sync/rows_inserted"].value for receipt in receipts] == [1, 1]


def test_one_that_fails_leaves_all_as_they_were(ticks: Ticks, pair: Pair) -> None:
    assert ticks.run().success
    pair.source("INSERT INTO orders VALUES (2)", "INSERT INTO lines VALUES (2)")
    pair.target("ALTER TABLE lines ADD CHECK (id < 2)")
    result = ticks.run()
    assert [e.asset_key for e in result.get_asset_materialization_events()] == [
        dg.AssetKey(["target", "public", "single"])
    ]
    assert pair.target("SELECT id FROM orders") == [(1,)]


def test_a_change_of_one_asks_for_all(ticks: Ticks, pair: Pair) -> None:
    assert ticks.run().success
    pair.source("INSERT INTO lines VALUES (2)")
    assert ticks.tick() == [["lines", "orders"]]
    assert ticks.tick() == []


def test_the_command_line_takes_all_where_one_is_named() -> None:
    tables = TableSyncConfig.model_validate(ATTRIBUTES).synced_tables("")
    assert [str(s.table.target) for s in selected(tables, ["lines"])] == [
        "public.orders",
        "public.lines",
    ]
    assert [str(s.table.target) for s in selected(tables, ["single"])] == ["public.single"]
