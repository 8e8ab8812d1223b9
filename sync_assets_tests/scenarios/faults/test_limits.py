"""Bounds that an operator sets: how fast a run reads its source, and when it does not begin to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg2
import psycopg2.extras
import pytest
from psycopg2.extensions import make_dsn

from sync_assets.engine import Limits, PauseWhile, pause
from sync_assets.engine.errors import Cancelled, PrivilegeError
from sync_assets.engine.progress import Progress
from sync_assets.engine.run.first_load import by_pieces
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair, eventually, execute
from sync_assets_tests.fixtures.replicated import Replicated
from sync_assets_tests.fixtures.servers import NewDatabase, both_ways

CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v text)"
FILL = "INSERT INTO t SELECT i, repeat('v', 1000) FROM generate_series(1, 5000) i"
QUIET = Limits(pause_while=PauseWhile(active_sessions=0))
OF_OURS = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'sync_assets' AND datname = current_database()
  AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL OR pid IN (SELECT pid FROM pg_locks))
"""


@pytest.fixture
def filled(pair: Pair) -> Pair:
    """A source table of 5 MB."""
    pair.source(CREATE, FILL)
    return pair


@contextlib.contextmanager
def busy(url: str) -> Iterator[Callable[[], None]]:
    """A session that is at work until what is yielded is called."""
    with closing(psycopg2.connect(url)) as session:
        session.autocommit = True
        with closing(psycopg2.connect(url, async_=True)) as working:
            psycopg2.extras.wait_select(working)
            working.cursor().execute("SELECT pg_sleep(300)")

            def end() -> None:
                with session.cursor() as cursor:
                    cursor.execute(
                        "SELECT pg_terminate_backend(%s, 5000)", (working.info.backend_pid,)
                    )

            active = f"SELECT state FROM pg_stat_activity WHERE pid = {working.info.backend_pid}"
            assert eventually(lambda: execute(url, active) == [("active",)])
            try:
                yield end
            finally:
                end()


@both_ways
@pytest.mark.parametrize("piece_mb", [1, 0])
def test_an_export_is_no_faster_than_it_may_be_whatever_reads_it(
    filled: Pair, monkeypatch: pytest.MonkeyPatch, piece_mb: int
) -> None:
    monkeypatch.setattr(by_pieces, "LEAST", 2)
    told: list[str] = []
    engine = filled.engine(
        workers=4,
        limits=Limits(max_mb_per_second=3, piece_mb=piece_mb),
        on_progress=lambda step: told.append(step.note),
    )
    receipt = engine.copy_table_data_with_xmin("t", "t")
    assert receipt.bytes > 5_000_000
    assert receipt.seconds["total"] >= 0.9 * receipt.bytes / 3_000_000
    assert "held to 3 MB/s" in told
    assert ("pieces" in receipt.seconds) == (piece_mb == 1)
    assert filled.is_exact()


def test_a_throttled_run_is_cancelled_at_once(filled: Pair) -> None:
    def cancel(step: Progress) -> None:
        if step.bytes:
            engine.cancel()

    engine = filled.engine(limits=Limits(max_mb_per_second=0.01), on_progress=cancel)
    began = time.monotonic()
    with pytest.raises(Cancelled):
        engine.copy_table_data_with_xmin("t", "t")
    # One buffer of what it may read takes longer.
    assert time.monotonic() - began < 5


@both_ways
def test_a_run_waits_while_too_many_are_at_work_and_holds_nothing_meanwhile(
    filled: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause, "LOOK_EVERY", 0.1)
    steps: list[str] = []
    held: list[object] = []

    def hear(step: Progress) -> None:
        steps.append(f"{step.phase}: {step.note}")
        if step.phase == "wait":
            held.append(filled.source(OF_OURS))
            end()

    with busy(filled.source_url) as end:
        engine = filled.engine(limits=QUIET, on_progress=hear)
        receipt = engine.copy_table_data_with_xmin("t", "t")
    assert steps[0] == "wait: 1 other active sessions, above 0"
    assert held == [[(0,)]]
    assert receipt.events == ("waited 0 s: 1 other active sessions, above 0",)
    assert receipt.seconds["wait"] > 0
    assert filled.is_exact()


