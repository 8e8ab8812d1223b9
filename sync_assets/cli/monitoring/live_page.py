"""What one look found, as a page that fits the terminal: what needs somebody first."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from sync_assets.cli.errors import described_error
from sync_assets.cli.monitoring.overview import PartNow, TableNow
from sync_assets.cli.output import clock, number, size, tables
from sync_assets.cli.selection import Address, names_of
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.health import SourceHealth
from sync_assets.plain_text import shown
from sync_assets.runs.progress_log import duration

MARK_HELD = "mark_held"
"""The kind of hindrance that concerns all tables of a source alike: it has a line of its own."""

USUAL = 70
"""Columns of a terminal that have room for what is behind and what was moved."""

WIDE = 110
"""Columns that have room for all numbers."""

WIDER = 150
"""Columns that have room for a sentence."""

STATES = 4
"""The part of a terminal that a state takes at most."""

LEAST_ROWS = 1

LONG = 60.0
"""Seconds for which a transaction is open that is worth a colour."""


class Need(enum.IntEnum):
    """How much a table needs somebody, the most first; in the words of the line of totals."""

    HINDERED = 0
    OTHER_SOURCE = 1
    NEVER_SYNCED = 2
    LOADING = 3
    AT_WORK = 4
    SYNCED = 5
    LOOKING = 6

    @property
    def words(self) -> str:
        """What is counted."""
        return self.name.lower().replace("_", " ")

    @property
    def style(self) -> str:
        """Its colour."""
        return ("red", "red", "yellow", "cyan", "cyan", "green", "dim")[self]


NEEDS_SOMEBODY = (Need.HINDERED, Need.OTHER_SOURCE)


def need_of(now: TableNow) -> Need:
    """What a table's state is called."""
    status = now.status
    if not now.asked:
        return Need.LOOKING
    if _in_its_way(now):
        return Need.HINDERED
    if status.source_problem:
        return Need.OTHER_SOURCE
    if status.loaded is not None:
        return Need.LOADING
    if now.at_work:
        return Need.AT_WORK
    return Need.SYNCED if status.synced_at else Need.NEVER_SYNCED


def _in_its_way(now: TableNow) -> list[str]:
    return [kind for kind in now.kinds if kind != MARK_HELD]


def in_order(found: Iterable[TableNow]) -> list[TableNow]:
    """The tables, those first that need somebody, of alike ones the oldest data."""

    def urgency(now: TableNow) -> tuple[Need, float, str]:
        age = now.status.age_seconds
        return need_of(now), -(age if age is not None else float("inf")), now.status.target

    return sorted(found, key=urgency)


@dataclass(frozen=True, slots=True)
class Page:
    """One look, at a time; rendered anew whenever the terminal has another size.

    `asking` says whose answer it still lacks.
    """

    parts: Sequence[PartNow]
    looked_at: datetime
    every: float
    asking: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As many tables as there is room for."""
        height = options.height or console.height
        found = in_order(now for part in self.parts for now in part.tables)
        head, foot = list(self._head()), [*self._holders(), _total(found)]
        # One line for the headings, one perhaps for those that are not shown.
        room = max(LEAST_ROWS, height - len(head) - len(foot) - 1)
        if len(found) > room:
            room = max(LEAST_ROWS, room - 1)
        left = found[room:]
        if left:
            foot.insert(0, _left(left))
        yield from head
        names = names_of(now.synced.address for now in found)
        yield _table(found[:room], names, options.max_width)
        yield from foot

    def _head(self) -> Iterator[RenderableType]:
        how = f"{self.asking}…" if self.asking else f"every {self.every:g} s"
        yield _line(f"sync-assets: {clock(self.looked_at)}, {how}; Ctrl-C ends", "dim")
        said: dict[str, None] = {}
        for part in self.parts:
            ends = (part.source_connection, part.source), (part.target_connection, part.target)
            for connection, end in ends:
                if isinstance(end, SyncError):
                    said[f"{connection} does not answer: {described_error(end)}"] = None
        for text in said:
            yield _line(text, "bold red")

    def _holders(self) -> Iterator[RenderableType]:
        """What holds marks back, for each source."""
        sources = {part.source_connection: part.source for part in self.parts}
        for connection, source in sources.items():
            if isinstance(source, SourceHealth) and source.behind:
                age = source.holder.age_seconds if source.holder else None
                since = "" if age is None else f" for {duration(age)}"
                told = f"marks held back{since}, by {source.behind:,} transactions: {_who(source)}"
                yield _line(f"{connection}: {told}", "yellow" if (age or 0) >= LONG else "dim")


def _who(source: SourceHealth) -> str:
    if source.holder is None:
        return "a transaction that this role may not see"
    return str(replace(source.holder, age_seconds=None))


def _table(found: Sequence[TableNow], names: Mapping[Address, str], width: int) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    # Where there is no room for all, columns of texts give way: those that may wrap, though none does.
    grid.add_column("table")
    grid.add_column("state", no_wrap=True, overflow="ellipsis", max_width=width // STATES)
    headings = ["data age"]
    headings += ["behind", "rows moved"] if width >= USUAL else []
    headings += ["took", "rows"] if width >= WIDE else []
    for heading in headings:
        grid.add_column(heading, justify="right", no_wrap=True)
    if width >= WIDER:
        grid.add_column("what is in the way")
    for now in found:
        cells = _cells(now)[: len(headings)]
        need = need_of(now)
        said = [_line(_first_said(now), "")] if width >= WIDER else []
        name = _line(names[now.synced.address], "")
        grid.add_row(name, Text(_state(now, need), need.style), *map(Text, cells), *said)
    return grid


def _cells(now: TableNow) -> list[str]:
    status, last = now.status, now.last
    took = last.receipt.seconds.get("total") if last else None
    return [
        "" if status.age_seconds is None else duration(status.age_seconds),
        "" if status.lag_bytes is None else size(status.lag_bytes),
        number(last.receipt.rows_written if last else None, ","),
        "" if took is None else duration(took) if took >= 1 else f"{took:.1f} s",
        number(status.rows_in_target, ","),
    ]


def _state(now: TableNow, need: Need) -> str:
    if need is Need.HINDERED:
        return ", ".join(_in_its_way(now))
    if need is Need.OTHER_SOURCE:
        return now.status.source_problem or ""
    if need is Need.LOADING:
        return f"loading, {now.status.loaded or 0:.0%}"
    return need.words


def _first_said(now: TableNow) -> str:
    texts = (known.what for (_, kind, _), known in now.hindrances.items() if kind != MARK_HELD)
    return next(texts, "")


def _left(left: Sequence[TableNow]) -> Text:
    urgent = sum(need_of(now) in NEEDS_SOMEBODY for now in left)
    told = f", {urgent:,} of them hindered" if urgent else ""
    return _line(f"… and {tables(len(left))} more{told}", "bold red" if urgent else "dim")


def _total(found: Sequence[TableNow]) -> Text:
    counts = Counter(map(need_of, found))
    ages = [now.status.age_seconds for now in found if now.status.age_seconds is not None]
    moved = sum(now.last.receipt.rows_written for now in found if now.last)
    parts = (
        tables(len(found)),
        *(f"{counts[need]:,} {need.words}" for need in Need if counts[need]),
        f"{moved:,} rows moved",
        f"oldest data {duration(max(ages))}" if ages else "",
    )
    return _line(", ".join(filter(None, parts)), "bold")


def _line(text: str, style: str) -> Text:
    return Text(shown(text), style, no_wrap=True, overflow="ellipsis")
