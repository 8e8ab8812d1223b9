"""Round after round in the middle of a storm, each compared with the truth of its own snapshot.

SYNC_TEST_STORM_ROUNDS says how many rounds (few by default), SYNC_TEST_STORM_SEED repeats the dice
of an earlier storm; `make storm ROUNDS=1000` sets both. The seed is printed, and named by a failure.

The controls do what must not be done, and the same comparison has to catch them: it would prove
nothing if it could not.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import NewDatabase, Servers, both_ways
from sync_assets_tests.fixtures.ways import Way
from sync_assets_tests.scenarios.storms.controls import CONTROLS, Control
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

SCANNING = {"changed_blocks": "off"}
"""Changed pages have a storm of their own."""


@pytest.fixture
def rounds(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rounds]:
    """Rounds in a storm over the source."""
    create_tables(pair.source_url)
    with stormy(pair.source_url, pair, monkeypatch) as found:
        found.options |= SCANNING
        yield found


@pytest.fixture
def standby_storm(
    way: Way, servers: Servers, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StandbyStorm]:
    """Rounds that read from a standby, in a storm over its primary."""
    source, target = way
    with on_a_standby(source, new_database(servers(target)), monkeypatch) as found:
        found.options |= SCANNING
        yield found


@both_ways
@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_every_round_equals_its_own_snapshot(rounds: Rounds) -> None:
    go_through(rounds)


@both_ways
@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_every_round_of_tables_that_travel_together_equals_its_own_snapshot(
    rounds: Rounds,
) -> None:
    # One that the storm rewrites just then travels alone.
    while rounds.watch.together < ROUNDS:
        rounds.sync_together(TABLES)
        assert rounds.wrong == []
        assert rounds.retried <= 30 * (rounds.done + 1)
        assert rounds.done <= PATIENCE * len(TABLES) * ROUNDS


@pytest.mark.skipif(not LONG, reason="make storm")
@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_every_round_on_a_standby_equals_its_own_snapshot(standby_storm: StandbyStorm) -> None:
    standby_storm.go_through()


@pytest.mark.timeout(120 + 10 * PATIENCE * CATCHES)
@pytest.mark.parametrize("control", CONTROLS, ids=lambda each: each.__name__)
def test_the_comparison_catches(
    rounds: Rounds,
    control: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    while len(rounds.wrong) < CATCHES and rounds.done < PATIENCE * CATCHES:
        for table in TABLES:
            rounds.sync(table, lambda _: control(rounds, monkeypatch))
    log.info("%s: %s", control.__name__, rounds)
    assert len(rounds.wrong) >= CATCHES
