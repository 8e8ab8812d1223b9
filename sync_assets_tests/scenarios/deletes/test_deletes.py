"""`deletes: hard`: what the source no longer has goes, in an incremental run too."""

from __future__ import annotations

import pytest

from sync_assets.engine import Progress
from sync_assets.engine.errors import ConfigurationError, DeleteGuard
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways


@pytest.fixture(autouse=True)
def _synced(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (a text, b integer, v text, PRIMARY KEY (b, a))",
        "INSERT INTO t SELECT 'k,\"' || i, i, 'v' FROM generate_series(1, 2000) i",
    )
    pair.sync(deletes="hard")


def test_deleted_rows_go_and_only_changed_rows_are_read(pair: Pair) -> None:
    pair.source("DELETE FROM t WHERE b % 100 = 0", "UPDATE t SET v = 'x' WHERE b = 7")
    receipt = pair.sync(deletes="hard")
    assert (receipt.rows_exported, receipt.rows_updated, receipt.rows_deleted) == (1, 1, 20)
    assert (receipt.rows_in_target, receipt.rows_only_in_target) == (1980, 0)
    assert pair.is_exact()
    assert pair.sync(deletes="hard").rows_written == 0


def test_a_changed_key_moves_the_row(pair: Pair) -> None:
    pair.source("UPDATE t SET b = b + 10000 WHERE b <= 5")
    receipt = pair.sync(deletes="hard")
    assert (receipt.rows_inserted, receipt.rows_deleted) == (5, 5)
    assert pair.is_exact()


def test_keys_are_compared_on_the_export_s_own_snapshot(pair: Pair) -> None:
    pair.source("DELETE FROM t WHERE b = 1")

    def meddle(progress: Progress) -> None:
        # Gone after the snapshot: the snapshot still has them, so they stay until the next run.
        if progress.phase == "export" and not progress.bytes:
            pair.source("DELETE FROM t WHERE b BETWEEN 10 AND 19", "INSERT INTO t VALUES ('n', 1)")

    engine = pair.engine(on_progress=meddle)
    receipt = engine.copy_table_data_with_xmin("t", "t", deletes="hard")
    assert (receipt.rows_deleted, receipt.rows_inserted) == (1, 0)
    receipt = pair.sync(deletes="hard")
    assert (receipt.rows_deleted, receipt.rows_inserted) == (10, 1)
    assert pair.is_exact()


def test_rows_deleted_by_a_transaction_still_open_stay(pair: Pair) -> None:
    import psycopg2

    session = psycopg2.connect(pair.source_url)
    session.cursor().execute("DELETE FROM t WHERE b <= 3")
    assert pair.sync(deletes="hard").rows_deleted == 0
    session.commit()
    session.close()
    assert pair.sync(deletes="hard").rows_deleted == 3
    assert pair.is_exact()


def test_a_truncated_source_is_refused_until_it_is_confirmed(pair: Pair) -> None:
    pair.source("TRUNCATE t")
    with pytest.raises(DeleteGuard, match="is empty"):
        pair.sync(deletes="hard")
    assert pair.sync(deletes="hard", confirm_deletes=2000).rows_deleted == 2000
    assert pair.is_exact()


def test_a_delete_of_most_rows_is_refused(pair: Pair) -> None:
    pair.source("DELETE FROM t WHERE b > 500")
    with pytest.raises(DeleteGuard, match="1500 of 2000"):
        pair.sync(deletes="hard")
    assert pair.target("SELECT count(*) FROM t") == [(2000,)]


def test_without_it_deleted_rows_stay(pair: Pair) -> None:
    pair.source("DELETE FROM t WHERE b <= 10")
    assert pair.sync().rows_deleted == 0
    assert pair.sync(deletes="hard").rows_deleted == 10


def test_a_detached_partition_s_rows_go(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE p (id integer PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (100) TO (200)",
        "INSERT INTO p SELECT generate_series(1, 150)",
    )
    pair.sync("public.p", deletes="hard")
    pair.source("ALTER TABLE p DETACH PARTITION p_2")
    assert pair.sync("public.p", deletes="hard").rows_deleted == 51
    assert pair.is_exact("public.p")


def test_an_unknown_word_names_the_known_ones(pair: Pair) -> None:
    with pytest.raises(ConfigurationError, match="ignore, hard"):
        pair.sync(deletes="gently")
    assert pair.leftovers() == []
