"""What happens between two pieces of a first load, or between its last one and its end, loses no row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from sync_assets.engine import Progress, Receipt, Table
from sync_assets.engine.errors import SourceBehind, SourceChanged
from sync_assets.engine.limits import Limits
from sync_assets.engine.names import RelationName, staging_name
from sync_assets.engine.postgres.xid import RING
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.servers import NewDatabase, Servers, both_ways, running_server
from sync_assets_tests.fixtures.ways import Way
from sync_assets_tests.scenarios.deletes.test_guards import LAZY
from sync_assets_tests.scenarios.watermark.test_wraparound import BURN, advance

ROWS = 60_000
NAME = RelationName("public", "t")
HIDDEN = staging_name(NAME, temporary=False)
SMALL_PIECES = Limits(piece_mb=1)
COLUMNS = "(id integer PRIMARY KEY, v text, n integer)"
FILL = f"INSERT INTO t SELECT i, repeat('x', 100), i % 7 FROM generate_series(1, {ROWS}) i"
CREATE = (f"CREATE TABLE t {COLUMNS}", FILL)


class Interrupted(Exception):
    """What ends a run."""


def interrupt(
    pair: Pair, *, pieces: int = 1, act: Callable[[], object] = lambda: None, **options: Any
) -> None:
    """Begin a first load, act after its first piece, and end it after `pieces` (0: all)."""
    acted = threading.Event()

    def stop(progress: Progress) -> None:
        if progress.phase == "load" and progress.chunks_done and not acted.is_set():
            acted.set()
            act()
        if (progress.chunks_done >= pieces > 0) or progress.phase == "export":
            raise Interrupted

    engine = pair.engine(limits=SMALL_PIECES, workers=1, on_progress=stop)
    with pytest.raises(Interrupted):
        engine.copy_table_data_with_xmin("t", "t", **options)


def load(pair: Pair, **options: Any) -> Receipt:
    return pair.engine(limits=SMALL_PIECES).copy_table_data_with_xmin("t", "t", **options)


@pytest.fixture
def lazy(
    way: Way, servers: Servers, new_database: NewDatabase
) -> Iterator[tuple[PostgresServer, Pair]]:
    """A source that is slow to flush its WAL, and which may crash."""
    with running_server(way[0], LAZY) as server:
        yield server, Pair(server.create_database("source"), new_database(servers(way[1])))


@pytest.mark.parametrize("change", ["DELETE FROM t", "UPDATE t SET v = 'late'"])
def test_a_row_that_a_piece_did_not_see_and_a_crash_brought_back_is_there(
    lazy: tuple[PostgresServer, Pair], change: str
) -> None:
    server, pair = lazy
    pair.source(*CREATE, "CHECKPOINT")
    unsafe = "SET synchronous_commit = off"
    change = f"{change} WHERE id BETWEEN 40001 AND 46000"
    with closing(psycopg2.connect(pair.source_url)) as writer:
        writer.autocommit = True
        interrupt(pair, pieces=8, act=lambda: writer.cursor().execute(f"{unsafe}; {change}"))
        server.kill()
    server.start()
    load(pair)
    assert pair.is_exact()


@both_ways
def test_who_joins_reads_the_pages_that_the_load_began_with(pair: Pair) -> None:
    pair.source(*CREATE)
    interrupt(pair)
    pair.source("DELETE FROM t WHERE id % 2 = 0", "VACUUM FULL t")
    with pytest.raises(SourceChanged):
        pair.engine(limits=SMALL_PIECES).join_first_load(Table(NAME, NAME))
    load(pair)
    assert pair.is_exact()


@both_ways
def test_a_worker_of_a_load_that_was_given_up_adds_nothing_to_the_next(pair: Pair) -> None:
    pair.source(*CREATE)
    interrupt(pair)
    again = threading.Thread(target=lambda: load(pair, where="id > 0"))
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with closing(psycopg2.connect(pair.target_url)) as straggler, straggler.cursor() as at:
        at.execute("SELECT FROM sync_assets.load_piece WHERE loaded_at IS NULL LIMIT 1 FOR UPDATE")
        again.start()
        assert eventually(lambda: pair.target(waits) != [(0,)])
        at.execute(f"INSERT INTO {HIDDEN} (id, source_xmin) VALUES (-1, 3)")
        straggler.commit()
    again.join()
    assert pair.is_exact()


@both_ways
def test_a_change_that_its_cursor_does_not_show_costs_no_row_of_a_first_load(pair: Pair) -> None:
    pair.source(*CREATE)
    engine = pair.engine(
        limits=SMALL_PIECES,
        workers=1,
        on_progress=lambda progress: (
            pair.source("UPDATE t SET v = 'late' WHERE id > 30000 AND v <> 'late'")
            if progress.phase == "load" and progress.chunks_done
            else None
        ),
    )
    options = {"sync_mode": "incremental_sync", "cursor": "id", "late_commits": "lookback"}
    engine.copy_table_data("t", "t", **options)
    assert pair.is_exact()


@both_ways
def test_a_source_that_went_back_is_read_anew_where_that_was_accepted(pair: Pair) -> None:
    pair.source(*CREATE)
    interrupt(pair)
    pair.target(
        "UPDATE sync_assets.load SET state = state || '{\"lsn\": 1000000000000000}'",
    )
    with pytest.raises(SourceBehind):
        load(pair)
    receipt = load(pair, accept_source=True)
    assert any("another source was accepted" in event for event in receipt.events)
    assert pair.is_exact()


def test_rows_of_an_unlogged_partition_go_with_a_crash(lazy: tuple[PostgresServer, Pair]) -> None:
    server, pair = lazy
    pair.source(
        f"CREATE TABLE t {COLUMNS} PARTITION BY RANGE (id)",
        "CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (1) TO (30001)",
        "CREATE UNLOGGED TABLE t_high PARTITION OF t FOR VALUES FROM (30001) TO (99999)",
        FILL,
        "CHECKPOINT",
    )
    interrupt(pair, pieces=0)
    server.kill()
    server.start()
    load(pair)
    assert pair.is_exact()


def test_rows_that_are_a_whole_ring_older_are_there(
    server18: PostgresServer, new_database: NewDatabase
) -> None:
    with running_server("18") as server:
        server.create_database("source")
        advance(server, 1000, 10000)
        target_url = new_database(server18)
        Pair(server.url("source"), target_url).source(*CREATE, "CREATE EXTENSION pg_walinspect")
        advance(server, 12000, RING + 9000)
        pair = Pair(server.url("source"), target_url)
        interrupt(pair, pieces=6, act=lambda: pair.source(BURN))
        pair.source("UPDATE t SET n = -1 WHERE id = 1", "CHECKPOINT")
        load(pair, changed_blocks="auto")
        assert pair.is_exact()


@both_ways
def test_the_end_of_a_load_sees_no_less_than_its_pieces(pair: Pair) -> None:
    pair.source(*CREATE)
    interrupt(pair, pieces=4)
    pair.target("UPDATE sync_assets.load_piece SET lsn = 10 ^ 15 WHERE rows > 0")
    with pytest.raises(SourceBehind):
        load(pair)


@pytest.mark.parametrize("ended", [True, False])
def test_a_label_that_is_renamed_between_pieces_is_followed(pair: Pair, ended: bool) -> None:
    pair.source(
        "CREATE TYPE mood AS ENUM ('low', 'high')",
        "CREATE TABLE t (id integer PRIMARY KEY, v text, m mood)",
        f"INSERT INTO t SELECT i, repeat('x', 100), 'low' FROM generate_series(1, {ROWS}) i",
    )
    renamed = "ALTER TYPE mood RENAME VALUE 'low' TO 'down'"
    options: dict[str, Any] = {"expressions": {"m": "m::text"}}
    if ended:
        interrupt(pair, act=lambda: pair.source(renamed), **options)
        load(pair, **options)
    else:
        acted: list[bool] = []

        def rename(progress: Progress) -> None:
            if progress.phase == "load" and progress.chunks_done and not acted:
                acted.append(True)
                pair.source(renamed)

        engine = pair.engine(limits=SMALL_PIECES, workers=1, on_progress=rename)
        engine.copy_table_data_with_xmin("t", "t", **options)
        assert acted
        assert load(pair, **options).full
    assert pair.target("SELECT m, count(*) FROM t GROUP BY 1") == [("down", ROWS)]
    assert not load(pair, **options).full
