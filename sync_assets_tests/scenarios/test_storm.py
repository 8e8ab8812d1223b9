"""Round after round in the middle of a storm, each compared with the truth of its own snapshot.

SYNC_TEST_STORM_ROUNDS says how many rounds (few by default), SYNC_TEST_STORM_SEED repeats the dice
of an earlier storm; `make storm ROUNDS=1000` sets both. The seed is printed, and named by a failure.

The controls do what must not be done, and the same comparison has to catch them: it would prove
nothing if it could not.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import pytest

from sync_assets.demo.server import PostgresServer
from sync_assets.engine import Receipt, TransientError, snapshot
from sync_assets.engine.session import row
from sync_assets.engine.snapshot import SourceView
from sync_assets.engine.xid import XidWindow
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import SETTINGS, NewDatabase, both_ways, running_server
from sync_assets_tests.fixtures.standby import running_standby
from sync_assets_tests.scenarios.storm import TABLES, Storm, create_tables

LONG = "SYNC_TEST_STORM_ROUNDS" in os.environ
ROUNDS = int(os.environ.get("SYNC_TEST_STORM_ROUNDS", "4"))
SEED = os.environ.get("SYNC_TEST_STORM_SEED") or str(random.SystemRandom().randrange(2**32))
CATCHES = 5 if LONG else 1
"""How many wrong rounds a control must produce."""

PATIENCE = 60
"""Rounds a control gets for each of them."""

Row = str
"""A row as COPY writes it."""

PATIENT = {"max_standby_streaming_delay": "5s", "hot_standby_feedback": "on"}
"""A standby that lets a run read for a while before replay cancels it."""

log = logging.getLogger(__name__)


@dataclass
class Watch:
    """Reads the truth behind every run, on the snapshot that the run holds."""

    storm: Storm
    chance: random.Random
    rewrites_awaited: float = 0.1
    rows: frozenset[Row] = frozenset()
    views: list[SourceView] = field(default_factory=list)

    @contextlib.contextmanager
    def over(self, taken: Any, held: Any, *arguments: Any) -> Iterator[tuple[SourceView, ...]]:
        """`snapshot.taken`, with the truth read and some time let pass before the run goes on."""
        with taken(held, *arguments) as views:
            (view,) = views
            (exported,) = row(held.cursor(), "SELECT pg_export_snapshot()")
            self.rows = rows_of(held.dsn, str(view.relation.name), exported)
            self.views.append(view)
            if self.chance.random() < self.rewrites_awaited:
                self.storm.rewrites_table(str(view.relation.name), 1.0)
            elif self.chance.random() < 0.5:
                self.storm.moves_on(20, 0.5)
            yield views


@dataclass
class Rounds:
    """Syncs in the middle of a storm, and how many of them were wrong."""

    pair: Pair
    watch: Watch
    done: int = 0
    retried: int = 0
    wrong: list[str] = field(default_factory=list)
    spoilt: set[str] = field(default_factory=set)

    def sync(self, table: str, after: Callable[[Receipt], None] = lambda _: None) -> None:
        """One run, again while somebody is only in the way, and its comparison."""
        receipt = self._run(table)
        self.done += 1
        there, truth = rows_of(self.pair.target_url, table), self.watch.rows
        self.spoilt.discard(table)
        if there != truth:
            self.spoilt.add(table)
            self.wrong.append(
                f"seed {SEED}, round {self.done}, {table} ({receipt.reason}): {len(truth - there)} "
                f"missing, {sorted(truth - there)[:3]}; {len(there - truth)} too many, "
                f"{sorted(there - truth)[:3]}"
            )
        after(receipt)

    def _run(self, table: str) -> Receipt:
        """What a wrong round has lost would be missing in every later one: hence the full pass."""
        for _ in range(30):
            with contextlib.suppress(TransientError):
                return self.pair.sync(
                    table,
                    deletes="hard",
                    max_delete_ratio=1.0,
                    allow_empty=True,
                    full_refresh=table in self.spoilt,
                )
            self.retried += 1
        pytest.fail(f"seed {SEED}, round {self.done}: {table} could not be synced")

    def __str__(self) -> str:
        return f"{self.done} rounds, {self.retried} tried again, {len(self.wrong)} wrong"


def rows_of(url: str, table: str, exported: str | None = None) -> frozenset[Row]:
    """A table's rows, on an exported snapshot or as they are now."""
    into = io.StringIO()
    with closing(psycopg2.connect(url)) as session, session.cursor() as at:
        at.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if exported:
            at.execute("SET TRANSACTION SNAPSHOT %s", (exported,))
        at.copy_expert(f"COPY (SELECT id, n, tag, v, big FROM {table}) TO STDOUT", into)
    return frozenset(into.getvalue().splitlines())


