"""Each run remembers the rows with the newest xids, whatever the history that wrote them."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from sync_assets_tests.fixtures.pair import Pair

MANY = 20_000
"""Rows of which a sample of one in a hundred bounds the newest hundred."""

AT_ONCE = f"INSERT INTO t SELECT i, 'v' FROM generate_series(1, {MANY}) i"
# Each block is a subtransaction, and has an xid of its own.
ONE_BY_ONE = """
DO $$ BEGIN FOR i IN {}..{} LOOP
  BEGIN INSERT INTO t VALUES (i, 'v'); EXCEPTION WHEN unique_violation THEN NULL; END;
END LOOP; END $$
"""
HISTORIES = {
    "few rows": [ONE_BY_ONE.format(1, 30)],
    "a bulk load": [AT_ONCE],
    "a bulk load and some rows more": [AT_ONCE, ONE_BY_ONE.format(MANY + 1, MANY + 60)],
    "a bulk load and many rows more": [AT_ONCE, ONE_BY_ONE.format(MANY + 1, MANY + 250)],
    "rows one by one": [ONE_BY_ONE.format(1, MANY)],
    "rows one by one, and all of them again": [ONE_BY_ONE.format(1, MANY), "UPDATE t SET v = 'w'"],
}


@pytest.mark.parametrize("history", HISTORIES)
def test_the_newest_rows_are_remembered(pair: Pair, history: str) -> None:
    pair.source("CREATE TABLE t (id integer PRIMARY KEY, v text)", *HISTORIES[history])
    pair.sync()
    ((samples,),) = pair.target("SELECT samples FROM sync_assets.state")
    newest = pair.target("SELECT source_xmin FROM t ORDER BY source_xmin DESC LIMIT 100")
    assert [(xid,) for xid, _ in samples] == newest
    held = dict(pair.target("SELECT id::text, source_xmin FROM t"))
    assert all(held[key] == xid for xid, (key,) in samples)
    assert len({key for _, (key,) in samples}) == len(samples)


def test_a_version_by_a_transaction_that_was_open_when_its_row_was_seen_is_no_other_source(
    pair: Pair,
) -> None:
    pair.source("CREATE TABLE t (id integer PRIMARY KEY, v text)", ONE_BY_ONE.format(1, 150))
    with closing(psycopg2.connect(pair.source_url)) as slow, slow.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")
        # More rows than a run remembers, all of them newer than what the slow one will write.
        pair.source(*(f"UPDATE t SET v = 'newer' WHERE id = {i}" for i in range(1, 151)))
        pair.sync()
        cursor.execute("UPDATE t SET v = 'by the slow one' WHERE id = 150")
        slow.commit()
    assert pair.sync().rows_updated == 1
    assert pair.sync().rows_written == 0
    pair.source("UPDATE t SET v = 'the last' WHERE id = 149")
    assert pair.sync().rows_updated == 1
    assert pair.is_exact()
