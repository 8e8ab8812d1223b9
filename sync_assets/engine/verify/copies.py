"""Compare a table with a copy that somebody else's tool made: no state is needed, nothing is written.

The two ends are not one moment. What differs is looked at again under new snapshots of both, and only
what differs then too is told.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from sync_assets.engine import errors
from sync_assets.engine.compare.comparison import Comparison
from sync_assets.engine.compare.difference import Difference
from sync_assets.engine.compare.scan import End
from sync_assets.engine.compare.sides import rows_of_source
from sync_assets.engine.compare.tally import MOST_HASHES, Tally
from sync_assets.engine.context import Run
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import transaction
from sync_assets.engine.progress import Reporter
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

    `rows_source` and `rows_target` are those of the first look. `rows_differing`,
    `rows_only_in_source` and `rows_only_in_target` differed at the last one: where it
    `looked_again`, at both; `rows_settled` did at the first alone. `key` is empty where rows are told
    apart by all their values. `columns_only_in_source` and `columns_only_in_target` were not compared.
    `snapshot_at` is the source's clock at the first look.
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
    looked_again: bool
    key: tuple[str, ...]
    columns: tuple[str, ...]
    columns_only_in_source: tuple[str, ...]
    columns_only_in_target: tuple[str, ...]
    types_differing: tuple[TypeDifference, ...]
    examples: tuple[DifferentRow, ...]
    snapshot_at: str
    seconds: Mapping[str, float] = field(default_factory=dict)


def compare_copy(
    urls: tuple[str, str],
    copy: Copy,
    *,
    workers: WorkerConfig | int | None = None,
    examples: int = EXAMPLES,
    again_after: float = AGAIN_AFTER,
) -> CopyComparison:
    """Compare every row of both ends, named by the URLs of source and target; raises SyncError.

    What differs is looked at once more after `again_after` seconds. At most `examples` rows are named.
    """
    sessions = Sessions(*urls)
    report = Reporter((str(copy.target),))
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
        found = last = Tally(_wrong, first.source.rows.key, examples)
        first.compare(found)
    # Of more, not every hash is kept in full.
    looked_again = found.verdicts.total() in range(1, MOST_HASHES + 1)
    if looked_again:
        _wait(run.sessions, again_after)
        last = _Still(first.source.rows.key, examples, found.wrong_hashes)
        with _looking(run, table) as (second, _):
            second.compare_as(first, last)
    counts = {name: count for name, count in last.counts().items() if name in _COUNTED}
    return CopyComparison(
        source=str(copy.source),
        target=str(copy.target),
        equal=not last.verdicts.total(),
        rows_source=first.rows_source,
        rows_target=first.rows_target,
        **counts,
        rows_settled=max(0, found.verdicts.total() - last.verdicts.total()),
        looked_again=looked_again,
        key=first.source.rows.key,
        columns=chosen.columns,
        columns_only_in_source=chosen.only_in_source,
        columns_only_in_target=chosen.only_in_target,
        types_differing=chosen.types_differing,
        examples=tuple(DifferentRow(each.kind, each.key) for each in last.examples),
        snapshot_at=view.snapshot.taken_at.isoformat(),
        seconds=run.report.total(),
    )


_COUNTED = frozenset({"rows_differing", "rows_only_in_source", "rows_only_in_target"})


def _wrong(_found: Difference) -> Verdict:
    """The verdict on any difference: of a copy that is not ours there is nothing to excuse."""
    return "wrong"


class _Still(Tally):
    """Differences that an earlier look has found too, by the hashes of their keys."""

    def __init__(self, key: Sequence[str], most: int, before: Collection[str]) -> None:
        super().__init__(_wrong, key, most)
        self._before = frozenset(before)

    def add(self, found: Difference) -> None:
        """Count it, if it is one of them."""
        if found.hash in self._before:
            super().add(found)


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
