"""The first half of a run: from the source's snapshot to rows that are staged on the target.

snapshot → plan → export → load
"""

from __future__ import annotations

import contextlib
import dataclasses
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
    drop_staging,
    finish,
    prepare_staging,
)
from sync_assets.engine.pause import await_replay, wait_while
from sync_assets.engine.plan.changed_pages import probe_wal
from sync_assets.engine.plan.chunks import chunks, key_chunks, useful_loaders, useful_workers
from sync_assets.engine.plan.plan import Chunk, Plan
from sync_assets.engine.plan.planner import plan_tables
from sync_assets.engine.postgres.session import Connection
from sync_assets.engine.postgres.time_outs import AS_IDLE_AS_ALLOWED
from sync_assets.engine.progress import Progress
from sync_assets.engine.run.gone_keys import differing_buckets
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.snapshot.flush import Flush
from sync_assets.engine.snapshot.give_way import giving_way
from sync_assets.engine.state.left_behind import give_up_loads
from sync_assets.engine.state.state import States
from sync_assets.engine.state.tables import prepare
from sync_assets.engine.table import Table
from sync_assets.engine.workers import choose_workers


def stage(
    run: Run,
    tables: Sequence[Table],
    target: Connection,
    known: States,
    cleanup: contextlib.ExitStack,
    looked_over: Callable[[Plan], Plan] = lambda plan: plan,
) -> tuple[tuple[Staged, ...], Flush]:
    """Snapshot, plan, export and load; the source's WAL may still have to be flushed behind it.

    What a failure must remove from the target is left to `cleanup`. `looked_over` makes of each plan
    what is done.
    """
    report = run.report
    with contextlib.ExitStack() as held:
        source = held.enter_context(run.sessions.connected("source"))
        report.spent("connect")
        wait_while(run, source, target)
        seen = (state.lsn for table in tables if (state := known[table.target]))
        await_replay(run, source, max(seen, default=0), target)
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
            plans = [*map(looked_over, plan_tables(work, tables, views, known, outlook))]
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
    anew = [plan.table.target for plan in plans if plan.full and not plan.table.dry_run]
    give_up_loads(work.target, anew)
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
        alone = len(report.tables) == 1
        name = report.tables[0] if alone else str(plans[member].table.target)
        so_far = (done.rows, done.bytes, done.chunks_done, done.chunks)
        report.moved(Progress(name, "export", *so_far, note=run.limits.pace))

    most_disk, throttle = run.max_batch_disk, run.throttle
    export = Export(
        run.sessions, plans, cut, folder, moved, most_disk, hold=hold, throttle=throttle
    )
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
