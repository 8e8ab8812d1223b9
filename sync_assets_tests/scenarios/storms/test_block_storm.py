"""The storm again, with every run made to read the pages that the source's WAL names.

Each round is compared with the truth of its own snapshot, and so is the map of keys by page. The
controls get one of the protocol's rules wrong, and the same comparison has to catch them. Two of
them a storm would betray too rarely: they have a scene of their own at the end.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from sync_assets.engine.names import RelationName
from sync_assets.engine.plan import changed_pages
from sync_assets.engine.postgres.session import Cursor, row
from sync_assets.engine.snapshot import wal, wal_tools
from sync_assets.engine.snapshot.pages import Position, ranges_of, safe_start
from sync_assets.engine.snapshot.wal_tools import Window
from sync_assets.engine.state import state
from sync_assets.engine.state.state import State
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair, vacuum_cuts
from sync_assets_tests.fixtures.servers import NewDatabase, Servers
from sync_assets_tests.fixtures.ways import BY_PAGE, Way
from sync_assets_tests.scenarios.storms.rounds import (
    CATCHES,
    LONG,
    PATIENCE,
    ROUNDS,
    Rounds,
    go_through,
    log,
    stormy,
)
from sync_assets_tests.scenarios.storms.standby_storm import StandbyStorm, on_a_standby
from sync_assets_tests.scenarios.storms.storm import TABLES, create_tables

FORCED = {"changed_blocks": "require"}
CALM = 15.0
"""Seconds between rewrites, after each of which a table has to be scanned once."""

ON_THIS_PATH = 0.9 if LONG else 0.5
"""The share of rounds that must have read changed pages; the first two of a table never do."""

MORE = 12
"""Rounds that few may have besides: on a busy machine tables are rewritten between any two of them."""


@pytest.fixture
def rounds(
    request: pytest.FixtureRequest,
    servers: Servers,
    new_database: NewDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Rounds]:
    """Rounds in a storm over a source whose WAL can be asked."""
    source, target = getattr(request, "param", ("18", "18"))
    pair = Pair(new_database(servers(source, summaries=True)), new_database(servers(target)))
    pair.source("CREATE EXTENSION pg_walinspect")
    create_tables(pair.source_url)
    with stormy(pair.source_url, pair, monkeypatch, CALM) as found:
        found.options |= FORCED
        yield found


@pytest.fixture
def standby_storm(
    way_by_page: Way,
    servers: Servers,
    new_database: NewDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[StandbyStorm]:
    """Rounds that read from a standby, in a storm over its primary."""
    source, target = way_by_page
    with on_a_standby(source, new_database(servers(target)), monkeypatch, CALM) as found:
        found.options |= FORCED
        yield found


@pytest.mark.timeout(120 + 10 * ROUNDS)
@pytest.mark.parametrize("rounds", BY_PAGE, indirect=True, ids="-to-".join)
def test_every_round_by_changed_pages_equals_its_own_snapshot(rounds: Rounds) -> None:
    go_through(rounds)
    for _ in range(0 if LONG else MORE):
        if _reads_pages(rounds):
            break
        go_through(rounds, 1)
    assert _reads_pages(rounds)


def _reads_pages(rounds: Rounds) -> bool:
    return rounds.by_pages >= ON_THIS_PATH * (rounds.done - 2 * len(TABLES))


@pytest.mark.skipif(not LONG, reason="make storm")
@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_every_round_by_changed_pages_of_a_standby_equals_its_own_snapshot(
    standby_storm: StandbyStorm,
) -> None:
    storms = standby_storm.go_through()
    # Those after a rewrite or a restart of the standby look at all pages, too.
    expected = sum(rounds.done - 2 * len(TABLES) for rounds in storms)
    assert sum(rounds.by_pages for rounds in storms) >= ON_THIS_PATH * expected


def without_summaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A summary begins earlier than it is asked for, and so would mend what a control breaks."""
    read_tools = wal_tools.read_tools
    monkeypatch.setattr(
        wal_tools,
        "read_tools",
        lambda cursor: dataclasses.replace(read_tools(cursor), summaries=False),
    )


def newest_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window starts where the last run was, whatever was open then."""
    without_summaries(monkeypatch)
    monkeypatch.setattr(
        changed_pages,
        "safe_start",
        lambda positions, _: max((each.lsn for each in positions), default=None),
    )


def end_before_the_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window ends where WAL was before the snapshot was taken."""
    without_summaries(monkeypatch)
    ends: list[int] = []
    probe_wal, asked = changed_pages.probe_wal, wal.changed_pages

    def looked_out(*given: Any) -> changed_pages.WalSources:
        found = probe_wal(*given)
        ends.append(found.position.lsn if found.position else 0)
        # As while a run waits for its locks.
        threading.Event().wait(0.2)
        return found

    def earlier(cursor: Any, window: Window, *given: Any, **options: Any) -> wal_tools.ChangedPages:
        return asked(cursor, dataclasses.replace(window, end=ends[-1]), *given, **options)

    monkeypatch.setattr("sync_assets.engine.run.stage.probe_wal", looked_out)
    monkeypatch.setattr(wal, "changed_pages", earlier)


