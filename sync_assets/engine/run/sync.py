"""One run over a group of tables, from the source's snapshot to the target's commit.

snapshot → plan → export → load → merge → state

A group is nearly always one table. The tables of a larger one are read on the same snapshot and
published in the same transaction.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from sync_assets.engine.context import Run, Work
from sync_assets.engine.export.batches import Exported, batch_folder
from sync_assets.engine.export.export import Export
from sync_assets.engine.load.loaders import Loaders
from sync_assets.engine.load.preconditions import parts_told
from sync_assets.engine.load.staging import (
    Staged,
    Staging,
    drop_leftovers,
    drop_staging,
    finish,
    prepare_staging,
)
from sync_assets.engine.merge import merge
from sync_assets.engine.merge.publish import publish_rows
from sync_assets.engine.merge.still_there import still_there
from sync_assets.engine.merge.violations import explained
from sync_assets.engine.names import RelationName
from sync_assets.engine.plan.changed_pages import probe_wal
from sync_assets.engine.plan.chunks import chunks, key_chunks, useful_loaders, useful_workers
from sync_assets.engine.plan.plan import Chunk, Plan
from sync_assets.engine.plan.planner import plan_tables
from sync_assets.engine.postgres.catalog import read_relations
from sync_assets.engine.postgres.lock import locked, require_locks
from sync_assets.engine.postgres.session import Connection, transaction
from sync_assets.engine.postgres.time_outs import AS_IDLE_AS_ALLOWED
from sync_assets.engine.progress import Progress
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.gone_keys import differing_buckets
from sync_assets.engine.run.outcome import make_receipt, state_after
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.snapshot.flush import Flush
from sync_assets.engine.snapshot.give_way import giving_way
from sync_assets.engine.state import advance, state
from sync_assets.engine.state.state import States
from sync_assets.engine.state.tables import prepare
from sync_assets.engine.table import Table
from sync_assets.engine.workers import choose_workers


def sync_tables(run: Run, tables: Sequence[Table]) -> tuple[Receipt, ...]:
    """Bring a group of target tables up to date, all or none; raises SyncError."""
    targets = [table.target for table in tables]
    with run.sessions.connected("target") as target, locked(target, targets):
        known, done = remembered(target, tables, run.run_id)
        if len(done) == len(tables):
            return tuple(done[target] for target in targets)
        with contextlib.ExitStack() as cleanup:
            group, flush = stage(run, tables, target, known, cleanup)
            receipts = publish(run, target, group, known, flush)
        run.report.begin("clean up")
    return receipts


def remembered(
    target: Connection, tables: Sequence[Table], run_id: str
) -> tuple[States, dict[RelationName, Receipt]]:
    """The states of the tables, and the receipts of those that this very run has done before."""
    with transaction(target) as cursor:
        known = state.states_of(cursor, tables)
        found = state.find_receipts(cursor, tables, run_id) if any(known.values()) else {}
        if all(table.dry_run for table in tables):
            cursor.execute("ROLLBACK")
    return known, found


def stage(
    run: Run,
    tables: Sequence[Table],
    target: Connection,
    known: States,
    cleanup: contextlib.ExitStack,
) -> tuple[tuple[Staged, ...], Flush]:
    """Snapshot, plan, export and load; the source's WAL may still have to be flushed behind it.

    What a failure must remove from the target is left to `cleanup`.
    """
    report = run.report
    with contextlib.ExitStack() as held:
        source = held.enter_context(run.sessions.connected("source"))
        report.spent("connect")
        outlook = probe_wal(source, tables)
        with (
            snapshot.taken(source, tables, report.begin) as views,
            giving_way(run.sessions, run.max_blocking),
        ):
            held_from = time.monotonic()
            if len(tables) > 1:
                # To plan many and to make room for them is a long talk with the target.
                with source.cursor() as cursor:
                    cursor.execute(AS_IDLE_AS_ALLOWED)
            work = Work(run, source, target, cleanup)
            plans = plan_tables(work, tables, views, known, outlook)
            staged = fill(work, plans, held_from)
        flush = Flush(run.sessions, source, views[0].snapshot.lsn, held)
        cleanup.callback(flush.end)
    return staged, flush


def fill(
    work: Work, plans: Sequence[Plan], held_from: float, *, hold: bool = False
) -> tuple[Staged, ...]:
    """Export what is planned and load it; the source lets its snapshot go, unless told to hold it.

    `held_from` is the moment, in seconds of the monotonic clock, since when the snapshot is held.
    """
    tables = [plan.table for plan in plans]
    plans = parts_told(work.target, plans)
    if not all(table.dry_run for table in tables):
        prepare(work.target)
    drop_leftovers(work.target, tables)
    staged = prepare_staging(work.target, plans)
    for each in staged:
        work.cleanup.push(_dropping_on_failure(work.target, each))
    later = any(plan.keys.later for plan in plans)
    folder = work.cleanup.enter_context(batch_folder(work.run.batch_dir))
    export = _move(work, folder, plans, chunks, staged, hold=hold or later)
    done, workers = export.done, export.workers
    if later:
        staged = [
            dataclasses.replace(each, buckets=differing_buckets(work, plan, each))
            if plan.keys.later
            else each
            for plan, each in zip(plans, staged, strict=True)
        ]
        keys = partial(key_chunks, [each.buckets for each in staged])
        export = _move(work, folder, plans, keys, staged, hold=hold)
        done = [rows + keys for rows, keys in zip(done, export.done, strict=True)]
    newest = finish(work.target, staged, plans)
    work.run.report.spent("load")
    held = export.ended - held_from
    return tuple(
        Staged(*each, max(workers, export.workers), held)
        for each in zip(plans, staged, done, newest, strict=True)
    )


def _move(
    work: Work,
    folder: Path,
    plans: Sequence[Plan],
    cutting: Callable[[Sequence[Plan], int, int], Iterator[Chunk]],
    staged: Sequence[Staging],
    *,
    hold: bool,
) -> Export:
    """Export and load, overlapping; the disk between them is bounded."""
    run, report = work.run, work.run.report
    report.begin("chunk")
    most = choose_workers(run.workers, run.workers.max_workers)
    cut = list(cutting(plans, most, run.workers.batch_size))

    def moved(member: int, done: Exported) -> None:
        name = str(plans[member].table.target)
        report.moved(Progress(name, "export", done.rows, done.bytes, done.chunks_done, done.chunks))

    export = Export(run.sessions, plans, cut, folder, moved, run.max_batch_disk, hold=hold)
    report.begin("export")
    workers = min(most, useful_workers(cut))
    with contextlib.closing(export.batches(work.source, workers)) as batches:
        first = next(batches, None)
        report.spent("export")
        if first is not None:
            report.begin("load")
            loaders = Loaders(run.sessions, plans, staged, export)
            most = min(most, useful_loaders(cut))
            loaders.load(work.target, itertools.chain([first], batches), most)
            report.spent("load")
    return export


def _dropping_on_failure(target: Connection, staging: Staging) -> Callable[..., None]:
    """An exit callback that drops the staging table where the run has failed."""

    def leave(kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with contextlib.suppress(Exception):
                drop_staging(target, staging)

    return leave


def publish(
    run: Run,
    target: Connection,
    group: Sequence[Staged],
    known: States,
    flush: Flush | None = None,
) -> tuple[Receipt, ...]:
    """The one transaction that changes the target: rows, state and receipts together.

    The marks in the states count on the source's WAL: `flush` is waited for.
    """
    targets = [staged.target for staged in group]
    work = partial(_publish, run, target, group, known, flush)
    return explained(run.sessions, target, targets, work)


def _publish(
    run: Run,
    target: Connection,
    group: Sequence[Staged],
    known: States,
    flush: Flush | None,
) -> tuple[Receipt, ...]:
    report = run.report
    run.sessions.check()
    if flush is not None and any(staged.plan.layout.alterations for staged in group):
        # To alter a table takes a lock that no reader shall wait for longer than need be.
        flush.ensure()
    report.begin("merge")
    with transaction(target, merge.INDEXED) as cursor:
        require_locks(cursor, [staged.target for staged in group])
        look = functools.partial(still_there, run.sessions)
        merged = publish_rows(cursor, group, _expected_storage(group, known), look)
        report.spent("merge")
        if flush is not None:
            flush.ensure()
        report.spent("flush")
        report.begin("state")
        receipts = []
        there = read_relations(cursor, (staged.target for staged in group))
        for staged in group:
            name, before = staged.target, known[staged.target]
            published = there.get(name)
            receipt = make_receipt(run, staged, merged[name], before, published)
            receipts.append(receipt)
            if published is not None and not staged.plan.table.dry_run:
                after = state_after(staged, before, receipt, published.storage)
                advance.advance(cursor, name, staged.plan.table.source, before, after, receipt)
        report.begin("commit")
        run.sessions.check()
        if any(staged.plan.table.dry_run for staged in group):
            cursor.execute("ROLLBACK")
    return tuple(receipts)


def _expected_storage(group: Sequence[Staged], known: States) -> dict[RelationName, str]:
    """What targets that are not read whole must still be, since rows below the mark are not read.

    Of a part they are, and the state says as before what all the others are worth.
    """
    marked = [each for each in group if not each.plan.full and each.plan.part is None]
    states = {staged.target: known[staged.target] for staged in marked}
    return {name: before.target_storage for name, before in states.items() if before}
