"""Each run remembers the rows with the newest xids, whatever the history that wrote them."""

from __future__ import annotations

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