@contextlib.contextmanager
def stormy(primary_url: str, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rounds]:
    """A storm over a primary, and rounds that read from it or from its standby."""
    log.info("seed %s", SEED)
    with Storm(primary_url, SEED) as storm:
        watch = Watch(storm, random.Random(SEED))
        taken = snapshot.taken
        monkeypatch.setattr(snapshot, "taken", lambda *given: watch.over(taken, *given))
        rounds = Rounds(pair, watch)
        yield rounds
    log.info("%s", rounds)


@pytest.fixture
def rounds(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rounds]:
    """Rounds in a storm over the source."""
    create_tables(pair.source_url)
    with stormy(pair.source_url, pair, monkeypatch) as found:
        yield found


@pytest.fixture
def standby_rounds(
    server18: PostgresServer, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rounds]:
    """Rounds that read from a standby, in a storm over its primary."""
    target_url = new_database(server18)
    with running_server("18") as primary:
        primary_url = primary.create_database("storm")
        create_tables(primary_url)
        with running_standby(primary, "18", {**SETTINGS, **PATIENT}) as standby:
            pair = Pair(standby.url("storm"), target_url)
            with stormy(primary_url, pair, monkeypatch) as found:
                yield found


def go_through(rounds: Rounds) -> None:
    for _ in range(ROUNDS):
        for table in TABLES:
            rounds.sync(table)
            assert rounds.wrong == []


@both_ways
@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_every_round_equals_its_own_snapshot(rounds: Rounds) -> None:
    go_through(rounds)


@pytest.mark.skipif(not LONG, reason="make storm")
@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_every_round_on_a_standby_equals_its_own_snapshot(standby_rounds: Rounds) -> None:
    go_through(standby_rounds)


def max_xmin(rounds: Rounds, _: pytest.MonkeyPatch) -> None:
    """The mark is the highest xmin that was seen."""
    rounds.pair.target(
        "UPDATE sync_assets.state SET watermark = coalesce(source_max_xmin, watermark)"
    )


def xip_list(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark is the snapshot's xmax, and its list of open transactions is read besides."""
    rounds.pair.target("UPDATE sync_assets.state SET watermark = snapshot_xmax")
    last = {view.relation.name: view.snapshot.text for view in rounds.watch.views}
    open_then = {xid for text in last.values() for xid in text.split(":")[2].split(",") if xid}
    listed = ", ".join(f"'{int(xid) % 2**32}'" for xid in open_then) or "NULL"
    monkeypatch.setattr(
        XidWindow, "predicate", lambda window: f"({PREDICATE(window)} OR xmin IN ({listed}))"
    )


def no_lock(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing keeps the table as it was when the snapshot was taken."""
    rounds.watch.rewrites_awaited = 1.0
    monkeypatch.setattr(snapshot, "_lock", lambda *_: None)


PREDICATE = XidWindow.predicate


@pytest.mark.timeout(120 + 10 * PATIENCE * CATCHES)
@pytest.mark.parametrize("control", [max_xmin, xip_list, no_lock], ids=lambda each: each.__name__)
def test_the_comparison_catches(
    rounds: Rounds,
    control: Callable[[Rounds, pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    while len(rounds.wrong) < CATCHES and rounds.done < PATIENCE * CATCHES:
        for table in TABLES:
            rounds.sync(table, lambda _: control(rounds, monkeypatch))
    log.info("%s: %s", control.__name__, rounds)
    assert len(rounds.wrong) >= CATCHES
