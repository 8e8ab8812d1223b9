"""The mark is trusted only while the source is the one it was taken from, and only once durable."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from sync_assets.engine.errors import SourceBehind, SourceIdentityChanged, SourceNotFlushed
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.snapshot.flush import Flush, is_flushed
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.servers import SETTINGS, NewDatabase, Servers, running_server
from sync_assets_tests.fixtures.ways import Way

LAZY = {
    # As little reaches the disk by itself as PostgreSQL allows.
    **SETTINGS,
    "fsync": "on",
    "synchronous_commit": "off",
    "wal_writer_delay": "10s",
    "wal_writer_flush_after": "100MB",
    "checkpoint_timeout": "1d",
    "autovacuum": "off",
}


@pytest.fixture
def lazy(way: Way) -> Iterator[PostgresServer]:
    """A server whose commits return before they are on disk."""
    with running_server(way[0], LAZY) as server:
        yield server


@pytest.fixture
def apart(lazy: PostgresServer, way: Way, servers: Servers, new_database: NewDatabase) -> Pair:
    """A source that may crash, and a target elsewhere."""
    return Pair(lazy.create_database("source"), new_database(servers(way[1])))


def test_no_mark_outlives_a_crash_of_the_source_that_its_rows_did_not(
    lazy: PostgresServer, apart: Pair
) -> None:
    apart.source("CREATE TABLE t (id integer PRIMARY KEY, v text)", "INSERT INTO t VALUES (0)")
    apart.sync()
    for round_number in range(1, 3):
        # Committed and not flushed: without the guard a crash would hand out its xid again.
        apart.source(f"INSERT INTO t VALUES ({round_number}, 'async')")
        apart.sync()
        lazy.kill()
        lazy.start()
        apart.source(f"INSERT INTO t VALUES ({round_number + 100}, 'after the crash')")
        apart.sync()
        assert apart.is_exact()


def test_the_wait_for_the_source_s_disk_goes_on_beside_other_work(
    lazy: PostgresServer, apart: Pair
) -> None:
    apart.source("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    ((lsn,),) = apart.source("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")
    sessions = Sessions(apart.source_url, apart.target_url)
    with contextlib.ExitStack() as held:
        source = held.enter_context(sessions.connected("source"))
        assert not is_flushed(source, lsn)
        flush = Flush(sessions, source, lsn, held)
        assert not source.closed
    assert not source.closed
    flush.ensure()
    assert source.closed
    assert apart.source(f"SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn >= {lsn}") == [(True,)]


def test_a_run_whose_source_does_not_flush_publishes_nothing(
    lazy: PostgresServer, apart: Pair
) -> None:
    ((emit,),) = apart.source(
        "SELECT oid::regprocedure::text FROM pg_proc "
        "WHERE proname = 'pg_logical_emit_message' AND 'text'::regtype = proargtypes[2]"
    )
    apart.source(
        "CREATE TABLE t (id integer PRIMARY KEY)",
        "INSERT INTO t VALUES (1)",
        "CREATE ROLE reader LOGIN",
        "GRANT SELECT ON t TO reader",
        # Who may not write a message cannot make the source flush.
        f"REVOKE EXECUTE ON FUNCTION {emit} FROM PUBLIC",
    )
    reader = Pair(apart.source_url.replace("postgres@", "reader@"), apart.target_url)
    with pytest.raises(SourceNotFlushed):
        reader.sync()
    assert apart.target("SELECT to_regclass('public.t')") == [(None,)]
    assert apart.leftovers() == []
    apart.source(f"GRANT EXECUTE ON FUNCTION {emit} TO reader")
    assert reader.sync().rows_inserted == 1


def test_a_source_restored_to_an_earlier_state_is_not_synced_from(
    lazy: PostgresServer, apart: Pair
) -> None:
    apart.source("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    apart.sync()
    lazy.stop()
    copy = lazy.folder / "copy"
    subprocess.run(["cp", "-a", lazy.data, copy], check=True)
    lazy.start()
    apart = Pair(lazy.url("source"), apart.target_url)
    apart.source("INSERT INTO t SELECT generate_series(2, 1000)")
    assert apart.sync().rows_inserted == 999
    lazy.stop()
    shutil.rmtree(lazy.data)
    copy.rename(lazy.data)
    lazy.start()
    apart = Pair(lazy.url("source"), apart.target_url)
    with pytest.raises(SourceBehind):
        apart.sync()
    with pytest.raises(SourceBehind):
        apart.verify()
    assert apart.target("SELECT count(*) FROM t") == [(1000,)]


def test_another_database_under_the_same_name_stops_the_run_until_accepted(
    server18: PostgresServer, apart: Pair, new_database: NewDatabase
) -> None:
    apart.source("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    apart.sync()
    other = Pair(new_database(server18), apart.target_url)
    other.source("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (2)")
    with pytest.raises(SourceIdentityChanged, match="accept_source"):
        other.sync()
    receipt = other.sync(accept_source=True)
    assert (receipt.rows_inserted, receipt.rows_only_in_target) == (1, 1)
    assert other.sync().rows_exported == 0


def test_another_database_of_the_same_server_is_another_source(
    server18: PostgresServer, apart: Pair, new_database: NewDatabase
) -> None:
    first, other = (Pair(new_database(server18), apart.target_url) for _ in range(2))
    for each in (first, other):
        each.source("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    first.sync()
    with pytest.raises(SourceIdentityChanged):
        other.sync()
    with pytest.raises(SourceIdentityChanged):
        other.verify()


def test_a_failover_is_seen_by_its_timeline(lazy: PostgresServer, apart: Pair) -> None:
    apart.source("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    apart.sync()
    # A promotion without a standby: recovery that ends starts a new timeline.
    lazy.stop()
    (lazy.data / "recovery.signal").touch()
    shutil.chown(lazy.data / "recovery.signal", lazy.data.stat().st_uid, lazy.data.stat().st_gid)
    lazy.settings["restore_command"] = "false"
    lazy.start()
    apart = Pair(lazy.url("source"), apart.target_url)
    assert eventually(lambda: apart.source("SELECT pg_is_in_recovery()") == [(False,)])
    apart.source("INSERT INTO t VALUES (2)")
    receipt = apart.sync()
    assert "timeline changed" in receipt.reason
    assert apart.is_exact()


def cloned(server: PostgresServer) -> Iterator[None]:
    """Put a copy of the server's files back in place of those that went on since."""
    server.stop()
    copy = server.folder / "copy"
    subprocess.run(["cp", "-a", server.data, copy], check=True)
    server.start()
    yield
    server.stop()
    shutil.rmtree(server.data)
    copy.rename(server.data)
    server.start()


