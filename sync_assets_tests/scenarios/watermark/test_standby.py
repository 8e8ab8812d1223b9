"""A source with standbys: recovery conflicts, replicas that lag, a failover to one that is behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest

from sync_assets.demo.compare import compare
from sync_assets.engine import TransientError
from sync_assets.engine.compare import checksum, scan
from sync_assets.engine.errors import SourceBehind
from sync_assets.engine.export import export
from sync_assets.engine.progress import Progress
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair, eventually, execute
from sync_assets_tests.fixtures.replicated import Replicated
from sync_assets_tests.fixtures.servers import SETTINGS, NewDatabase, running_server
from sync_assets_tests.fixtures.standby import running_standby
from sync_assets_tests.scenarios.faults.faults import MANY_WORKERS

CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v text)"
FILL = "INSERT INTO t SELECT i, repeat('v', 100) FROM generate_series(1, 3000) i"
RECEIVING = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"


@dataclass(frozen=True)
class Both:
    """The same source read from its primary and from its standby, into one target."""

    servers: Replicated
    name: str
    primary: Pair
    standby: Pair

    def replay(self, verb: str) -> None:
        """Pause or resume the standby's replay."""
        execute(self.servers.standby.url(), f"SELECT pg_wal_replay_{verb}()")


@pytest.fixture
def both(
    replicated: Replicated, new_database: NewDatabase, server18: PostgresServer
) -> Iterator[Both]:
    source, target = new_database(replicated.primary), new_database(server18)
    name = source.partition("?")[0].rpartition("/")[2]
    pair = Pair(source, target)
    pair.source(CREATE, FILL)
    assert replicated.caught_up()
    found = Both(replicated, name, pair, Pair(replicated.standby.url(name), target))
    yield found
    found.replay("resume")
    assert replicated.caught_up()


def test_a_recovery_conflict_is_transient_and_the_next_run_is_exact(both: Both) -> None:
    both.standby.sync()
    standby = both.servers.standby.url()
    execute(standby, "ALTER SYSTEM SET max_standby_streaming_delay = 0", "SELECT pg_reload_conf()")
    done: list[bool] = []

    def conflict(progress: Progress) -> None:
        if progress.phase == "export" and not done:
            both.primary.source("DELETE FROM t WHERE id % 2 = 0")
            both.primary.source("VACUUM t")
            done.append(both.servers.caught_up())

    try:
        engine = both.standby.engine(on_progress=conflict)
        with pytest.raises(TransientError):
            engine.copy_table_data_with_xmin("t", "t", deletes="hard", full_refresh=True)
    finally:
        execute(
            standby, "ALTER SYSTEM RESET max_standby_streaming_delay", "SELECT pg_reload_conf()"
        )
    assert done == [True]
    both.standby.sync(deletes="hard", max_delete_ratio=1.0)
    assert both.standby.is_exact()
    assert both.standby.leftovers() == []


@pytest.fixture(scope="module")
def subtransactions() -> Iterator[Replicated]:
    """A standby whose snapshots, as soon as one subtransaction runs, cannot be handed on."""
    settings = {**SETTINGS, "wal_level": "logical", "autovacuum": "off"}
    with (
        running_server("18", settings) as primary,
        running_standby(primary, "18", settings) as standby,
    ):
        yield Replicated(primary, standby)


@contextlib.contextmanager
def open_subtransaction(pair: Pair) -> Iterator[None]:
    """Somebody has changed every hundredth row after a savepoint, and commits at the end."""
    with closing(psycopg2.connect(pair.source_url)) as writer:
        at = writer.cursor()
        at.execute("SAVEPOINT one; UPDATE t SET v = 'late' WHERE id % 100 = 0")
        at.execute("INSERT INTO t VALUES (0, 'late')")
        yield
        writer.commit()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("verb", ["run", "verify"])
