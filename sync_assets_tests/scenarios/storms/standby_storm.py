"""Rounds that read from a standby, in a storm over its primary; the standby itself is looked at too.

A session that imports a snapshot of a standby can spoil the pages that everybody there reads. So
after each hundred rounds, while nobody writes, the standby must hold what its primary holds; again
after a restart, which forgets what was only in memory; and in the end after it was promoted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from sync_assets_tests.fixtures.pair import Pair, execute
from sync_assets_tests.fixtures.replicated import Replicated
from sync_assets_tests.fixtures.servers import (
    INSPECTED_FROM,
    SETTINGS,
    SUMMARIES_FROM,
    running_server,
)
from sync_assets_tests.fixtures.standby import running_standby
from sync_assets_tests.scenarios.storms.rounds import (
    CALM,
    ROUNDS,
    ROWS,
    SEED,
    Rounds,
    Row,
    copied,
    difference,
    go_through,
    log,
    stormy,
)
from sync_assets_tests.scenarios.storms.storm import TABLES, create_tables

AT_ONCE = 100
"""Rounds between two looks at the standby."""

SUBTRANSACTIONS = {
    **SETTINGS,
    # A subtransaction's first change then says whose it is, and with that a standby's short list of
    # running ids has overflowed: what its snapshots export is not what they are.
    "wal_level": "logical",
    "autovacuum_naptime": "1min",
    # A standby that lets a run read for a while before replay cancels it.
    "max_standby_streaming_delay": "5s",
    "hot_standby_feedback": "on",
}
SUMMARIES = {"summarize_wal": "on"}


@dataclass
class StandbyStorm:
    """A primary and its standby, and what is done to both."""

    servers: Replicated
    pair: Pair
    monkeypatch: pytest.MonkeyPatch
    calm: float
    options: dict[str, Any] = field(default_factory=dict)

    def go_through(self, rounds: Callable[[Rounds, int], None] = go_through) -> list[Rounds]:
        """All rounds, a hundred to a storm; neither a round nor the standby may be wrong."""
        found = [self._storm(first, rounds) for first in range(0, ROUNDS, AT_ONCE)]
        self._promote()
        return found

    def _storm(self, first: int, go_through: Callable[[Rounds, int], None]) -> Rounds:
        """One storm, and the standby after it."""
        url, seed = self.servers.primary.url("storm"), f"{SEED}/{first}"
        with stormy(url, self.pair, self.monkeypatch, self.calm, seed, savepoints=1.0) as rounds:
            rounds.options |= self.options
            go_through(rounds, min(AT_ONCE, ROUNDS - first))
        self._require_same(f"after round {first + rounds.done // len(TABLES)}")
        self.servers.standby.restart()
        self._require_same("after a restart")
        return rounds

    def _promote(self) -> None:
        assert self.servers.caught_up()
        truth = self._truth()
        execute(self.servers.standby.url(), "SELECT pg_promote()")
        self._require_held(truth, "promoted")

    def _require_same(self, when: str) -> None:
        assert self.servers.caught_up()
        self._require_held(self._truth(), when)

    def _truth(self) -> Mapping[str, frozenset[Row]]:
        return self._rows(self.servers.primary.url("storm"))

    def _require_held(self, truth: Mapping[str, frozenset[Row]], when: str) -> None:
        there = self._rows(self.servers.standby.url("storm"))
        wrong = {table: difference(there[table], truth[table]) for table in TABLES}
        assert wrong == dict.fromkeys(TABLES), f"seed {SEED}, the standby {when}"
        log.info("the standby %s holds what its primary holds", when)

    def _rows(self, url: str) -> Mapping[str, frozenset[Row]]:
        return {table: copied(url, ROWS.format(table)) for table in TABLES}


@contextlib.contextmanager
def on_a_standby(
    version: str,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
    calm: float = CALM,
) -> Iterator[StandbyStorm]:
    """A primary with the storm's tables, and a standby that rounds read from."""
    settings = SUBTRANSACTIONS | (SUMMARIES if int(version) >= SUMMARIES_FROM else {})
    with running_server(version, settings) as primary:
        primary_url = primary.create_database("storm")
        if int(version) >= INSPECTED_FROM:
            execute(primary_url, "CREATE EXTENSION pg_walinspect")
        create_tables(primary_url)
        with running_standby(primary, version, settings) as standby:
            pair = Pair(standby.url("storm"), target_url)
            yield StandbyStorm(Replicated(primary, standby), pair, monkeypatch, calm)
