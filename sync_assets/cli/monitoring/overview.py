"""One look at all tables: their states and receipts, both ends, and what is in the way."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sync_assets.cli.connections import Ends, by_connections
from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.health import SourceHealth, TargetHealth
from sync_assets.engine.inspection.holders import locked_among
from sync_assets.engine.inspection.status import TableStatus, look_at_status
from sync_assets.engine.postgres.connection import Lender, Sessions
from sync_assets.engine.state.last_receipts import LastReceipt, last_receipts
from sync_assets.hindrances.circumstances import look
from sync_assets.hindrances.kinds import PATIENCE
from sync_assets.hindrances.telling import Known, Place, standing

if TYPE_CHECKING:
    from sync_assets.launch.doctor import Asked

DAGSTER_EVERY = 60.0
"""Seconds for which what Dagster's home said is taken as it was: its sensors look no oftener."""


@dataclass(frozen=True, slots=True)
class TableNow:
    """A table as one look found it: its status, its last receipt, and what stands in its way.

    `at_work` says that a run works on it. Where its target did not answer, or nobody was asked yet, the
    status says no more than its names.
    """

    synced: SyncedTable
    status: TableStatus
    last: LastReceipt | None = None
    hindrances: Mapping[Place, Known] = field(default_factory=dict)
    at_work: bool = False
    asked: bool = True

    @property
    def kinds(self) -> list[str]:
        """The kinds of what is in its way, each once."""
        return list(dict.fromkeys(kind for _, kind, _ in self.hindrances))


@dataclass(frozen=True, slots=True)
class PartNow:
    """Tables that share their connections; an end that did not answer is its error."""

    source_connection: str
    target_connection: str
    source: SourceHealth | SyncError
    target: TargetHealth | SyncError
    tables: Sequence[TableNow]


class Overview:
    """Looks at tables again and again, over one connection to each database that is kept.

    Dagster's home is asked too, where there is one `of_dagster`. To be used as a context manager,
    which closes the connections.
    """

    def __init__(self, place: Path, tables: Sequence[SyncedTable], *, of_dagster: bool) -> None:
        self._place, self._every = place, list(by_connections(tables))
        self._of_dagster = of_dagster
        self._lenders = [Lender() for _ in self._every]
        self._asked: list[Asked] = []
        self._asked_at = 0.0
        self._open = ExitStack()

    def __enter__(self) -> Overview:
        for lender in self._lenders:
            self._open.enter_context(lender)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def unasked(self) -> list[PartNow]:
        """What is known before anybody was asked: which tables there are."""
        return [
            PartNow(
                ends.tables[0].source_connection,
                ends.target_connection,
                SourceHealth(),
                TargetHealth(),
                [replace(_unknown(each, {}), asked=False) for each in ends.tables],
            )
            for ends in self._every
        ]

    def look(self) -> list[PartNow]:
        """Ask everybody once; an end that does not answer is an error in its place."""
        self._ask_dagster()
        return self.look_at_databases()

    def look_at_databases(self) -> list[PartNow]:
        """Ask them alone, with what Dagster's home said last: that one takes longer."""
        return [self._part(place) for place in range(len(self._every))]

    def _ask_dagster(self) -> None:
        now = time.monotonic()
        if not self._of_dagster or (self._asked and now < self._asked_at + DAGSTER_EVERY):
            return
        # Dagster takes a second or two to import.
        from sync_assets.launch.doctor import Part, ask

        self._asked = ask(self._place, [Part(each.tables, each.target_url) for each in self._every])
        self._asked_at = now

    def _part(self, place: int) -> PartNow:
        ends = self._every[place]
        sessions = Sessions(ends.source_url, ends.target_url, self._lenders[place])
        asked = self._asked[place] if self._asked else None
        of_home = (asked.home, asked.failures) if asked else ()
        seen = look(sessions, sessions, ends.tables, *of_home)
        found = standing(seen, asked.recorded if asked else {}, time.time(), PATIENCE)
        # Both were asked.
        source = cast("SourceHealth | SyncError", seen.source)
        target = cast("TargetHealth | SyncError", seen.target)
        tables: list[TableNow] = []
        if not isinstance(target, SyncError):
            try:
                tables = list(
                    _tables(sessions, ends, found, asks_source=not isinstance(source, SyncError))
                )
            except SyncError as error:
                target = error
        unknown = [_unknown(each, found) for each in ends.tables]
        first = ends.tables[0]
        return PartNow(
            first.source_connection, ends.target_connection, source, target, tables or unknown
        )


def _tables(
    sessions: Sessions, ends: Ends, found: Mapping[Place, Known], *, asks_source: bool
) -> Iterator[TableNow]:
    tables = [each.table for each in ends.tables]
    statuses = look_at_status(sessions, tables, asks_source=asks_source)
    targets = [table.target for table in tables]
    receipts, held = last_receipts(sessions, targets), locked_among(sessions, targets)
    for synced, status in zip(ends.tables, statuses, strict=True):
        target = synced.table.target
        yield TableNow(
            synced, status, receipts.get(target), _of(synced, found), at_work=target in held
        )


def _unknown(synced: SyncedTable, found: Mapping[Place, Known]) -> TableNow:
    names = str(synced.table.source), str(synced.table.target)
    return TableNow(synced, TableStatus(*names), None, _of(synced, found))


def _of(synced: SyncedTable, found: Mapping[Place, Known]) -> dict[Place, Known]:
    name = str(synced.table.target)
    return {place: known for place, known in found.items() if place[0] == name}
