"""Syncs without end under random writers and random faults: no row is lost and nothing is left.

After each fault a run has to go through, and is compared with the truth of its own snapshot.
SYNC_TEST_TORTURE_MINUTES says for how long, the wrong marks and the missing lock of `test_storm`
included, SYNC_TEST_TORTURE_SEED repeats the dice; `make torture MINUTES=60` sets both. The seed is
printed, and named by a failure.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import pytest

from sync_assets.demo.server import PostgresServer
from sync_assets.engine import SyncError, TransientError, snapshot
from sync_assets.engine.errors import RecoveryConflict
from sync_assets.engine.session import row
from sync_assets.engine.snapshot import SourceView
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import NewDatabase
from sync_assets_tests.scenarios.faults import (
    FAULTS,
    HARMLESS,
    OUR_KILL,
    STEPS,
    Bytes,
    Ends,
    at,
    is_of_the_right_kind,
    two_ends,
)
from sync_assets_tests.scenarios.rounds import ROWS, Row, copied, stormy
from sync_assets_tests.scenarios.storm import TABLES, Storm, create_tables, roll_back_prepared
from sync_assets_tests.scenarios.test_storm import max_xmin, no_lock, xip_list

MINUTES = float(os.environ.get("SYNC_TEST_TORTURE_MINUTES", "0"))
SHORT = 12.0
"""Seconds each way where nobody asks for minutes."""

STRETCH = 90.0
"""Seconds of one storm, then the other way has its turn."""

SEED = os.environ.get("SYNC_TEST_TORTURE_SEED") or str(random.SystemRandom().randrange(2**32))
CONTROLS = (max_xmin, xip_list, no_lock)
CATCHES = 5
LEAST_SYNCS, LEAST_FAULTS = 1000, 500
"""What an hour has to reach."""

CALM = 3.0
MEGABYTES = 256
LOST = (psycopg2.DatabaseError, psycopg2.InterfaceError)
"""What a storm's session meets when its server is killed: almost any error, with or without code."""