def test_no_snapshot_of_a_standby_is_handed_on(
    subtransactions: Replicated,
    new_database: NewDatabase,
    server18: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    *,
    shared: bool,
) -> None:
    """The control shares it all the same, and loses what was open: on the target, or for everybody."""
    source = new_database(subtransactions.primary)
    name = source.partition("?")[0].rpartition("/")[2]
    target = new_database(server18)
    primary, standby = Pair(source, target), Pair(subtransactions.standby.url(name), target)
    primary.source(
        CREATE, "INSERT INTO t SELECT i, repeat('v', 200) FROM generate_series(1, 40000) i"
    )
    primary.sync()
    monkeypatch.setattr(checksum, "SMALL_PIECE", 64)
    if shared:
        for module in (scan, export):
            monkeypatch.setattr(module, "readers", lambda workers, **_: workers)
    with MANY_WORKERS(), open_subtransaction(primary):
        assert subtransactions.caught_up()
        if verb == "run":
            receipt = standby.sync(full_refresh=True)
            assert (receipt.workers > 1) is shared
        else:
            standby.verify()
    assert subtransactions.caught_up()
    standby.sync()
    same = compare(source, standby.source_url, [(("public", "t"), ("public", "t"))])
    assert (same[0].equal and primary.is_exact()) is not shared


def test_a_replica_that_lags_behind_a_fresher_node_is_waited_for(both: Both) -> None:
    both.primary.sync()
    both.replay("pause")
    assert eventually(
        lambda: (
            execute(both.servers.standby.url(), "SELECT pg_get_wal_replay_pause_state()")
            == [("paused",)]
        )
    )
    both.primary.source("UPDATE t SET v = 'fresh' WHERE id <= 100")
    both.primary.sync()
    with pytest.raises(SourceBehind):
        both.standby.sync()
    assert both.primary.is_exact()
    both.replay("resume")
    assert both.servers.caught_up()
    assert both.standby.sync().rows_updated == 0
    assert both.standby.is_exact()


def test_connections_that_land_on_two_servers_never_mix_their_snapshots(both: Both) -> None:
    primary, standby = both.servers.primary, both.servers.standby
    balanced = Pair(
        f"postgresql://postgres@/{both.name}?host={primary.sockets},{standby.sockets}"
        "&port=5432,5432&load_balance_hosts=random",
        both.primary.target_url,
    )
    for number in range(8):
        both.primary.source(f"UPDATE t SET v = v || 'x' WHERE id % 8 = {number}")
        assert both.servers.caught_up()
        receipt = balanced.engine(workers=4).copy_table_data_with_xmin(
            "t", "t", full_refresh=bool(number % 2)
        )
        assert 1 <= receipt.workers <= 4
        assert both.primary.is_exact()


def test_a_failover_to_a_standby_that_is_behind_ends_exact(
    new_database: NewDatabase, server18: PostgresServer
) -> None:
    target = new_database(server18)
    with running_server("15") as primary:
        first = Pair(primary.create_database("shop"), target)
        first.source(CREATE, FILL)
        with running_standby(primary, "15") as standby:
            assert Replicated(primary, standby).caught_up()
            ((received,),) = execute(standby.url(), RECEIVING)
            assert received == 1
            execute(
                standby.url(), "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"
            )
            assert eventually(lambda: execute(standby.url(), RECEIVING) == [(0,)])
            # What only the old primary had, and the target has seen.
            first.source("UPDATE t SET v = 'lost' WHERE id <= 50", "DELETE FROM t WHERE id > 2990")
            first.sync(deletes="hard")
            primary.kill()
            execute(standby.url(), "SELECT pg_promote()")
            then = Pair(standby.url("shop"), target)
            assert then.source("SELECT count(*) FROM t WHERE v <> 'lost'") == [(3000,)]
            then.source("INSERT INTO t VALUES (4000, 'after')")
            receipt = then.sync(deletes="hard")
            assert receipt.full
            assert "timeline" in receipt.reason
            assert then.is_exact()


def test_masks_are_made_on_a_standby_as_on_its_primary(both: Both) -> None:
    masked: dict[str, Any] = {
        "mask": {"v": "hmac"},
        "mask_key": "correct horse battery staple",
        "deletes": "hard",
    }
    both.primary.sync(**masked)
    both.primary.source("UPDATE t SET v = 'w' WHERE id < 4", "DELETE FROM t WHERE id = 9")
    assert both.servers.caught_up()
    with MANY_WORKERS():
        receipt = both.standby.sync(**masked)
    assert (receipt.rows_updated, receipt.rows_deleted) == (3, 1)
    assert both.primary.sync(**masked, full_refresh=True).rows_updated == 0
    assert both.primary.target("SELECT count(DISTINCT v), min(length(v)) FROM t") == [(2, 64)]