def max_xmin_for_the_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark is the highest xmin that was seen; the window is the right one's.

    Nor are there witnesses, which at times tell that such a mark is wrong: the run would be refused.
    """
    without_summaries(monkeypatch)
    read = state.recall_all

    def misread(cursor: Cursor, targets: Sequence[RelationName]) -> dict[RelationName, State]:
        return {target: betrayed(known) for target, known in read(cursor, targets).items()}

    def betrayed(known: State) -> State:
        start = safe_start(known.positions, known.watermark)
        if known.source_max_xmin is None or start is None:
            return known
        return dataclasses.replace(
            known,
            watermark=known.source_max_xmin,
            positions=(Position(0, start),),
            samples=(),
        )

    monkeypatch.setattr(state, "recall_all", misread)


def xmax_for_the_next_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The id after the last one that ended is taken for the next one to be assigned."""

    def read_position(cursor: Cursor) -> Position:
        lsn, xmax, _ = row(cursor, wal_tools._POSITION)
        return Position(xmax, lsn)

    monkeypatch.setattr(wal_tools, "read_position", read_position)


def truncation_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What VACUUM has cut off is not looked at, and summaries answer alone."""
    read_tools = wal_tools.read_tools
    monkeypatch.setattr(
        "sync_assets.engine.snapshot.wal.ranges_of", lambda pages, _: ranges_of(pages)
    )
    monkeypatch.setattr(
        wal_tools,
        "read_tools",
        lambda cursor: dataclasses.replace(read_tools(cursor), reader=None, checkpoint=True),
    )


@pytest.mark.timeout(120 + 10 * PATIENCE * CATCHES)
@pytest.mark.parametrize(
    "control",
    [newest_start, end_before_the_snapshot, max_xmin_for_the_mark],
    ids=lambda control: control.__name__,
)
def test_the_comparison_catches(
    rounds: Rounds,
    control: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    control(monkeypatch)
    most = PATIENCE * CATCHES
    while len(rounds.wrong) < CATCHES and rounds.done < most:
        for table in TABLES:
            rounds.sync(table)
    log.info("%s: %s", control.__name__, rounds)
    assert len(rounds.wrong) >= CATCHES


@pytest.fixture
def quiet(summarizing: PostgresServer, server18: PostgresServer, new_database: NewDatabase) -> Pair:
    """A source that nobody else writes to, synced twice."""
    pair = Pair(new_database(summarizing), new_database(server18))
    pair.source(
        "CREATE EXTENSION pg_walinspect",
        "CREATE TABLE t (id integer PRIMARY KEY, v text) "
        "WITH (fillfactor = 50, autovacuum_enabled = off)",
        "INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 20000) i",
        "UPDATE t SET v = 'first' WHERE id <= 150",
        "VACUUM t",
    )
    for _ in range(2):
        pair.sync(deletes="hard", **FORCED)
    return pair


@pytest.mark.parametrize("breaks", [False, True])
def test_a_writer_that_owns_the_newest_id_is_found_because_the_next_one_is_asked_for(
    quiet: Pair, monkeypatch: pytest.MonkeyPatch, *, breaks: bool
) -> None:
    without_summaries(monkeypatch)
    if breaks:
        xmax_for_the_next_id(monkeypatch)
    with closing(psycopg2.connect(quiet.source_url)) as slow:
        slow.cursor().execute("DELETE FROM t WHERE id = 7")
        quiet.sync(deletes="hard", **FORCED)
        slow.commit()
    quiet.source("UPDATE t SET v = 'x' WHERE id = 15000")
    receipt = quiet.sync(deletes="hard", **FORCED)
    assert receipt.changed_pages is not None
    assert quiet.is_exact() is not breaks


@pytest.mark.parametrize("breaks", [False, True])
def test_rows_on_pages_that_were_cut_off_are_found_because_the_cut_is_looked_at(
    quiet: Pair, monkeypatch: pytest.MonkeyPatch, *, breaks: bool
) -> None:
    read_tools = wal_tools.read_tools
    monkeypatch.setattr(
        wal_tools,
        "read_tools",
        lambda cursor: dataclasses.replace(read_tools(cursor), reader=None, checkpoint=True),
    )
    if breaks:
        truncation_ignored(monkeypatch)
    quiet.source("CHECKPOINT", "DELETE FROM t WHERE id > 15000")
    assert vacuum_cuts(quiet.source_url, "t")
    receipt = quiet.sync(deletes="hard", **FORCED)
    assert receipt.changed_pages is not None
    assert quiet.is_exact() is not breaks
