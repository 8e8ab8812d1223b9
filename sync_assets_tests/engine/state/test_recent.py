"""What runs have done is found once and again, and never missed."""

from __future__ import annotations

from contextlib import closing

import psycopg2

from sync_assets.engine.names import RelationName
from sync_assets.engine.state.recent import recent
from sync_assets_tests.fixtures.pair import Pair

T = RelationName("public", "t")
RECEIPT = """
INSERT INTO sync_assets.receipt (target_schema, target_table, run_id, receipt)
SELECT target_schema, target_table, %s, receipt FROM sync_assets.receipt LIMIT 1
"""


def test_before_the_first_run_there_is_nothing_and_after_it_all(pair: Pair) -> None:
    assert recent(pair.target_url, [T], None) == recent(pair.target_url, [T], 0)
    pair.source("CREATE TABLE t (id int PRIMARY KEY)")
    pair.sync()
    (done,) = recent(pair.target_url, [T], 0).done
    assert (done.target, done.full) == (T, True)


def test_a_receipt_that_is_committed_after_a_later_one_is_found(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)")
    pair.sync()
    with closing(psycopg2.connect(pair.target_url)) as slow, slow.cursor() as cursor:
        cursor.execute(RECEIPT, ("slow",))
        pair.sync(full_refresh=True)
        first = recent(pair.target_url, [T], None)
        slow.commit()
    second = recent(pair.target_url, [T], first.since)
    (late,) = {each.number for each in second.done} - {each.number for each in first.done}
    assert late < max(each.number for each in first.done)


def test_what_is_long_done_is_not_asked_for_again(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)")
    pair.sync()
    pair.target("UPDATE sync_assets.receipt SET finished_at = finished_at - interval '1 hour'")
    found = recent(pair.target_url, [T], 0)
    assert len(found.done) == 1
    assert recent(pair.target_url, [T], found.since).done == ()