ALL = "SELECT id, n, tag, v, big FROM {}"
LIVE = ALL + " WHERE deleted_at IS NULL"
ANY_MODE: tuple[dict[str, Any], ...] = (
    {"deletes": "hard"},
    {"deletes": "hard", "full_refresh": True},
    {"mode": "full_sync"},
    {"mode": "incremental_sync", "cursor": "id", "deletes": "hard"},
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lane:
    """A target table, how it may be synced, and which of its rows stand for the source's."""

    source: str
    target: str
    ways: tuple[dict[str, Any], ...]
    rows: str = ALL

    def is_right(self, there: frozenset[Row], truth: frozenset[Row]) -> bool:
        """Whether nothing is lost, and nothing too many where deletes are followed."""
        return truth <= there if self.target.startswith("kept.") else truth == there


LANES = tuple(
    lane
    for table in TABLES
    for lane in (
        Lane(table, table, ANY_MODE),
        Lane(table, table.replace("public.", "soft."), ({"deletes": "soft"},), LIVE),
        Lane(table, table.replace("public.", "kept."), ({"deletes": "ignore"},)),
    )
)


@dataclass
class Totals:
    """What was done, and what was wrong with it."""

    syncs: int = 0
    again: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    caught: dict[str, int] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        done = (
            f"seed {SEED}: {self.syncs} syncs, {sum(self.faults.values())} faults, "
            f"{sum(self.failed.values())} runs failed by one, {self.again} tried again, "
            f"{len(self.losses)} losses, {len(self.wrong)} wrong errors or leftovers"
        )
        lines = [
            done,
            *(f"  {count:5} {fault}" for fault, count in sorted(self.faults.items())),
            *(f"  {count:5} ended in {kind}" for kind, count in sorted(self.failed.items())),
            *(f"  control {name}: caught {count} times" for name, count in self.caught.items()),
            *self.losses,
            *self.wrong,
        ]
        return "\n".join(lines)


@dataclass
class Torture:
    """Faults thrown at the runs between two ends."""

    ends: Ends
    chance: random.Random
    totals: Totals
    watching: bool = False
    truth: frozenset[Row] = frozenset()
    spoilt: set[str] = field(default_factory=set)

    def cycle(self) -> None:
        """A run under a fault, then one that has to be exact."""
        lane = self.chance.choice(LANES)
        fault = self.chance.choice((OUR_KILL, OUR_KILL, *self._possible()))
        moment = self._moment()
        self._strike(lane, fault, moment)
        self.ends.mend()
        roll_back_prepared(self.ends.direct.source_url, 3)
        where = f"seed {SEED}, {fault} at {moment}, {lane.target}"
        if fault != OUR_KILL and not self.ends.nothing_is_held():
            self.totals.wrong.append(f"{where}: left {self.ends.held()}")
        self._check(lane, where)
        if not self.ends.nothing_is_left():
            self.totals.wrong.append(f"{where}: left at last {self.ends.left()}")

    def _possible(self) -> list[str]:
        """Where no small file system can be mounted, no disk can be filled."""
        refused = self.ends.batch_disk.refusal or self.ends.target_disk.refusal
        return [fault for fault in FAULTS if not (refused and "full" in fault)]

    def _moment(self) -> str | Bytes:
        if self.chance.random() < 0.5:
            return self.chance.choice(STEPS)
        # Most runs are short: small numbers are as likely as large ones.
        count = int(10 ** self.chance.uniform(2, 5.5))
        return Bytes(self.chance.choice(("source", "target")), count)

    def _strike(self, lane: Lane, fault: str, moment: str | Bytes) -> None:
        options = self._options(lane)
        self.totals.faults[fault] += 1
        try:
            if fault == OUR_KILL:
                self.ends.sync_and_die(lane.source, lane.target, moment, **options)
            else:
                strike = at(moment, self.ends, fault)
                self.ends.sync(lane.source, lane.target, strike, **options)
        except SyncError as error:
            self.totals.failed[error.kind] += 1
            stormy_error = isinstance(error, TransientError)
            right = is_of_the_right_kind(error, fault) or stormy_error
            if not right or (fault in HARMLESS and not stormy_error):
                self.totals.wrong.append(f"seed {SEED}, {fault} at {moment}: {error!r} {error}")
        else:
            self.totals.syncs += 1

    def _check(self, lane: Lane, where: str) -> None:
        options = self._options(lane)
        if lane.target in self.spoilt:
            options["full_refresh"] = True
        for _ in range(40):
            self.watching = True
            try:
                receipt = self.ends.sync(lane.source, lane.target, lambda _: None, **options)
            except TransientError as error:
                self.totals.again += 1
                log.info("again: %s", error)
                continue
            except SyncError as error:
                self.totals.wrong.append(f"{where}, then: {error!r} {error}")
                return
            finally:
                self.watching = False
            self.totals.syncs += 1
            there = copied(self.ends.direct.target_url, lane.rows.format(lane.target))
            self.spoilt.discard(lane.target)
            if not lane.is_right(there, self.truth):
                self.spoilt.add(lane.target)
                missing, more = self.truth - there, there - self.truth
                self.totals.losses.append(
                    f"{where} ({receipt.mode}, {receipt.reason}): {len(missing)} missing, "
                    f"{sorted(missing)[:3]}; {len(more)} too many, {sorted(more)[:3]}"
                )
            return
        self.totals.wrong.append(f"{where}: could not be synced")

    def _options(self, lane: Lane) -> dict[str, Any]:
        return {
            **self.chance.choice(lane.ways),
            "max_delete_ratio": 1.0,
            "allow_empty": True,
        }

    @contextmanager
    def over(self, taken: Any, held: Any, *arguments: Any) -> Iterator[tuple[SourceView, ...]]:
        """`snapshot.taken`, with the truth read where it is compared."""
        with taken(held, *arguments) as views:
            if self.watching:
                (exported,) = row(held.cursor(), "SELECT pg_export_snapshot()")
                source = ROWS.format(views[0].relation.name)
                try:
                    self.truth = copied(self.ends.direct.source_url, source, exported)
                except psycopg2.Error:
                    raise RecoveryConflict("the truth could not be read") from None
            yield views


def go_on(torture: Torture, until: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """One storm over the source, and cycles in it."""
    taken = snapshot.taken
    seed = str(torture.chance.getrandbits(32))
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "taken", lambda *given: torture.over(taken, *given))
        with Storm(torture.ends.direct.source_url, seed, CALM, 2, LOST):
            while time.monotonic() < until:
                torture.cycle()


def catch(
    control: Any, pair: Pair, totals: Totals, monkeypatch: pytest.MonkeyPatch, until: float
) -> None:
    """Let a control do what must not be done until the comparison has caught it often enough."""
    create_tables(pair.source_url)
    with (
        monkeypatch.context() as patch,
        stormy(pair.source_url, pair, patch) as rounds,
    ):
        while len(rounds.wrong) < CATCHES and time.monotonic() < until:
            for table in TABLES:
                rounds.sync(table, lambda _: control(rounds, patch))
    totals.caught[control.__name__] = len(rounds.wrong)
    log.info("control %s: %s", control.__name__, rounds)


@pytest.mark.timeout(300 + 60 * MINUTES)
def test_nothing_is_lost_and_nothing_is_left(
    server15: PostgresServer,
    server18: PostgresServer,
    new_database: NewDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servers = (server15, server18)
    totals, chance = Totals(), random.Random(SEED)
    log.info("seed %s", SEED)
    for server in servers:
        server.start()
    end = time.monotonic() + 60 * MINUTES
    for control in CONTROLS if MINUTES else ():
        pair = Pair(new_database(server15), new_database(server18))
        catch(control, pair, totals, monkeypatch, end - 60 * MINUTES * 0.7)
    with two_ends(*servers, MEGABYTES) as there, two_ends(*servers[::-1], MEGABYTES) as back:
        tortures = [Torture(ends, chance, totals) for ends in (there, back)]
        for torture in tortures:
            create_tables(torture.ends.direct.source_url)
        done = False
        while not done:
            for torture in tortures:
                stretch = time.monotonic() + (STRETCH if MINUTES else SHORT)
                go_on(torture, min(stretch, end) if MINUTES else stretch, monkeypatch)
                log.info("%s", totals)
            done = time.monotonic() >= end
    print(totals)  # noqa: T201 - what the hour was for
    assert totals.losses == []
    assert totals.wrong == []
    assert sum(totals.faults.values()) >= (LEAST_FAULTS if MINUTES >= 60 else 1)
    assert totals.syncs >= (LEAST_SYNCS if MINUTES >= 60 else 1)
    assert all(count >= CATCHES for count in totals.caught.values())
