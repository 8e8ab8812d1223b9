"""The watch over a run's locks, which a server keeps by itself."""

from __future__ import annotations

from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.snapshot.give_way import giving_way, hurry
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

WATCHES = """
SELECT count(*) FROM pg_stat_activity
WHERE state = 'active' AND query LIKE 'DO %sync_assets: ends%'
"""
TIMES = 20


@both_ways
def test_the_server_watches_before_anything_large_is_read(pair: Pair) -> None:
    sessions = Sessions(pair.source_url, pair.target_url)
    for _ in range(TIMES):
        with sessions.connected("source") as leader, leader.cursor() as cursor:
            cursor.execute("BEGIN")
            with giving_way(sessions, longest=30):
                hurry(sessions, leader)
                cursor.execute(WATCHES)
                assert cursor.fetchone() == (1,)
            cursor.execute("ROLLBACK")


def test_a_run_whose_watch_may_read_no_locks_goes_on_without(pair: Pair) -> None:
    pair.source("REVOKE SELECT ON pg_locks FROM PUBLIC", "CREATE ROLE watchless LOGIN")
    url = pair.source_url.replace("postgres@", "watchless@")
    try:
        sessions = Sessions(url, pair.target_url)
        with sessions.connected("source") as leader, leader.cursor() as cursor:
            cursor.execute("BEGIN")
            with giving_way(sessions, longest=30):
                hurry(sessions, leader)
                cursor.execute("SELECT 1")
    finally:
        pair.source("DROP ROLE watchless")
