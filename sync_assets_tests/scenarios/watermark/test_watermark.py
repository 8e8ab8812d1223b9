"""No committed row is ever missed, however late it commits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from psycopg2.extensions import connection

from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways
from sync_assets_tests.scenarios.faults.faults import MANY_WORKERS

pytestmark = both_ways

FIRST_ROWS = (
    "CREATE TABLE t (id integer PRIMARY KEY, v text)",
    "INSERT INTO t SELECT i, 'first' FROM generate_series(1, 100) i",
)


@pytest.fixture
def slow(pair: Pair) -> Iterator[connection]:
    """A session on the source that takes its time, over rows that are already synced."""
    pair.source(*FIRST_ROWS)
    pair.sync()
    with closing(psycopg2.connect(pair.source_url)) as session:
        yield session


def test_a_transaction_open_across_a_sync_arrives_with_the_next(
    pair: Pair, slow: connection
) -> None:
    slow.cursor().execute("INSERT INTO t VALUES (1000, 'late'); UPDATE t SET v = 'x' WHERE id = 7")
    pair.source("INSERT INTO t VALUES (1001, 'quick')")
    during = pair.sync()
    assert during.rows_inserted == 1
    slow.commit()
    assert not pair.is_exact()
    after = pair.sync()
    assert (after.rows_inserted, after.rows_updated) == (1, 1)
    assert pair.is_exact()


def test_the_highest_xmin_is_not_the_mark(pair: Pair, slow: connection) -> None:
    slow.cursor().execute("INSERT INTO t VALUES (1000, 'late')")
    pair.source("INSERT INTO t VALUES (1001, 'quick')")
    receipt = pair.sync()
    assert receipt.source_max_xmin is not None
    assert receipt.watermark < receipt.source_max_xmin


def test_rows_read_again_behind_an_open_transaction_are_not_written_again(
    pair: Pair, slow: connection
) -> None:
    slow.cursor().execute("INSERT INTO t VALUES (1000, 'late')")
    pair.source("INSERT INTO t VALUES (1001, 'quick')")
    pair.sync()
    again = pair.sync()
    assert again.rows_exported == again.rows_unchanged == 1
    assert again.rows_written == 0


def test_savepoints_kept_and_rolled_back_across_a_sync(pair: Pair, slow: connection) -> None:
    cursor = slow.cursor()
    cursor.execute("INSERT INTO t VALUES (1000, 'outer')")
    cursor.execute("SAVEPOINT a; INSERT INTO t VALUES (1001, 'kept')")
    cursor.execute("SAVEPOINT b; INSERT INTO t VALUES (1002, 'gone'); ROLLBACK TO b")
    pair.source("INSERT INTO t VALUES (1003, 'quick')")
    assert pair.sync().rows_inserted == 1
    cursor.execute("SAVEPOINT c; UPDATE t SET v = 'sub' WHERE id = 9; RELEASE c")
    slow.commit()
    receipt = pair.sync()
    assert (receipt.rows_inserted, receipt.rows_updated) == (2, 1)
    assert pair.is_exact()


def test_many_subtransactions_overflow_the_snapshot_and_none_is_lost(
    pair: Pair, slow: connection
) -> None:
    cursor = slow.cursor()
    for i in range(200):
        cursor.execute(f"SAVEPOINT s; INSERT INTO t VALUES ({1000 + i}, 'sub'); RELEASE s")
    pair.source("INSERT INTO t VALUES (5000, 'quick')")
    pair.sync()
    slow.commit()
    assert pair.sync().rows_inserted == 200
    assert pair.is_exact()


def test_a_prepared_transaction_arrives_once_it_is_committed(pair: Pair, slow: connection) -> None:
    slow.cursor().execute("INSERT INTO t VALUES (1000, 'late')")
    slow.cursor().execute("PREPARE TRANSACTION 'sync_test'")
    pair.source("INSERT INTO t VALUES (1001, 'quick')")
    assert pair.sync().rows_inserted == 1
    pair.source("COMMIT PREPARED 'sync_test'")
    assert pair.sync().rows_inserted == 1
    assert pair.is_exact()


def test_a_row_only_locked_is_not_sent_again(pair: Pair, slow: connection) -> None:
    slow.cursor().execute("SELECT * FROM t WHERE id < 50 FOR UPDATE")
    slow.commit()
    assert pair.sync().rows_exported == 0


def test_vacuum_freeze_and_vacuum_full_send_nothing_again(pair: Pair) -> None:
    pair.source(*FIRST_ROWS)
    pair.sync()
    pair.source("VACUUM FREEZE t", "VACUUM FULL t")
    assert pair.sync().rows_exported == 0


def test_rows_that_are_frozen_as_they_are_loaded_arrive(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    pair.sync(deletes="hard")
    frozen = "COPY t FROM PROGRAM 'seq 1 50' WITH (FREEZE)"
    pair.source(f"BEGIN; TRUNCATE t; {frozen}; COMMIT", "VACUUM FREEZE t")
    receipt = pair.sync(deletes="hard")
    assert (receipt.rows_exported, receipt.rows_inserted, receipt.full) == (50, 49, False)
    assert pair.is_exact()


def test_rows_that_move_between_chunks_during_an_export_are_neither_lost_nor_doubled(
    pair: Pair,
) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text) WITH (fillfactor = 100)",
        "INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 10000) i",
    )
    moved: list[object] = []

    def move(progress: object) -> None:
        # After the snapshot, before any chunk: rows go from the first pages to the last ones,
        # and new rows into the room they leave.
        if getattr(progress, "phase", "") == "export" and not moved:
            moved.append(pair.source("UPDATE t SET v = repeat('y', 501) WHERE id <= 2000"))
            pair.source(
                "DELETE FROM t WHERE id BETWEEN 5000 AND 5500",
                "INSERT INTO t SELECT i, 'new' FROM generate_series(10001, 12000) i",
            )

    with MANY_WORKERS():
        receipt = pair.engine(on_progress=move).copy_table_data_with_xmin("t", "t")
    assert receipt.chunks > 1
    assert receipt.rows_inserted == 10_000
    assert pair.target("SELECT count(*), count(DISTINCT id), max(length(v)) FROM t") == [
        (10_000, 10_000, 500)
    ]
    after = pair.sync()
    assert (after.rows_inserted, after.rows_updated) == (2000, 2000)
    pair.engine().copy_table_data("t", "t")
    assert pair.is_exact()