def test_an_unlogged_table_that_a_crash_emptied_is_read_whole(
    lazy: PostgresServer, apart: Pair
) -> None:
    apart.source(
        "CREATE UNLOGGED TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)"
    )
    apart.sync(deletes="hard")
    lazy.kill()
    lazy.start()
    # The crash took rows along, and their xids are handed out again.
    apart.source("INSERT INTO t VALUES (3)")
    receipt = apart.sync(deletes="hard")
    assert "unlogged and the source has restarted" in receipt.reason
    assert (receipt.rows_inserted, receipt.rows_deleted) == (1, 2)
    assert apart.is_exact()


def test_a_source_that_may_not_be_identified_is_read_whole_unless_it_is_trusted(
    lazy: PostgresServer, apart: Pair
) -> None:
    apart.source(
        "CREATE TABLE t (id integer PRIMARY KEY)",
        "INSERT INTO t VALUES (1)",
        "CREATE ROLE reader LOGIN",
        "GRANT SELECT ON t TO reader",
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
    )
    reader = Pair(apart.source_url.replace("postgres@", "reader@"), apart.target_url)
    reader.sync()
    assert "may not call pg_control_system()" in reader.sync().reason
    assert reader.sync(trust_source_identity=True).rows_exported == 0


MORE_WAL = (
    "CREATE TABLE other AS SELECT i, repeat('x', 500) FROM generate_series(1, 5000) i",
    "DO $$ BEGIN FOR i IN 1..1500 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$",
)


@pytest.mark.parametrize("change", ["an update", "inserts"])
def test_a_clone_that_ran_past_the_last_sync_is_recognised_by_the_newest_rows(
    lazy: PostgresServer, apart: Pair, change: str
) -> None:
    apart.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, 'first' FROM generate_series(1, 100) i",
    )
    apart.sync()
    place = cloned(lazy)
    next(place)
    apart = Pair(lazy.url("source"), apart.target_url)
    lost = {
        "an update": "UPDATE t SET v = 'lost' WHERE id = 1",
        "inserts": "INSERT INTO t SELECT i, 'lost' FROM generate_series(101, 250) i",
    }
    apart.source(lost[change])
    assert apart.sync().rows_written > 0
    assert next(place, None) is None
    apart = Pair(lazy.url("source"), apart.target_url)
    # As far as positions and identity go, it is the same source, further on.
    apart.source(*MORE_WAL)
    if change == "an update":
        with pytest.raises(SourceIdentityChanged, match="a copy that went another way"):
            apart.sync()
        assert apart.sync(accept_source=True).rows_updated == 1
    else:
        receipt = apart.sync()
        assert "none of the 100 newest rows" in receipt.reason
        assert receipt.rows_only_in_target == 150
    assert apart.sync(deletes="hard", confirm_deletes=150).rows_updated == 0
    assert apart.is_exact()


def test_newest_rows_that_were_deleted_or_replaced_are_no_clone(apart: Pair) -> None:
    import psycopg2

    apart.source("CREATE TABLE t (id integer PRIMARY KEY, v text)")
    early = psycopg2.connect(apart.source_url)
    early.cursor().execute("INSERT INTO t VALUES (1000, 'early')")
    apart.source("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 10) i")
    apart.sync()
    # The same key comes back in a version by an older transaction, which was open all the while.
    apart.source("DELETE FROM t WHERE id < 10")
    early.cursor().execute("INSERT INTO t VALUES (5, 'again')")
    early.commit()
    early.close()
    assert apart.sync(deletes="hard").rows_exported == 3
    apart.source("TRUNCATE t", "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 10) i")
    assert apart.sync(deletes="hard").reason.startswith("changes since")
    assert apart.is_exact()
