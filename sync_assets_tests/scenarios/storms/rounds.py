"""Rounds of syncs in the middle of a storm, each compared with the truth of its own snapshot."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import cursor

from sync_assets.engine import Receipt, RelationName, TransientError
from sync_assets.engine.errors import RecoveryConflict
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.state.state import keys_by_page_of
from sync_assets.engine.table import SyncMode, table_of
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.scenarios.storms.storm import SAVEPOINTS, TABLES, Storm

LONG = "SYNC_TEST_STORM_ROUNDS" in os.environ
ROUNDS = int(os.environ.get("SYNC_TEST_STORM_ROUNDS", "4"))
SEED = os.environ.get("SYNC_TEST_STORM_SEED") or str(random.SystemRandom().randrange(2**32))
CATCHES = 5 if LONG else 1
"""How many wrong rounds a control must produce."""

PATIENCE = 60
"""Rounds a control gets for each of them."""

Row = str
"""A row as COPY writes it."""

ROWS = "SELECT id, n, tag, v, big FROM {}"
PLACES = "SELECT tableoid::bigint, (ctid::text::point)[0]::bigint, id FROM {}"
MAPPED = "SELECT leaf, page, unnest(keys_1) FROM {}"
"""Where each key lies on the source, and where the target believes it to lie."""

CALM = 0.4

log = logging.getLogger(__name__)


@dataclass
class Watch:
    """Reads the truth behind every run, on the snapshot that the run holds."""

    storm: Storm
    chance: random.Random
    rewrites_awaited: float = 0.1
    rows: dict[str, frozenset[Row]] = field(default_factory=dict)
    places: dict[str, frozenset[Row]] = field(default_factory=dict)
    views: list[SourceRelation] = field(default_factory=list)
    together: int = 0
    """Snapshots of several tables."""

    @contextlib.contextmanager
    def over(self, taken: Any, held: Any, *arguments: Any) -> Iterator[tuple[SourceRelation, ...]]:
        """`snapshot.taken`, with the truth read and some time let pass before the run goes on."""
        with taken(held, *arguments) as views:
            tables = [str(view.relation.name) for view in views]
            try:
                for table in tables:
                    self._read_truth(held.cursor(), table)
            except psycopg2.errors.SerializationFailure:
                # A standby's replay has ended the run that holds the snapshot.
                raise RecoveryConflict("the truth could not be read") from None
            self.views.extend(views)
            self.together += len(views) > 1
            if self.chance.random() < self.rewrites_awaited:
                self.storm.rewrites_table(self.chance.choice(tables), 1.0)
            elif self.chance.random() < 0.5:
                self.storm.moves_on(20, 0.5)
            yield views

    def _read_truth(self, at: cursor, table: str) -> None:
        """Read it in the session of the run: no snapshot of a standby may be imported."""
        at.execute("SAVEPOINT truth")
        self.rows[table] = copied_by(at, ROWS.format(table))
        self.places[table] = copied_by(at, PLACES.format(table))
        # Its locks go too, or a control that takes none would be protected by them.
        at.execute("ROLLBACK TO truth; RELEASE truth")


@dataclass
class Rounds:
    """Syncs in the middle of a storm, and how many of them were wrong."""

    pair: Pair
    watch: Watch
    done: int = 0
    retried: int = 0
    wrong: list[str] = field(default_factory=list)
    spoilt: set[str] = field(default_factory=set)
    options: dict[str, Any] = field(default_factory=dict)
    by_pages: int = 0
    maps: int = 0

    def sync(self, table: str, after: Callable[[Receipt], None] = lambda _: None) -> None:
        """One run, again while somebody is only in the way, and its comparison."""
        receipt = self._run(table)
        self._judge(table, receipt)
        after(receipt)

    def sync_together(self, tables: Sequence[str]) -> None:
        """One run over tables that travel together, and the comparison of those that arrived."""
        options = {"deletes": "hard", "max_delete_ratio": 1.0, "allow_empty": True}
        mode = SyncMode.XMIN_INCREMENTAL
        asked = [table_of(table, table, mode, options | self.options) for table in tables]
        for table, outcome in zip(tables, self.pair.engine().sync_each(asked), strict=True):
            if isinstance(outcome, Receipt):
                self._judge(table, outcome)
            elif isinstance(outcome, TransientError):
                log.info("again: %s", outcome)
                self.retried += 1
            else:
                raise outcome

    def _judge(self, table: str, receipt: Receipt) -> None:
        self.done += 1
        self.by_pages += receipt.changed_pages is not None
        self.spoilt.discard(table)
        self._compare(table, receipt, ROWS.format(table), self.watch.rows[table])
        name = keys_by_page_of(RelationName.parse(table))
        if self.pair.target(f"SELECT to_regclass('{name}')") != [(None,)]:
            self.maps += 1
            self._compare(table, receipt, MAPPED.format(name), self.watch.places[table])

    def _compare(self, table: str, receipt: Receipt, query: str, truth: frozenset[Row]) -> None:
        wrong = difference(copied(self.pair.target_url, query), truth)
        if wrong and table not in self.spoilt:
            self.spoilt.add(table)
            self.wrong.append(
                f"seed {SEED}, round {self.done}, {table} ({receipt.reason}): {wrong}"
            )

    def _run(self, table: str) -> Receipt:
        """What a wrong round has lost would be missing in every later one: hence the full pass."""
        said = ""
        for _ in range(30):
            try:
                return self.pair.sync(
                    table,
                    deletes="hard",
                    max_delete_ratio=1.0,
                    allow_empty=True,
                    full_refresh=table in self.spoilt,
                    **self.options,
                )
            except TransientError as error:
                said = str(error)
                log.info("again: %s", said)
            self.retried += 1
        pytest.fail(f"seed {SEED}, round {self.done}: {table} could not be synced: {said}")

    def __str__(self) -> str:
        share = f", {self.by_pages} by changed pages, {self.maps} maps" * bool(self.by_pages)
        again = f"{self.retried} tried again"
        return f"{self.done} rounds{share}, {again}, {len(self.wrong)} wrong"


def difference(there: frozenset[Row], truth: frozenset[Row]) -> str | None:
    """What tells a target from the truth, None where nothing does."""
    if there == truth:
        return None
    return (
        f"{len(truth - there)} missing, {sorted(truth - there)[:3]}; "
        f"{len(there - truth)} too many, {sorted(there - truth)[:3]}"
    )


def copied(url: str, query: str) -> frozenset[Row]:
    """The rows of a query, as they are now."""
    with closing(psycopg2.connect(url)) as session, session.cursor() as at:
        return copied_by(at, query)


def copied_by(at: cursor, query: str) -> frozenset[Row]:
    """The rows of a query as a session sees them."""
    into = io.StringIO()
    at.copy_expert(f"COPY ({query}) TO STDOUT", into)
    return frozenset(into.getvalue().splitlines())


@contextlib.contextmanager
def stormy(
    primary_url: str,
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
    calm: float = CALM,
    seed: str = SEED,
    savepoints: float = SAVEPOINTS,
) -> Iterator[Rounds]:
    """A storm over a primary, and rounds that read from it or from its standby.

    `calm` is how many seconds lie between two tables rewritten.
    """
    log.info("seed %s", seed)
    with (
        Storm(primary_url, seed, calm, savepoints=savepoints) as storm,
        monkeypatch.context() as patched,
    ):
        watch = Watch(storm, random.Random(seed), 0.1 if calm < 1 else 0.0)
        taken = snapshot.taken
        patched.setattr(snapshot, "taken", lambda *given: watch.over(taken, *given))
        rounds = Rounds(pair, watch)
        yield rounds
    log.info("%s", rounds)


def go_through(rounds: Rounds, count: int = ROUNDS) -> None:
    """Sync all tables again and again; none of it may be wrong."""
    for _ in range(count):
        for table in TABLES:
            rounds.sync(table)
            assert rounds.wrong == []
