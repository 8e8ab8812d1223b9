"""A source of PostgreSQL 19, by what is new there; what is old is tested with all versions."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from sync_assets.engine import SyncError, pause
from sync_assets.engine.errors import SourceBehind, TransientError
from sync_assets.engine.progress import OnProgress, Progress
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair, eventually, execute
from sync_assets_tests.fixtures.replicated import Replicated
from sync_assets_tests.fixtures.servers import Servers, from_19, running_server
from sync_assets_tests.fixtures.standby import running_standby
from sync_assets_tests.fixtures.ways import Way

pytestmark = from_19

CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v text)"
FILL = "INSERT INTO t SELECT i, repeat('v', 100) FROM generate_series(1, 20000) i"
REPACK, CONCURRENTLY = "REPACK t", "REPACK (CONCURRENTLY) t"
ABOVE = {
    "partitioned": (
        "CREATE TABLE s (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE t PARTITION OF s FOR VALUES FROM (0) TO (100000)",
    ),
    "view": (CREATE, "CREATE VIEW s AS SELECT * FROM t"),
}
WAITING = "SELECT count(*) > 0 FROM pg_locks WHERE relation = 't'::regclass AND NOT granted"


@pytest.mark.parametrize("repack", [REPACK, CONCURRENTLY])
def test_a_table_repacked_between_two_runs_changes_nothing(pair: Pair, repack: str) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes="hard")
    pair.source(repack, "UPDATE t SET v = 'x' WHERE id = 1", "DELETE FROM t WHERE id = 2")
    receipt = pair.sync(deletes="hard")
    assert (receipt.rows_updated, receipt.rows_inserted, receipt.rows_deleted) == (1, 0, 1)
    # In the second form every row gets another transaction id.
    assert receipt.rows_exported == (1 if repack == REPACK else 19999)
    assert receipt.events == ("public.t was truncated or rewritten",)
    assert pair.is_exact()


@contextlib.contextmanager
def repacked_at(step: str, pair: Pair) -> Iterator[OnProgress]:
    """Repack `t` beside a run when that begins a step; the run may end in asking to be run again."""
    repack = threading.Thread(target=pair.source, args=(CONCURRENTLY,))
    begun: list[str] = []

    def meddle(progress: Progress) -> None:
        if progress.phase == step and not begun:
            begun.append(step)
            repack.start()
            # It copies beside the run, and its last step waits for our lock, where we have one.
            assert eventually(lambda: not repack.is_alive() or pair.source(WAITING) == [(True,)])

    with contextlib.suppress(TransientError):
        yield meddle
    repack.join()
    assert begun == [step]


@pytest.mark.parametrize("first", [True, False], ids=["first load", "later"])
@pytest.mark.parametrize("step", ["identify", "lock", "snapshot", "plan", "export", "merge"])
def test_a_table_repacked_in_the_middle_of_a_run_is_never_empty(
    pair: Pair, step: str, *, first: bool
) -> None:
    pair.source(CREATE, FILL)
    if not first:
        pair.sync(deletes="hard")
    pair.source("UPDATE t SET v = 'x' WHERE id % 3 = 0")
    with repacked_at(step, pair) as meddle:
        engine = pair.engine(on_progress=meddle)
        assert engine.copy_table_data_with_xmin("t", "t", deletes="hard").rows_deleted == 0
        assert pair.target("SELECT count(*) FROM t") == [(20000,)]
    assert pair.sync(deletes="hard").rows_deleted == 0
    assert pair.is_exact()


@pytest.mark.parametrize("step", ["identify", "lock", "snapshot", "export"])
@pytest.mark.parametrize("above", ABOVE)
def test_nor_is_what_shows_that_table_s_rows(pair: Pair, above: str, step: str) -> None:
    pair.source(*ABOVE[above], FILL)
    with repacked_at(step, pair) as meddle:
        pair.engine(on_progress=meddle).copy_table_data("s", "s", "full_sync", key="id")
        assert pair.target("SELECT count(*) FROM s") == [(20000,)]
    pair.engine().copy_table_data("s", "s", "full_sync", key="id")
    assert pair.is_exact("s")


def test_a_page_that_was_tidied_up_by_our_first_read_is_not_read_again(pair: Pair) -> None:
    pair.source("CREATE EXTENSION pg_walinspect", "CREATE EXTENSION pg_visibility", CREATE, FILL)
    visible = "SELECT all_visible FROM pg_visibility_map_summary('t')"
    assert pair.source(visible) == [(0,)]
    pair.sync(changed_blocks="require")
    assert pair.source(visible) != [(0,)]
    pair.source("CREATE TABLE other (id integer)")
    assert pair.sync(changed_blocks="require").changed_pages == 0
    pair.source("UPDATE t SET v = 'x' WHERE id = 1")
    assert pair.sync(changed_blocks="require").rows_updated == 1
    assert pair.is_exact()


@pytest.fixture
def replicated19(versions: Way) -> Iterator[Replicated]:
    """A primary and its standby."""
    name = versions[0]
    with running_server(name) as primary, running_standby(primary, name) as standby:
        yield Replicated(primary, standby)


@pytest.fixture
def behind(replicated19: Replicated, target_url: str) -> Pair:
    """The standby and a target whose last run was from the primary, and saw something newer."""
    primary, standby = replicated19.primary, replicated19.standby
    ahead = Pair(primary.create_database("shop"), target_url)
    ahead.source(CREATE, FILL)
    assert replicated19.caught_up()
    execute(standby.url(), "SELECT pg_wal_replay_pause()")
    paused = "SELECT pg_get_wal_replay_pause_state() = 'paused'"
    assert eventually(lambda: execute(standby.url(), paused) == [(True,)])
    ahead.source("UPDATE t SET v = 'fresh' WHERE id = 1")
    ahead.sync()
    return Pair(standby.url("shop"), target_url)


def test_a_standby_that_is_behind_is_waited_for(
    behind: Pair, replicated19: Replicated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause, "LOOK_EVERY", 0.1)
    told: list[str] = []

    def resume(progress: Progress) -> None:
        if progress.phase == "wait" and not told:
            told.append(progress.note)
            execute(replicated19.standby.url(), "SELECT pg_wal_replay_resume()")

    receipt = behind.engine(on_progress=resume).copy_table_data_with_xmin("t", "t")
    assert "this standby has not replayed" in told[0]
    assert told[0] in receipt.events[0]
    assert receipt.rows_updated == 0
    assert behind.is_exact()


def test_a_standby_that_stays_behind_is_not_read(
    behind: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(pause, "CATCHES_UP", 0.3)
    with pytest.raises(SourceBehind):
        behind.sync()


def test_what_19_writes_otherwise_than_18_is_the_same_value(
    pair: Pair, target_server: PostgresServer
) -> None:
    pair.source("CREATE TABLE t (id integer PRIMARY KEY, at pg_lsn, many pg_lsn[])")
    pair.source("INSERT INTO t VALUES (1, '0/A0', '{0/1,NULL}')")
    pair.sync()
    assert pair.source("SELECT at::text FROM t") == [("0/000000A0",)]
    assert pair.target("SELECT at::text FROM t") == [("0/A0",)]
    assert pair.verify().equal


def test_a_type_that_the_target_lacks_is_named(pair: Pair, servers: Servers, versions: Way) -> None:
    pair.source(
        "CREATE TABLE t (id oid8 PRIMARY KEY)", "INSERT INTO t VALUES ('18446744073709551615')"
    )
    with pytest.raises(SyncError, match="oid8"):
        pair.sync()
    new = servers(versions[0]).create_database("of_its_own")
    own = Pair(pair.source_url, new)
    own.sync(deletes="hard")
    pair.source("DELETE FROM t", "INSERT INTO t VALUES ('7')")
    receipt = own.sync(deletes="hard", confirm_deletes=1)
    assert (receipt.rows_inserted, receipt.rows_deleted) == (1, 1)
    assert own.verify().equal
    servers(versions[0]).drop_database("of_its_own")
