"""Compare a table with a copy that somebody else's tool made: no state is needed, nothing is written.

The two ends are not one moment. What differs is looked at again under new snapshots of both, and only
what stood still in between is told: a row that either end has changed since may be on its way.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from sync_assets.engine import errors
from sync_assets.engine.compare.comparison import Comparison
from sync_assets.engine.compare.difference import Difference
from sync_assets.engine.compare.scan import End
from sync_assets.engine.compare.sides import rows_of_source
from sync_assets.engine.compare.tally import MOST_HASHES, Tally
from sync_assets.engine.context import Run
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import transaction
from sync_assets.engine.progress import OnProgress, Reporter, ignore_progress
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.snapshot.give_way import giving_way, idling
from sync_assets.engine.snapshot.identity import require_two_tables
from sync_assets.engine.snapshot.scope import own_names
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.table import SyncMode, Table
from sync_assets.engine.threads import interruptible
from sync_assets.engine.verification import EXAMPLES, Verdict
from sync_assets.engine.verify.copied_columns import Copy, TypeDifference, choose
from sync_assets.engine.workers import WorkerConfig

AGAIN_AFTER = 2.0
"""Seconds until what differs is looked at again."""

LOOKS = 4
"""After so many, a row that was changed between any two of them is given up: nobody can judge it."""

NOTHING_MARKS = "(no column marks rows as deleted)"
"""Stands for the column by which a target of ours marks rows: a copy has none, all its rows count."""


@dataclass(frozen=True, slots=True)
class DifferentRow:
    """One row that differs, named by its key; a row without one by the MD5 it was compared by."""

    kind: str
    key: Mapping[str, str]


# What `compare --json` prints: each field is a name in its schema.
@dataclass(frozen=True, slots=True)
class CopyComparison:
    """An exact comparison of a table with its copy.

    `equal` says that no row differs that stood still. `rows_source` and `rows_target` are those of the
    first look. `rows_differing`, `rows_only_in_source` and `rows_only_in_target` differed, where it
    `looked_again`, in the same way at two looks in a row; `rows_settled` differed at first and were
    the same later; `rows_changing` differed at every look, and had changed at one end each time.
    `key` is empty where rows are told apart by all their values. `columns_only_in_source` and
    `columns_only_in_target` were not compared; `columns_of_ours` are those of the latter that our syncs
    add to a copy. `snapshot_at` is the source's clock at the first look.
    """

    source: str
    target: str
    equal: bool
    rows_source: int
    rows_target: int
    rows_differing: int
    rows_only_in_source: int
    rows_only_in_target: int
    rows_settled: int
    rows_changing: int
    looked_again: bool
    key: tuple[str, ...]
    columns: tuple[str, ...]
    columns_only_in_source: tuple[str, ...]
    columns_only_in_target: tuple[str, ...]
    columns_of_ours: tuple[str, ...]
    types_differing: tuple[TypeDifference, ...]
    examples: tuple[DifferentRow, ...]
    snapshot_at: str
    seconds: Mapping[str, float] = field(default_factory=dict)


def compare_copy(
    urls: tuple[DatabaseOrUrl, DatabaseOrUrl],
    copy: Copy,
    *,
    workers: WorkerConfig | int | None = None,
    examples: int = EXAMPLES,
    again_after: float = AGAIN_AFTER,
    on_progress: OnProgress = ignore_progress,
) -> CopyComparison:
    """Compare every row of both ends, named by the URLs of source and target; raises SyncError.

    What differs is looked at again after `again_after` seconds. At most `examples` rows are named.
    """
    sessions = Sessions(*urls)
    report = Reporter((str(copy.target),), on_progress)
    run = Run(sessions, report, WorkerConfig.of(workers), run_id=str(uuid.uuid4()))
    call = partial(_compare, run, copy, examples, again_after)
    try:
        return sessions.translating(lambda: interruptible(call, sessions.cancel))
    except errors.SyncError as error:
        error.located(table=str(copy.target), phase=report.phase)
        raise


def _compare(run: Run, copy: Copy, examples: int, again_after: float) -> CopyComparison:
    chosen = choose(run.sessions, copy)
    table = Table(
        copy.source,
        copy.target,
        SyncMode.FULL_SYNC,
        key=copy.key,
        columns=chosen.columns,
        deleted_column=NOTHING_MARKS,
    )
    with _looking(run, table) as (first, view):
        found = _FirstLook(first.source.rows.key, examples)
        first.compare(found)
    last: Tally = found
    moving = settled = 0
    # Of more, not all are kept.
    looked_again = found.verdicts.total() in range(1, MOST_HASHES + 1)
    if looked_again:
        last = told = _StoodStill(first.source.rows.key, examples, found.images)
        _look_again(run, table, first, told, again_after)
        moving = len(told.moving)
        settled = len(found.images) - len(told.wrong_hashes) - moving
    counts = {name: count for name, count in last.counts().items() if name in _COUNTED}
    return CopyComparison(
        source=str(copy.source),
        target=str(copy.target),
        equal=not last.verdicts.total(),
        rows_source=first.rows_source,
        rows_target=first.rows_target,
        **counts,
        rows_settled=settled,
        rows_changing=moving,
        looked_again=looked_again,
        key=first.source.rows.key,
        columns=chosen.columns,
        columns_only_in_source=chosen.only_in_source,
        columns_only_in_target=chosen.only_in_target,
        columns_of_ours=chosen.ours,
        types_differing=chosen.types_differing,
        examples=tuple(DifferentRow(each.kind, each.key) for each in last.examples),
        snapshot_at=view.snapshot.taken_at.isoformat(),
        seconds=run.report.total(),
    )


_COUNTED = frozenset({"rows_differing", "rows_only_in_source", "rows_only_in_target"})


def _wrong(_found: Difference) -> Verdict:
    """The verdict on any difference: of a copy that is not ours there is nothing to excuse."""
    return "wrong"


class _FirstLook(Tally):
    """The differences of a first look; `images` are what both ends had of each, by its hash."""

    def __init__(self, key: Sequence[str], most: int) -> None:
        super().__init__(_wrong, key, most)
        self.images: dict[str, bytes] = {}

    def add(self, found: Difference) -> None:
        """Count one, and keep what it was like."""
        super().add(found)
        if len(self.images) < MOST_HASHES:
            self.images[found.hash] = found.images


class _StoodStill(Tally):
    """Differences that are at a look what they were at the one before; the others are `moving`."""

    def __init__(self, key: Sequence[str], most: int, moving: dict[str, bytes]) -> None:
        super().__init__(_wrong, key, most)
        self.moving = moving
        self._before: Mapping[str, bytes] = {}

    def begin(self) -> None:
        """Begin another look, at those that are still moving."""
        self._before, self.moving = self.moving, {}

    def add(self, found: Difference) -> None:
        """Count it, if neither end has changed it since the last look."""
        known = self._before.get(found.hash)
        if known == found.images:
            super().add(found)
        elif known is not None:
            self.moving[found.hash] = found.images


def _look_again(
    run: Run, table: Table, first: Comparison, told: _StoodStill, again_after: float
) -> None:
    """Look at what the first comparison found, until nothing of it is moving or it has been enough."""
    for _ in range(LOOKS - 1):
        _wait(run.sessions, again_after)
        told.begin()
        with _looking(run, table) as (again, _view):
            again.compare_as(first, told)
        if not told.moving:
            return


@contextlib.contextmanager
def _looking(run: Run, table: Table) -> Iterator[tuple[Comparison, SourceRelation]]:
    """A snapshot of the source, and a comparison under it."""
    with (
        run.sessions.connected("source") as source,
        snapshot.taken(source, [table], run.report.begin) as (view,),
        giving_way(run.sessions, run.max_blocking),
    ):
        idling(run.sessions, source)
        _require_a_copy(run, table, view)
        own = own_names(table, view.relation, view.types)
        rows = rows_of_source(table, view)
        end = End("source", rows, source, view.snapshot.in_recovery, own, view.reach)
        yield Comparison(run, table, end), view


def _require_a_copy(run: Run, table: Table, view: SourceRelation) -> None:
    with run.sessions.connected("target") as target, transaction(target) as cursor:
        require_two_tables(cursor, table, view, read_relation(cursor, table.target))


def _wait(sessions: Sessions, seconds: float) -> None:
    """Wait, unless somebody cancels."""
    until, never = time.monotonic() + seconds, threading.Event()
    while (left := until - time.monotonic()) > 0:
        sessions.check()
        never.wait(min(left, 0.2))