def test_a_first_load_waits_between_its_pieces(
    filled: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(by_pieces, "LEAST", 2)
    steps: list[str] = []
    ends: list[Callable[[], None]] = []

    def hear(step: Progress) -> None:
        if step.chunks_done == 1 and not ends:
            ends.append(at_work.enter_context(busy(filled.source_url)))
        if step.phase == "wait":
            ends[0]()
        steps.append(step.phase)

    limits = Limits(pause_while=PauseWhile(active_sessions=0), piece_mb=1)
    with contextlib.ExitStack() as at_work:
        engine = filled.engine(workers=1, limits=limits, on_progress=hear)
        receipt = engine.copy_table_data_with_xmin("t", "t")
    assert steps.index("wait") > steps.index("load")
    assert receipt.events == ("waited 0 s: 1 other active sessions, above 0",)
    assert filled.is_exact()


@both_ways
def test_a_run_that_has_nothing_to_wait_for_says_nothing(filled: Pair) -> None:
    receipt = filled.engine(limits=QUIET).copy_table_data_with_xmin("t", "t")
    assert (receipt.events, receipt.rows_inserted) == ((), 5000)


def test_a_waiting_run_is_cancelled_at_once(filled: Pair) -> None:
    def cancel(step: Progress) -> None:
        if step.phase == "wait":
            engine.cancel()

    engine = filled.engine(limits=QUIET, on_progress=cancel)
    began = time.monotonic()
    with busy(filled.source_url), pytest.raises(Cancelled):
        engine.copy_table_data_with_xmin("t", "t")
    assert time.monotonic() - began < pause.LOOK_EVERY
    assert filled.leftovers() == []


@both_ways
def test_a_role_that_is_not_shown_others_sessions_is_told_the_grant(filled: Pair) -> None:
    filled.source('CREATE ROLE "a reader" LOGIN', 'GRANT SELECT ON t TO "a reader"')
    reader = Pair(make_dsn(filled.source_url, user="a reader"), filled.target_url)
    try:
        with pytest.raises(PrivilegeError) as refused:
            reader.engine(limits=QUIET).copy_table_data_with_xmin("t", "t")
        grant = refused.value.remedy.removeprefix("Run on the source: ")
        filled.source(grant)
        assert reader.engine(limits=QUIET).copy_table_data_with_xmin("t", "t").rows_inserted == 5000
    finally:
        filled.source('DROP OWNED BY "a reader"', 'DROP ROLE "a reader"')


def test_a_run_waits_for_a_standby_that_is_behind(
    replicated: Replicated,
    new_database: NewDatabase,
    server18: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pause, "LOOK_EVERY", 0.1)
    pair = Pair(new_database(replicated.primary), new_database(server18))
    pair.source(CREATE, FILL)
    assert replicated.caught_up()
    standby = replicated.standby.url()
    lag = "SELECT max(replay_lag) > '1 second' FROM pg_stat_replication"
    notes: list[str] = []

    def mend(step: Progress) -> None:
        if step.phase == "wait":
            if not notes:
                execute(
                    standby,
                    "ALTER SYSTEM RESET recovery_min_apply_delay",
                    "SELECT pg_reload_conf()",
                )
            notes.append(step.note)
            # Something to replay, by which the lag is measured anew.
            pair.source("INSERT INTO t SELECT max(id) + 1, '' FROM t")

    execute(standby, "ALTER SYSTEM SET recovery_min_apply_delay = '2s'", "SELECT pg_reload_conf()")
    try:
        pair.source("INSERT INTO t VALUES (0, '')")
        assert eventually(lambda: pair.source(lag) == [(True,)])
        limits = Limits(pause_while=PauseWhile(replication_lag=1))
        receipt = pair.engine(limits=limits, on_progress=mend).copy_table_data_with_xmin("t", "t")
    finally:
        execute(standby, "ALTER SYSTEM RESET recovery_min_apply_delay", "SELECT pg_reload_conf()")
        assert replicated.caught_up()
    assert notes[0] == "a replication lag of 2 s, above 1 s"
    assert receipt.events[0].endswith(" s: a replication lag of 2 s, above 1 s")
    assert pair.is_exact()
