"""First loads by pieces in the middle of a storm, ended at random moments until they come through.

Each that comes through is compared with the truth at its last snapshot. Controls break the protocol,
which the comparison must catch.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sync_assets.engine import Progress, Receipt, TransientError
from sync_assets.engine.limits import Limits
from sync_assets.engine.plan.plan import KeySearch, Plan
from sync_assets.engine.postgres.xid import XidWindow
from sync_assets.engine.run.first_load import by_pieces
from sync_assets.engine.run.stage import stage
from sync_assets.engine.table import Deletes
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import NewDatabase, Servers, both_ways
from sync_assets_tests.fixtures.ways import Way
from sync_assets_tests.scenarios.storms.rounds import (
    CATCHES,
    LONG,
    PATIENCE,
    ROUNDS,
    ROWS,
    SEED,
    Rounds,
    copied,
    difference,
    log,
    stormy,
)
from sync_assets_tests.scenarios.storms.standby_storm import StandbyStorm, on_a_standby
from sync_assets_tests.scenarios.storms.storm import SCHEMA, TABLES

LIMITS = Limits(piece_mb=1)
CALM = 3.0
LAST = "sync_assets.engine.run.first_load.complete"
STAGE: Callable[..., Any] = stage


@pytest.fixture(autouse=True)
def _by_pieces_however_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_pieces, "LEAST", 0)


class Ended(Exception):
    """What ends a run in its middle."""


@dataclasses.dataclass
class Loads:
    """First loads of the storm's tables."""

    rounds: Rounds
    chance: random.Random
    ended: int = 0
    by_pieces: int = 0
    went_on: int = 0
    started_over: int = 0

    def load(self, table: str) -> None:
        """Load a table that the target has never seen, and compare it."""
        pair = self.rounds.pair
        pair.target(f"DROP TABLE IF EXISTS {table}")
        if pair.target("SELECT to_regclass('sync_assets.state')") != [(None,)]:
            pair.target("DELETE FROM sync_assets.state", "DELETE FROM sync_assets.receipt")
        receipt = self._come_through(table)
        self.rounds.done += 1
        self.by_pieces += "pieces" in receipt.reason
        self.went_on += any("earlier runs" in event for event in receipt.events)
        self.started_over += any("started over" in event for event in receipt.events)
        wrong = difference(
            copied(pair.target_url, ROWS.format(table)), self.rounds.watch.rows[table]
        )
        if wrong:
            self.rounds.wrong.append(f"seed {SEED}, round {self.rounds.done}, {table}: {wrong}")

    def _come_through(self, table: str) -> Receipt:
        for _ in range(40):
            left = self.chance.choice((0, 0, 1, 2, 3, 1000))

            def end(progress: Progress, left: list[int] = [left]) -> None:  # noqa: B006
                moved = progress.phase in ("load", "export", "merge") and progress.chunks_done
                left[0] -= bool(moved)
                if left[0] < 0:
                    raise Ended
                if moved and self.chance.random() < 0.3:
                    self.rounds.watch.storm.rewrites_table(table, 0.3)

            engine = self.rounds.pair.engine(limits=LIMITS, on_progress=end)
            options: dict[str, Any] = {"deletes": self.chance.choice(("ignore", "hard"))}
            try:
                return engine.copy_table_data_with_xmin(table, table, **options)
            except (Ended, TransientError) as error:
                log.info("again: %r", error)
                self.ended += 1
        pytest.fail(f"seed {SEED}, round {self.rounds.done}: {table} never came through")


def load_all(rounds: Rounds, count: int) -> None:
    """Load all tables again and again; none of it may be wrong."""
    loads = Loads(rounds, random.Random(SEED))
    for _ in range(count):
        for table in TABLES:
            loads.load(table)
            assert rounds.wrong == []
    log.info("%s", dataclasses.replace(loads, rounds=None))  # type: ignore[arg-type]


@both_ways
@pytest.mark.timeout(120 + 30 * ROUNDS)
def test_loads_are_exact_at_their_last_snapshot(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.source(*SCHEMA)
    with stormy(pair.source_url, pair, monkeypatch, CALM) as rounds:
        load_all(rounds, ROUNDS)


@pytest.fixture
def standby_storm(
    way: Way, servers: Servers, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StandbyStorm]:
    """Loads from a standby, in a storm over its primary."""
    source, target = way
    with on_a_standby(source, new_database(servers(target)), monkeypatch, CALM) as found:
        yield found


@pytest.mark.skipif(not LONG, reason="make loads")
@pytest.mark.timeout(120 + 30 * ROUNDS)
def test_loads_from_a_standby_are_exact_at_their_last_snapshot(
    standby_storm: StandbyStorm,
) -> None:
    standby_storm.go_through(load_all)


def no_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed since the load began is not read."""

    def nothing(plan: Plan) -> Plan:
        table = dataclasses.replace(plan.table, deletes=Deletes.IGNORE)
        window = XidWindow(plan.window.end, plan.window.end)
        return dataclasses.replace(plan, table=table, window=window, keys=KeySearch())

    monkeypatch.setattr(f"{LAST}.stage", lambda *given: STAGE(*given[:-1], nothing))


def no_look_for_rows_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were deleted while their table was loaded stay."""

    def staying(plan: Plan) -> Plan:
        table = dataclasses.replace(plan.table, deletes=Deletes.IGNORE)
        return dataclasses.replace(plan, table=table, keys=KeySearch())

    monkeypatch.setattr(f"{LAST}.stage", lambda *given: STAGE(*given[:-1], staying))


CONTROLS = (no_last_step, no_look_for_rows_that_are_gone)


@both_ways
@pytest.mark.timeout(120 + 10 * PATIENCE * CATCHES)
@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.__name__)
def test_a_broken_load_is_caught(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, control: Callable[[pytest.MonkeyPatch], None]
) -> None:
    pair.source(*SCHEMA)
    with stormy(pair.source_url, pair, monkeypatch, CALM) as rounds:
        control(monkeypatch)
        loads = Loads(rounds, random.Random(SEED))
        for _ in range(PATIENCE * CATCHES):
            for table in TABLES:
                loads.load(table)
            if len(rounds.wrong) >= CATCHES:
                return
    pytest.fail(f"{control.__name__} was never caught: {loads}")
