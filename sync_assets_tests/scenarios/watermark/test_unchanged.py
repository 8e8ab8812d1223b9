"""A target row that did not change is not written, whatever was read again."""

from __future__ import annotations

from typing import Any

import pytest

from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

CREATE = (
    "CREATE TABLE t (id integer PRIMARY KEY, v text, n numeric, j json)",
    "INSERT INTO t SELECT i, 'v' || i, 1.0, '{}' FROM generate_series(1, 5000) i",
)
LEAVES = "SELECT leaf, ctid::text, xmin::text FROM sync_assets.state_leaf"
VERSIONS = "SELECT id, ctid::text, xmin::text FROM t ORDER BY id"


def test_the_same_table_synced_twice_writes_nothing(pair: Pair) -> None:
    pair.source(*CREATE)
    pair.sync()
    before, leaves = pair.target(VERSIONS), pair.target(LEAVES)
    receipt = pair.sync()
    assert (receipt.rows_exported, receipt.rows_written) == (0, 0)
    assert pair.target(VERSIONS) == before
    assert pair.target(LEAVES) == leaves


def test_a_full_refresh_reads_everything_and_writes_nothing(pair: Pair) -> None:
    pair.source(*CREATE)
    pair.sync()
    before = pair.target(VERSIONS)
    for receipt in (pair.sync(full_refresh=True), pair.engine().copy_table_data("t", "t")):
        assert (receipt.rows_exported, receipt.rows_unchanged) == (5000, 5000)
        assert receipt.rows_written == 0
    assert pair.target(VERSIONS) == before


def test_an_update_that_changes_nothing_is_read_and_not_written(pair: Pair) -> None:
    pair.source(*CREATE)
    pair.sync()
    before = pair.target(VERSIONS)
    pair.source("UPDATE t SET v = v WHERE id <= 100")
    receipt = pair.sync()
    assert (receipt.rows_exported, receipt.rows_unchanged, receipt.rows_written) == (100, 100, 0)
    assert pair.target(VERSIONS) == before


def test_only_the_changed_rows_are_written(pair: Pair) -> None:
    pair.source(*CREATE)
    pair.sync()
    before = {row[0]: row[1:] for row in pair.target(VERSIONS)}
    pair.source("UPDATE t SET n = 1.00 WHERE id BETWEEN 10 AND 19")
    assert pair.sync(full_refresh=True).rows_updated == 10
    after = {row[0]: row[1:] for row in pair.target(VERSIONS)}
    assert sorted(key for key in after if after[key] != before[key]) == list(range(10, 20))
    assert pair.is_exact()


AGAIN: dict[str, dict[str, Any]] = {
    "by cursor": {"sync_mode": "incremental_sync", "cursor": "id"},
    "by cursor alone": {
        "sync_mode": "incremental_sync",
        "cursor": "id",
        "lookback": 10000,
        "late_commits": "lookback",
    },
    "whole, deleting": {"sync_mode": "full_sync"},
    "whole, marking": {"sync_mode": "full_sync", "deletes": "soft"},
    "whole after the table's configuration changed": {"where": "id > 0"},
    "by xid, comparing keys": {"deletes": "hard", "full_refresh": True},
}


@pytest.mark.parametrize("way", AGAIN)
def test_rows_read_again_in_any_way_keep_their_place_and_version(pair: Pair, way: str) -> None:
    pair.source(*CREATE)
    pair.sync(deletes=AGAIN[way].get("deletes", "ignore"))
    before = pair.target(VERSIONS)
    options = {"sync_mode": "xmin_incremental", **AGAIN[way]}
    for _ in range(2):
        pair.source("UPDATE t SET v = v WHERE id = 1")
        receipt = pair.engine().copy_table_data("t", "t", **options)
        assert (receipt.rows_written, receipt.rows_unchanged) == (0, receipt.rows_exported)
        assert receipt.rows_exported > 0
    assert pair.target(VERSIONS) == before


def test_rows_without_a_key_are_not_written_again_either(pair: Pair) -> None:
    pair.source(CREATE[0].replace(" PRIMARY KEY", ""), CREATE[1])
    for _ in range(2):
        receipt = pair.engine().copy_table_data("t", "t")
        before = pair.target(VERSIONS)
    assert (receipt.rows_written, receipt.rows_unchanged) == (0, 5000)
    pair.engine().copy_table_data("t", "t")
    assert pair.target(VERSIONS) == before


def test_source_xmin_is_the_64_bit_xid_of_the_version_that_was_written(pair: Pair) -> None:
    pair.source(*CREATE)
    pair.sync()
    pair.source("UPDATE t SET v = 'x' WHERE id = 42")
    receipt = pair.sync()
    ((xmin,),) = pair.source("SELECT xmin::text::bigint FROM t WHERE id = 42")
    assert pair.target("SELECT source_xmin FROM t WHERE id = 42") == [(xmin,)]
    assert receipt.max_xmin == receipt.source_max_xmin == xmin
    assert pair.engine().get_source_max_xmin("t") == xmin
