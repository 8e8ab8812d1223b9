"""Round after round of syncs under writers and faults, until the time is over; nothing may be lost.

In every round a table is synced, in about half of them first under one to three faults drawn at
random; then a run without a fault must bring the target to the truth of its own snapshot, and leave
nothing behind. Now and then a control, which does what must not be done, has to be caught.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import random
import subprocess
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from sync_assets.engine import PermanentError, TransientError
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import SETTINGS, SUMMARIES_FROM, running_server
from sync_assets_tests.fixtures.ways import WAYS
from sync_assets_tests.scenarios.faults.faults import MANY_WORKERS, Ends, two_ends
from sync_assets_tests.scenarios.storms.controls import CONTROLS, Control
from sync_assets_tests.scenarios.storms.rounds import (
    PATIENCE,
    SEED,
    Row,
    copied,
    copied_by,
    difference,
    stormy,
)
from sync_assets_tests.scenarios.storms.storm import TABLES, Storm, create_tables
from sync_assets_tests.scenarios.storms.torture_faults import Attempt, draw
from sync_assets_tests.scenarios.storms.torture_tables import (
    SUBJECTS,
    Subject,
    Writers,
)
from sync_assets_tests.scenarios.storms.torture_tables import create_tables as create_subjects

CONTROL_ROUNDS = 8
"""Rounds of each control in an hour; five of them must be caught."""

MEGABYTES = 256
"""Of the small disks that batch files and the target are on."""

BY_NAME = {subject.name: subject for subject in SUBJECTS}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Truth:
    """What a snapshot saw of a table: the columns in order, and the rows."""

    columns: str
    rows: frozenset[Row]


def _commit() -> str:
    """The commit that is tortured; work may go on meanwhile."""
    head = ("git", "rev-parse", "--short", "HEAD")
    return subprocess.run(head, check=False, capture_output=True, text=True).stdout.strip()


@dataclass
class Tally:
    """What has happened so far."""

    rounds: int = 0
    runs: int = 0
    syncs: int = 0
    again: int = 0
    repairs: int = 0
    leftovers_sought: int = 0
    losses: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    caught: Counter[str] = field(default_factory=Counter)
    control_rounds: int = 0
    rows: int = 0
    by_pages: int = 0
    longest: float = 0.0
    commit: str = field(default_factory=_commit)

    def table(self, minutes: float) -> str:
        """The summary as Markdown."""
        caught = ", ".join(f"{name} {count}" for name, count in sorted(self.caught.items()))
        lines = {
            "seed": SEED,
            "commit": self.commit,
            "minutes": f"{minutes:.1f}",
            "rounds": self.rounds,
            "syncs compared with the truth of their snapshot": self.syncs,
            "rows that they read": self.rows,
            "syncs by changed pages": self.by_pages,
            "faults": self.faults.total(),
            "runs that a fault ended": sum(self.errors.values()),
            "runs without a fault that were tried again": self.again,
            "times that nothing was left behind": self.leftovers_sought,
            "targets repaired": self.repairs,
            "controls caught": caught or "none",
            "losses": len(self.losses),
        }
        kinds = {f"fault: {name}": count for name, count in sorted(self.faults.items())}
        ends = {f"error: {name}": count for name, count in sorted(self.errors.items())}
        rows = [f"| {name} | {value} |" for name, value in {**lines, **kinds, **ends}.items()]
        return "\n".join(("| torture | |", "|---|---|", *rows))


class Torture:
    """Rounds between two ends."""

    def __init__(self, ends: Ends, way: str, tally: Tally) -> None:
        self.ends, self.way, self.tally = ends, way, tally
        self.truths: dict[tuple[str, str], Truth] = {}
        self._told: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=8))
        self._usual: deque[float] = deque([0.3], maxlen=20)
        self._writers: Storm | None = None
        self._killed = False

    def go_on(self, until: float, seed: str, patch: pytest.MonkeyPatch) -> None:
        """Rounds among writers until a moment of the monotonic clock, and until a fault struck."""
        taken = snapshot.taken
        patch.setattr(snapshot, "taken", lambda *given: self._watched(taken, *given))
        with MANY_WORKERS(), Writers(self.ends.direct.source_url, seed) as self._writers:
            while time.monotonic() < until or not self.tally.faults.total():
                self._round()

    def _round(self) -> None:
        self.tally.rounds += 1
        chance = random.Random(f"{SEED}/{self.tally.rounds}")
        subject = chance.choice(SUBJECTS)
        self._moves_on(chance.randrange(1, 20), 0.4)
        self.truths.clear()
        self._killed = False
        if chance.random() < 0.04:
            self._note(subject, "dropped on the target")
            self.ends.direct.target(f"DROP TABLE IF EXISTS {subject.name}")
        if chance.random() < 0.04:
            self._meddle(subject, chance)
        if chance.random() < 0.55:
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                self._faulty(subject, chance)
        self._clean(subject, chance)
        self.tally.leftovers_sought += 1
        if not self.ends.nothing_is_left():
            self._fail(subject, f"left behind: {self.ends.left()}")

    def _faulty(self, subject: Subject, chance: random.Random) -> None:
        fault, moment = draw(chance, subject, sorted(self._usual)[len(self._usual) // 2])
        attempt = Attempt(self.ends, subject, chance, fault, moment)
        self._run(attempt)
        self.ends.mend()
        self.tally.faults[fault.name] += attempt.struck
        for error in attempt.errors:
            self.tally.errors[error.kind] += 1
            if not isinstance(error, (*fault.brings, TransientError)):
                self._fail(subject, f"an error of the wrong kind: {error!r}")
        self._killed |= fault.ends_process is not None
        # What a killed process has left is swept by the next run that comes as far as its files.
        if not self._killed and not self.ends.nothing_is_held():
            self._fail(subject, f"left by a run under a fault: {self.ends.held()}")
        if attempt.receipts and (fault.compared or not attempt.struck):
            self._compare(subject, attempt)

    def _clean(self, subject: Subject, chance: random.Random) -> None:
        """A run without a fault, again while somebody is only in the way."""
        for _ in range(30):
            attempt = Attempt(self.ends, subject, chance)
            began = time.monotonic()
            self._run(attempt)
            if attempt.receipts:
                self._usual.append(time.monotonic() - began)
                self._compare(subject, attempt)
                if wrong := subject.wrong(self.ends.direct, subject.table):
                    self._fail(subject, f"not as it must be: {wrong[:3]}")
                return
            self.tally.again += 1
            if isinstance(attempt.errors[0], PermanentError):
                break
            self._moves_on(3, 0.2)
        self._fail(subject, "no run without a fault succeeds")

    def _run(self, attempt: Attempt) -> None:
        self.tally.runs += 1
        began = time.monotonic()
        try:
            attempt.run()
        except Exception as error:  # noqa: BLE001 - a run may raise nothing but a SyncError
            self._note(attempt.subject, str(attempt))
            self._fail(attempt.subject, f"raised {error!r}")
        finally:
            self._note(attempt.subject, str(attempt))
            self.tally.longest = max(self.tally.longest, time.monotonic() - began)

    def _compare(self, subject: Subject, attempt: Attempt) -> None:
        """The target with the truth of the run that came last."""
        receipt = max(attempt.receipts, key=lambda each: each.snapshot_at)
        self.tally.syncs += len(attempt.receipts)
        for each in attempt.receipts:
            self.tally.rows += each.rows_exported
            self.tally.by_pages += each.changed_pages is not None
        truth = self.truths[subject.name, receipt.snapshot_at]
        there = self._there(subject, truth)
        wrong = difference(there, truth.rows)
        if wrong:
            self._fail(subject, f"{receipt.reason}: {wrong}")

    def _there(self, subject: Subject, truth: Truth) -> frozenset[Row]:
        url = self.ends.direct.target_url
        query = f"SELECT {truth.columns} FROM {subject.name} WHERE {subject.counts}"
        rows = copied(url, query)
        if not subject.keeps_deleted:
            return rows
        keys = {line.partition("\t")[0] for line in truth.rows}
        return frozenset(line for line in rows if line.partition("\t")[0] in keys)

    def _meddle(self, subject: Subject, chance: random.Random) -> None:
        """Rows changed by hand on the target, which no later run may see: `verify` mends them."""
        if self.ends.direct.target(f"SELECT to_regclass('{subject.name}')") == [(None,)]:
            return
        modulus, rest = chance.randrange(5, 50), chance.randrange(5)
        chosen = f"id % {modulus} = {rest} AND {subject.counts}"
        self.ends.direct.target(
            chance.choice(
                (
                    f"DELETE FROM {subject.name} WHERE {chosen}",
                    f"UPDATE {subject.name} SET v = 'by hand' WHERE {chosen}",
                    f"UPDATE {subject.name} SET n = n - 1, big = 'too big' WHERE {chosen}",
                )
            )
        )
        self._note(subject, f"rows with {chosen} changed by hand on the target")
        for _ in range(30):
            with contextlib.suppress(TransientError):
                self.ends.direct.engine().verify(subject.table, sync=True, repair=True)
                break
        self.tally.faults["target's rows changed by hand"] += 1
        self.tally.repairs += 1

    @contextlib.contextmanager
    def _watched(self, taken: Any, held: Any, *given: Any) -> Iterator[tuple[SourceRelation, ...]]:
        """`snapshot.taken`, with the truth read by the very session that holds the snapshot."""
        with taken(held, *given) as views:
            for view in views:
                name = str(view.relation.name)
                here, columns = BY_NAME[name].columns(column.name for column in view.columns)
                rows = copied_by(held.cursor(), f"SELECT {here} FROM {name}")
                at = view.snapshot.taken_at.isoformat()
                self.truths[name, at] = Truth(columns, rows)
            self._moves_on(3, 0.1)
            yield views

    def _moves_on(self, commits: int, seconds: float) -> None:
        if self._writers is not None:
            self._writers.moves_on(commits, seconds)

    def _note(self, subject: Subject, what: str) -> None:
        log.debug("round %s: %s", self.tally.rounds, what[:300])
        self._told[subject.name].append(f"round {self.tally.rounds}: {what}")

    def _fail(self, subject: Subject, what: str) -> None:
        told = "\n  ".join(self._told[subject.name])
        said = f"seed {SEED}, {self.way}, round {self.tally.rounds}, {subject.name}: {what}"
        self.tally.losses.append(said)
        pytest.fail(f"{said}\n  {told}")


def torture(minutes: float, *, controls: bool) -> Tally:
    """Both ways in turn, with the controls spread over the time; return what happened.

    Without controls it goes one way, and the servers' start is not counted.
    """
    tally = Tally()
    log.info("seed %s, %.1f minutes", SEED, minutes)
    began = time.monotonic()
    legs = len(WAYS) if controls else 1
    wanted = max(1, round(CONTROL_ROUNDS * minutes / 60)) * len(CONTROLS)
    stretches = math.ceil(wanted / legs) if controls else 1
    order = itertools.cycle(CONTROLS)
    first = random.Random(SEED).randrange(len(WAYS))
    try:
        for leg in range(legs):
            with _leg(WAYS[(first + leg) % len(WAYS)], tally) as found:
                ready = time.monotonic()
                left = began + 60 * minutes * (leg + 1) / legs - ready if controls else 60 * minutes
                for number in range(stretches):
                    with pytest.MonkeyPatch.context() as patch:
                        until = ready + left * (number + 1) / stretches
                        found.go_on(until, f"{SEED}/{leg}/{number}", patch)
                    if controls:
                        _control_round(found.ends, next(order), tally)
                    log.info("%s", _line(tally, began))
    finally:
        log.info("\n%s", tally.table((time.monotonic() - began) / 60))
    return tally


def _line(tally: Tally, began: float) -> str:
    return (
        f"{(time.monotonic() - began) / 60:.1f} minutes: {tally.syncs} syncs, "
        f"{tally.faults.total()} faults, {tally.again} tried again, caught {dict(tally.caught)}, "
        f"longest run {tally.longest:.1f} s"
    )


@contextlib.contextmanager
def _leg(way: tuple[str, str], tally: Tally) -> Iterator[Torture]:
    source, target = way
    settings = {**SETTINGS, "autovacuum_naptime": "1min"}
    summarizes = int(source) >= SUMMARIES_FROM
    summarizing = {**settings, "summarize_wal": "on"} if summarizes else settings
    with (
        running_server(source, summarizing) as source_server,
        running_server(target, settings) as target_server,
        two_ends(source_server, target_server, MEGABYTES) as ends,
    ):
        if summarizes:
            ends.direct.source("CREATE EXTENSION pg_walinspect")
        create_subjects(ends.direct.source_url)
        yield Torture(ends, f"{source} to {target}", tally)


def _control_round(ends: Ends, control: Control, tally: Tally) -> None:
    """Storm over databases of its own, until the control has been caught once."""
    name = f"control_{tally.control_rounds}"
    tally.control_rounds += 1
    pair = Pair(ends.source_server.create_database(name), ends.target_server.create_database(name))
    try:
        create_tables(pair.source_url)
        with (
            pytest.MonkeyPatch.context() as patch,
            stormy(pair.source_url, pair, patch) as rounds,
        ):
            while not rounds.wrong and rounds.done < PATIENCE:
                for table in TABLES:
                    rounds.sync(table, lambda _: control(rounds, patch))
        tally.caught[control.__name__] += bool(rounds.wrong)
    finally:
        ends.source_server.drop_database(name)
        ends.target_server.drop_database(name)
