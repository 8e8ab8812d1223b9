"""Transaction ids past 2^32, on real clusters moved there by pg_resetwal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.postgres.xid import RING
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import NewDatabase, running_server

STEP = 1_400_000_000
"""More at once, and the server would take its own catalog's rows for rows of the future."""

XIDS_PER_SEGMENT, SEGMENT_BYTES = 1 << 20, 1 << 18


@pytest.fixture(params=["15", "18"])
def cluster(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server whose next transaction id is ours to choose."""
    with running_server(request.param) as server:
        yield server


def advance(server: PostgresServer, start: int, end: int) -> None:
    """Move the next transaction id of a cluster from one 64-bit value to a later one."""
    while start < end:
        start = min(start + STEP, end)
        place = ("-h", str(server.sockets), "-p", "5432", "-U", "postgres")
        allow = "ALTER DATABASE template0 ALLOW_CONNECTIONS true"
        for program, *words in (("psql", "-c", allow, "-d", "postgres"), ("vacuumdb", "-a", "-F")):
            done = server.run(program, *place, *words)
            assert done.returncode == 0, done.stderr
        server.stop()
        epoch, xid = divmod(start, RING)
        _make_segment(server, xid)
        where = ("-D", str(server.data))
        done = server.run("pg_resetwal", "-f", "-e", str(epoch), "-x", str(xid), *where)
        assert done.returncode == 0, done.stderr
        server.start()


def _make_segment(server: PostgresServer, xid: int) -> None:
    segment = server.data / "pg_xact" / f"{xid // XIDS_PER_SEGMENT:04X}"
    if not segment.exists():
        segment.write_bytes(bytes(SEGMENT_BYTES))
        owner = server.data.stat()
        shutil.chown(segment, owner.st_uid, owner.st_gid)


BURN = "DO $$ BEGIN FOR i IN 1..1500 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"


def test_nothing_is_lost_or_sent_twice_across_the_wrap(
    cluster: PostgresServer, server18: PostgresServer, new_database: NewDatabase
) -> None:
    target_url = new_database(server18)
    cluster.create_database("source")
    advance(cluster, 1000, RING - 1000)
    pair = Pair(cluster.url("source"), target_url)
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, 'before' FROM generate_series(1, 1000) i",
        "CREATE TABLE untouched (id integer PRIMARY KEY)",
        "INSERT INTO untouched SELECT generate_series(1, 500)",
    )
    before = pair.sync()
    assert before.watermark < RING

    pair.source(
        "UPDATE t SET v = 'at the edge' WHERE id <= 10",
        BURN,
        "UPDATE t SET v = 'after' WHERE id BETWEEN 11 AND 30",
        "INSERT INTO t VALUES (1001, 'after')",
    )
    across = pair.sync()
    assert (across.rows_updated, across.rows_inserted) == (30, 1)
    assert across.rows_exported == 31
    assert across.watermark > RING
    assert across.source_max_xmin is not None
    assert across.source_max_xmin > RING
    assert pair.target(
        "SELECT min(source_xmin) < 4294967296, max(source_xmin) > 4294967296 FROM t"
    ) == [(True, True)]
    assert pair.sync().rows_exported == 0

    # A first load on a wrapped cluster: its rows' ids are of the epoch before.
    assert pair.sync("public.untouched").rows_inserted == 500
    assert pair.is_exact("public.t", "public.untouched")


def test_a_table_not_synced_for_billions_of_transactions_is_brought_up_to_date(
    cluster: PostgresServer, server18: PostgresServer, new_database: NewDatabase
) -> None:
    target_url = new_database(server18)
    pair = Pair(cluster.create_database("source"), target_url)
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, 'old' FROM generate_series(1, 300) i",
    )
    first = pair.sync()
    advance(cluster, first.watermark, first.watermark + 3_000_000_000)
    pair = Pair(cluster.url("source"), target_url)
    pair.source("UPDATE t SET v = 'new' WHERE id <= 7")
    receipt = pair.sync()
    assert receipt.rows_updated == 7
    assert receipt.reason.startswith("changes since")
    advance(cluster, first.watermark + 3_000_001_000, first.watermark + 2 * RING)
    pair = Pair(cluster.url("source"), target_url)
    pair.source("INSERT INTO t VALUES (301, 'newest')")
    with pytest.raises(ConfigurationError, match=r"must read every row, not a part .*2\^32"):
        pair.sync(rows="id = 301")
    assert "2^32" in pair.sync().reason
    assert pair.is_exact()
