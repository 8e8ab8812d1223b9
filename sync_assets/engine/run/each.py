"""Many tables, each for itself: small ones travel together on one snapshot, a large one alone.

What a table costs whatever its size, connections, a lock, a snapshot and looks into both catalogs,
is paid once for all that travel together. Each is published by a transaction of its own, and one
that fails takes no other along; those in which nothing has changed are published by one for all.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg2

from sync_assets.engine.carry import carry
from sync_assets.engine.carry.giving_way import gave_way
from sync_assets.engine.context import Run
from sync_assets.engine.errors import SyncError
from sync_assets.engine.history.follow import is_followed
from sync_assets.engine.load.staging import Staged, drop_staging
from sync_assets.engine.merge.merge import Merged
from sync_assets.engine.plan.chunks import WORTH_A_WORKER
from sync_assets.engine.postgres.catalog import read_sizes
from sync_assets.engine.postgres.lock import locked, require_locks
from sync_assets.engine.postgres.session import Connection, transaction
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.outcome import make_receipt, state_after
from sync_assets.engine.run.publish import publish
from sync_assets.engine.run.stage import stage
from sync_assets.engine.run.sync import remembered, sync_tables
from sync_assets.engine.run.together import OnOutcome, located, parts, together
from sync_assets.engine.snapshot.flush import Flush
from sync_assets.engine.state.advance import advance_untouched
from sync_assets.engine.state.state import State, States
from sync_assets.engine.table import Table

SEEN = ("version", "watermark", "snapshot_xmax", "lsn", "snapshot_at", "positions")
"""What a state says of how far the source was seen, which is all that `advance_untouched` writes."""

Outcome = Receipt | SyncError

SMALL = WORTH_A_WORKER
"""Bytes of a table that is read sooner than a second connection is opened for it."""


def sync_each(run: Run, tables: Sequence[Table], ended: OnOutcome[Receipt]) -> None:
    """Bring target tables up to date, and tell of each how it ended; raises Cancelled alone."""
    with run.sessions.lending():
        for part in _parts(run, tables):
            together(run, part, _travel, ended)


def _parts(run: Run, tables: Sequence[Table]) -> Iterator[Sequence[Table]]:
    """The tables that travel together, then those that travel alone: the large, and the unknown."""

    def sizes() -> list[int | None]:
        with run.sessions.connected("source") as source, transaction(source) as cursor:
            found = read_sizes(cursor, (table.source for table in tables))
        return [found.get(table.source) for table in tables]

    known: list[int | None] = [0 for _ in tables]
    # What fails here is told of each table, by what fails when it is read.
    with contextlib.suppress(SyncError):
        known = run.sessions.translating(sizes)
    run.sessions.check()
    sized = list(zip(tables, known, strict=True))
    small = [table for table, size in sized if size is not None and size <= SMALL]
    yield from parts(small)
    yield from ([table] for table, size in sized if size is None or size > SMALL)


def _travel(run: Run, part: Sequence[Table], settled: OnOutcome[Receipt]) -> None:
    if len(part) == 1:
        (receipt,) = sync_tables(run, part)
        settled(part[0], receipt)
        return
    targets = [table.target for table in part]
    told, again = settled, list[Table]()
    with run.sessions.connected("target") as target, locked(target, targets):
        known, done = remembered(target, part, run.run_id)
        for table in part:
            if table.target in done:
                settled(table, done[table.target])
        left = [table for table in part if table.target not in done]
        if not left:
            return
        with contextlib.ExitStack() as cleanup:
            settled = cleanup.enter_context(_carrying(run, target, left, known, settled, again))
            group, flush = stage(run, left, target, known, cleanup)
            ends = [_untouched(run, staged, known[staged.target]) for staged in group]
            _move_on(run, target, [end for end in ends if end is not None], flush)
            for end in filter(None, ends):
                settled(end.table, end.receipt)
            changed = [staged for staged, end in zip(group, ends, strict=True) if end is None]
            for some in _in_transactions(changed):
                for table, outcome in _published(run, target, some, known, flush):
                    settled(table, outcome)
    for table in again:
        (receipt,) = sync_tables(run, [table])
        told(table, receipt)


@contextlib.contextmanager
def _carrying(
    run: Run,
    target: Connection,
    tables: Sequence[Table],
    known: States,
    settled: OnOutcome[Receipt],
    again: list[Table],
) -> Iterator[OnOutcome[Receipt]]:
    """Within it outcomes are told at once, or if any table carries something, at its end, with that.

    Tables are to be synced `again` whose rows were refused by what they carry, which is gone by then.
    """
    carrying = carry.begin(run, target, tables, known, grouped=False)
    if carrying is None:
        yield settled
        return
    outcomes: dict[Table, Outcome] = {}
    yield outcomes.__setitem__
    for table, outcome in outcomes.items():
        alone = dataclasses.replace(carrying, tables={table.target: table})
        if isinstance(outcome, SyncError) and table.carry and gave_way(alone, outcome):
            again.append(table)
    receipts = [each for each in outcomes.values() if isinstance(each, Receipt)]
    told = {each.target: each for each in carry.finish(carrying, receipts)}
    for table, outcome in outcomes.items():
        if table not in again:
            settled(table, told.get(str(table.target), outcome))


@dataclass(frozen=True, slots=True)
class _Untouched:
    """A table in which nothing is to be written, nor to be remembered but how far it was seen."""

    table: Table
    before: State
    after: State
    receipt: Receipt


def _untouched(run: Run, staged: Staged, before: State | None) -> _Untouched | None:
    plan = staged.plan
    if before is None or plan.table.dry_run or plan.layout.alters or not plan.finds_nothing:
        return None
    if not is_followed(plan, before):
        return None
    receipt = make_receipt(run, staged, Merged(0, 0), before, None)
    after = state_after(staged, before, receipt, before.target_storage)
    as_before = {name: getattr(before, name) for name in SEEN}
    if dataclasses.replace(after, **as_before) != before:
        return None
    return _Untouched(plan.table, before, after, receipt)


def _move_on(run: Run, target: Connection, tables: Sequence[_Untouched], flush: Flush) -> None:
    """Let the marks of tables in which nothing was found go on; they get no receipt."""
    if not tables:
        return
    with transaction(target) as cursor:
        require_locks(cursor, [each.table.target for each in tables])
        flush.ensure()
        before = {each.table.target: each.before for each in tables}
        advance_untouched(cursor, run.run_id, before, [each.after for each in tables])


def _in_transactions(changed: Sequence[Staged]) -> Iterator[list[Staged]]:
    """What is published together: first loads, which nobody reads yet; else each by itself."""
    creating = [staged for staged in changed if staged.plan.layout.creates]
    if creating:
        yield creating
    yield from ([staged] for staged in changed if not staged.plan.layout.creates)


def _published(
    run: Run, target: Connection, some: Sequence[Staged], known: States, flush: Flush
) -> Iterator[tuple[Table, Outcome]]:
    """The outcomes of one transaction, or where it fails, of one for each."""
    tables = [staged.plan.table for staged in some]
    try:
        receipts = run.sessions.translating(lambda: publish(run, target, some, known, flush))
    except SyncError as error:
        run.sessions.check()
        if len(some) > 1:
            for staged in some:
                yield from _published(run, target, [staged], known, flush)
            return
        with contextlib.suppress(psycopg2.Error):
            drop_staging(target, some[0].staging)
        yield tables[0], located(error, tables[0], run)
    else:
        yield from zip(tables, receipts, strict=True)
