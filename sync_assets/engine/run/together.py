"""Work over many tables at once; where one of them fails, the others are worked on without it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sync_assets.engine.context import Run
from sync_assets.engine.errors import Cancelled, ConnectionFailed, ConnectionLost, SyncError
from sync_assets.engine.progress import Reporter
from sync_assets.engine.table import Table

Result = TypeVar("Result")
OnOutcome = Callable[[Table, Result | SyncError], None]
Work = Callable[[Run, Sequence[Table], OnOutcome[Result]], None]
"""What is done for some tables; it tells how each has ended, or raises for all that it has not."""

TOGETHER = 100
"""Tables on one snapshot, at most: the source holds it, and their locks, until all are read."""


def parts(tables: Sequence[Table]) -> Iterator[Sequence[Table]]:
    """The tables, as many at a time as may travel together."""
    for first in range(0, len(tables), TOGETHER):
        yield tables[first : first + TOGETHER]


def together(
    run: Run, tables: Sequence[Table], work: Work[Result], ended: OnOutcome[Result]
) -> None:
    """Do the work for all tables at once, and tell how each ended; raises Cancelled alone.

    The table that an error names has failed, and the others start over; where an error names none,
    the halves do, each for itself.
    """
    names = tuple(str(table.target) for table in tables)
    its = dataclasses.replace(run, report=Reporter(names, run.report.on_progress))
    left = list(tables)

    def settled(table: Table, outcome: Result | SyncError) -> None:
        left.remove(table)
        ended(table, outcome)

    try:
        run.sessions.translating(lambda: work(its, tables, settled))
    except Cancelled:
        raise
    except SyncError as error:
        run.sessions.check()
        named = [table for table in left if str(table.target) == error.table]
        unreachable = isinstance(error, ConnectionFailed | ConnectionLost)
        for table in tuple(left) if unreachable or len(left) == 1 else named:
            settled(table, located(error, table, its))
        middle = 0 if named else len(left) // 2
        for rest in (left[:middle], left[middle:]):
            if rest:
                together(run, rest, work, ended)


def located(error: SyncError, table: Table, run: Run) -> SyncError:
    """The error, which says that it is this table's, unless it is another's."""
    return error.located(table=str(table.target), phase=run.report.phase)
