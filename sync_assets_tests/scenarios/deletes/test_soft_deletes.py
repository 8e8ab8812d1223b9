"""`deletes: soft`: a row that is gone from the source is marked, once, and unmarked when it returns."""

from __future__ import annotations

import pytest

from sync_assets.engine.errors import ConfigurationError, DeleteGuard, SchemaConflict, UnusableKey
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v text)"
FILL = "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 1000) i"
MARKED = "SELECT id, v, deleted_at IS NOT NULL FROM t WHERE id <= 3 ORDER BY id"


@pytest.fixture(autouse=True)
def _synced(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes="soft")


def test_a_deleted_row_is_marked_once_with_the_snapshot_s_time(pair: Pair) -> None:
    pair.source("DELETE FROM t WHERE id IN (1, 2)")
    receipt = pair.sync(deletes="soft")
    assert (receipt.rows_deleted, receipt.rows_in_target) == (2, 998)
    assert pair.target(MARKED) == [(1, "v1", True), (2, "v2", True), (3, "v3", False)]
    times = "SELECT DISTINCT deleted_at FROM t WHERE deleted_at IS NOT NULL"
    assert [time.isoformat() for (time,) in pair.target(times)] == [receipt.snapshot_at]
    before = pair.target("SELECT id, deleted_at, xmin, ctid FROM t ORDER BY id")
    assert pair.sync(deletes="soft").rows_deleted == 0
    assert pair.target("SELECT id, deleted_at, xmin, ctid FROM t ORDER BY id") == before


def test_a_row_that_returns_is_unmarked_even_when_nothing_else_differs(pair: Pair) -> None:
    pair.source("DELETE FROM t WHERE id = 1")
    pair.sync(deletes="soft")
    pair.source("INSERT INTO t VALUES (1, 'v1')")
    receipt = pair.sync(deletes="soft")
    assert (receipt.rows_updated, receipt.rows_in_target) == (1, 1000)
    assert pair.target(MARKED)[0] == (1, "v1", False)
    assert pair.is_exact()


@pytest.mark.parametrize("mode", ["full_sync", "xmin_incremental"])
def test_full_sync_marks_too(pair: Pair, mode: str) -> None:
    pair.source("DELETE FROM t WHERE id = 1", "UPDATE t SET id = 5000 WHERE id = 2")
    receipt = pair.engine().copy_table_data("t", "t", mode, deletes="soft")
    assert (receipt.rows_deleted, receipt.rows_inserted) == (2, 1)
    assert [marked for _, _, marked in pair.target(MARKED)] == [True, True, False]


def test_the_guards_hold_and_look_at_live_rows(pair: Pair) -> None:
    pair.source("DELETE FROM t WHERE id <= 400")
    pair.sync(deletes="soft")
    pair.source("DELETE FROM t WHERE id <= 800")
    with pytest.raises(DeleteGuard, match="400 of 600"):
        pair.sync(deletes="soft")
    pair.source("TRUNCATE t")
    with pytest.raises(DeleteGuard, match="is empty"):
        pair.sync(deletes="soft")
    assert pair.sync(deletes="soft", confirm_deletes=600).rows_deleted == 600
    assert pair.target("SELECT count(*) FROM t WHERE deleted_at IS NULL") == [(0,)]


def test_switching_to_hard_deletes_what_was_marked_and_to_ignore_still_unmarks(pair: Pair) -> None:
    pair.source("DELETE FROM t WHERE id IN (1, 2)")
    pair.sync(deletes="soft")
    pair.source("INSERT INTO t VALUES (1, 'v1')")
    assert pair.sync().rows_updated == 1
    assert pair.target(MARKED)[:2] == [(1, "v1", False), (2, "v2", True)]
    assert pair.sync(deletes="hard").rows_deleted == 1
    assert pair.is_exact()


def test_the_column_has_another_name_where_the_source_has_one_of_its_own(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE u (id integer PRIMARY KEY, deleted_at date)", "INSERT INTO u VALUES (1), (2)"
    )
    with pytest.raises(ConfigurationError, match="'deleted_at' of its own") as caught:
        pair.sync("u", deletes="soft")
    assert "deleted_column" in caught.value.remedy
    pair.sync("u", deletes="soft", deleted_column="gone_at", allow_empty=True)
    pair.source("DELETE FROM u WHERE id = 1")
    assert pair.sync("u", deletes="soft", deleted_column="gone_at").rows_deleted == 1
    assert pair.target("SELECT id, gone_at IS NULL FROM u ORDER BY id") == [(1, False), (2, True)]


def test_a_column_of_that_name_that_is_something_else_is_refused(pair: Pair) -> None:
    pair.source("CREATE TABLE u (id integer PRIMARY KEY)")
    pair.target("CREATE TABLE u (id integer PRIMARY KEY, deleted_at text)")
    with pytest.raises(SchemaConflict, match=r"'deleted_at' of public\.u is text") as caught:
        pair.sync("u", deletes="soft")
    assert "deleted_column" in caught.value.remedy


def test_rows_without_a_key_cannot_be_marked(pair: Pair) -> None:
    pair.source("CREATE TABLE u (v text)")
    with pytest.raises(UnusableKey, match="cannot be marked"):
        pair.engine().copy_table_data("u", "u", deletes="soft")
