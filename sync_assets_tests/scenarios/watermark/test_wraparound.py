"""Transaction ids past 2^32, on real clusters moved there as pg_resetwal does it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.postgres.xid import RING
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.next_id import freeze_all, make_segment, set_next_id
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import NewDatabase, Servers, running_server
from sync_assets_tests.fixtures.ways import Way

STEP = 1_400_000_000
"""More at once, and the server would take its own catalog's rows for rows of the future."""


@pytest.fixture
def cluster(way: Way) -> Iterator[PostgresServer]:
    """A server whose next transaction id is ours to choose."""
    with running_server(way[0]) as server:
        yield server


@pytest.fixture
def elsewhere(way: Way, servers: Servers, new_database: NewDatabase) -> str:
    """An empty database on another server."""
    return new_database(servers(way[1]))


def advance(server: PostgresServer, start: int, end: int) -> None:
    """Move the next transaction id of a cluster from one 64-bit value to a later one."""
    while start < end:
        start = min(start + STEP, end)
        freeze_all(server)
        server.stop()
        make_segment(server.data, start % RING)
        set_next_id(server.data, start)
        server.start()


BURN = "DO $$ BEGIN FOR i IN 1..1500 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"


def test_nothing_is_lost_or_sent_twice_across_the_wrap(
    cluster: PostgresServer, elsewhere: str
) -> None:
    cluster.create_database("source")
    advance(cluster, 1000, RING - 1000)
    pair = Pair(cluster.url("source"), elsewhere)
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
    cluster: PostgresServer, elsewhere: str
) -> None:
    pair = Pair(cluster.create_database("source"), elsewhere)
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, 'old' FROM generate_series(1, 300) i",
    )
    first = pair.sync()
    advance(cluster, first.watermark, first.watermark + 3_000_000_000)
    pair = Pair(cluster.url("source"), elsewhere)
    pair.source("UPDATE t SET v = 'new' WHERE id <= 7")
    receipt = pair.sync()
    assert receipt.rows_updated == 7
    assert receipt.reason.startswith("changes since")
    advance(cluster, first.watermark + 3_000_001_000, first.watermark + 2 * RING)
    pair = Pair(cluster.url("source"), elsewhere)
    pair.source("INSERT INTO t VALUES (301, 'newest')")
    with pytest.raises(ConfigurationError, match=r"must read every row, not a part .*2\^32"):
        pair.sync(rows="id = 301")
    assert "2^32" in pair.sync().reason
    assert pair.is_exact()
