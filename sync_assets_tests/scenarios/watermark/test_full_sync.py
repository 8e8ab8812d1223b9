"""full_sync leaves the target equal to the source, and refuses what looks like a mistake."""

from __future__ import annotations

import pytest

from sync_assets.engine import Progress
from sync_assets.engine.errors import DeleteGuard
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways


@pytest.fixture(autouse=True)
def _synced(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text UNIQUE)",
        "INSERT INTO t SELECT i, i::text FROM generate_series(1, 1000) i",
    )
    pair.engine().copy_table_data("t", "t")


def test_deletes_and_changed_keys_follow_the_source(pair: Pair) -> None:
    pair.source("DELETE FROM t WHERE id <= 20", "UPDATE t SET id = id + 5000 WHERE id > 990")
    receipt = pair.engine().copy_table_data("t", "t")
    assert (receipt.rows_deleted, receipt.rows_inserted) == (30, 10)
    assert receipt.rows_in_target == 980
    assert pair.is_exact()


def test_xmin_incremental_keeps_what_the_source_deleted_and_a_full_pass_counts_it(
    pair: Pair,
) -> None:
    pair.source("DELETE FROM t WHERE id <= 20")
    assert pair.sync().rows_deleted == 0
    receipt = pair.sync(full_refresh=True)
    assert receipt.rows_only_in_target == 20
    assert pair.target("SELECT count(*) FROM t") == [(1000,)]


def test_a_delete_of_most_rows_is_refused_and_changes_nothing(pair: Pair) -> None:
    pair.source("DELETE FROM t WHERE id > 400")
    with pytest.raises(DeleteGuard, match="600 of 1000 rows"):
        pair.engine().copy_table_data("t", "t")
    assert pair.target("SELECT count(*) FROM t") == [(1000,)]
    with pytest.raises(DeleteGuard, match="599 were confirmed"):
        pair.engine().copy_table_data("t", "t", confirm_deletes=599)
    assert pair.engine().copy_table_data("t", "t", confirm_deletes=600).rows_deleted == 600
    assert pair.is_exact()


def test_an_emptied_source_is_refused_unless_that_is_allowed(pair: Pair) -> None:
    pair.source("TRUNCATE t")
    with pytest.raises(DeleteGuard, match="is empty"):
        pair.engine().copy_table_data("t", "t")
    assert pair.engine().copy_table_data("t", "t", allow_empty=True).rows_deleted == 1000
    assert pair.is_exact()


def test_switching_the_mode_needs_nothing_and_loses_nothing(pair: Pair) -> None:
    pair.source("UPDATE t SET v = 'a' || v WHERE id <= 10")
    assert pair.sync().rows_updated == 10
    pair.source("UPDATE t SET v = 'b' || v WHERE id <= 10", "DELETE FROM t WHERE id = 500")
    receipt = pair.engine().copy_table_data("t", "t")
    assert (receipt.rows_updated, receipt.rows_deleted) == (10, 1)
    assert pair.sync().rows_exported == 0
    assert pair.is_exact()


def test_readers_grants_views_and_foreign_keys_of_the_target_live_on(pair: Pair) -> None:
    pair.target(
        "CREATE VIEW seen AS SELECT count(*) AS rows, sum(id) AS ids FROM t",
        "GRANT SELECT ON t TO PUBLIC",
        "CREATE TABLE child (t integer REFERENCES t)",
        "INSERT INTO child VALUES (7)",
    )
    identity = "SELECT oid, relfilenode, relacl FROM pg_class WHERE relname = 't'"
    before = pair.target(identity)
    pair.source(
        "UPDATE t SET id = id + 10000 WHERE id > 900",
        "DELETE FROM t WHERE id BETWEEN 100 AND 199",
    )
    seen: list[tuple[int, int]] = []

    def look(progress: Progress) -> None:
        seen.extend(pair.target("SELECT * FROM seen"))

    pair.engine(on_progress=look).copy_table_data("t", "t")
    seen += pair.target("SELECT * FROM seen")
    assert set(seen) == {(1000, 500500), (900, 500500 - 14950 + 1000000)}
    assert pair.target(identity) == before
    assert pair.target("SELECT count(*) FROM child JOIN t ON t.id = child.t") == [(1,)]
    assert pair.is_exact()
