"""One run over one table, from the source's snapshot to the target's commit.

snapshot → plan → export → load → merge → state
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from sync_assets.engine import catalog, errors, load, merge, schema, snapshot, state
from sync_assets.engine.batches import batch_folder
from sync_assets.engine.export import Export, Exported
from sync_assets.engine.load import Staging
from sync_assets.engine.lock import locked, require_lock
from sync_assets.engine.plan import Plan, chunks, make_plan
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run import Run, Staged, receipt_of, state_after
from sync_assets.engine.session import CATALOG_NAMES, OWN_NAMES, Connection, transaction
from sync_assets.engine.state import Known
from sync_assets.engine.state_tables import prepare
from sync_assets.engine.table import Table
from sync_assets.engine.workers import choose_workers


def sync_table(run: Run, table: Table) -> Receipt:
    """Bring one target table up to date; raises SyncError, and then nothing was published."""
    with run.sessions.connected("target") as target, locked(target, table.target):
        known, receipt = _remembered(target, table, run.run_id)
        if receipt is not None:
            return receipt
        with contextlib.ExitStack() as cleanup:
            folder = cleanup.enter_context(batch_folder(run.batch_dir))
            staged = stage(run, table, target, known, folder, cleanup)
            receipt = publish(run, target, staged, known)
        run.report.begin("clean up")
    return receipt


def _remembered(
    target: Connection, table: Table, run_id: str
) -> tuple[Known | None, Receipt | None]:
    with transaction(target, CATALOG_NAMES) as cursor:
        receipt = state.receipt_of(cursor, table.target, run_id)
        return state.read(cursor, table.target), receipt


def stage(
    run: Run,
    table: Table,
    target: Connection,
    known: Known | None,
    folder: Path,
    cleanup: contextlib.ExitStack,
) -> Staged:
    """Snapshot, plan, export and load; returns once the source's WAL is flushed behind it.

    What a failure must remove from the target is left to `cleanup`.
    """
    report = run.report
    with run.sessions.connected("source") as source:
        report.spent("connect")
        with snapshot.taken(source, table.source, report.begin) as view:
            held_from = time.monotonic()
            report.begin("plan")
            plan = _decide(target, table, view, known)
            report.spent("plan")
            staging = _prepare(target, plan)
            cleanup.push(_dropping_on_failure(target, staging))
            done = _move(run, plan, source, target, staging, folder)
            highest = load.finish(target, staging, plan)
            report.spent("load")
        snapshot.ensure_flushed(source, run.sessions.connected("source"), view.snapshot.lsn)
        report.spent("flush")
    return Staged(plan, staging, done, highest, done.ended - held_from)


def _decide(
    target: Connection, table: Table, view: snapshot.SourceView, known: Known | None
) -> Plan:
    with transaction(target, CATALOG_NAMES) as cursor:
        there = catalog.read_relation(cursor, table.target)
        same = there is not None and there.oid == view.relation.oid
        if same and snapshot.is_taken_from(cursor, view.snapshot):
            raise errors.ConfigurationError(
                f"{table.source} and {table.target} are one and the same table",
                remedy="Name another target table, or another target database.",
            )
    layout = schema.fit(table, view.relation, there)
    return make_plan(table, view, layout, known, there)


def _prepare(target: Connection, plan: Plan) -> Staging:
    prepare(target)
    load.drop_leftovers(target, plan.table.target)
    return load.create_staging(target, plan)


def _move(
    run: Run, plan: Plan, source: Connection, target: Connection, staging: Staging, folder: Path
) -> Exported:
    """Export and load, overlapping; the disk between them is bounded."""
    report = run.report
    report.begin("chunk")
    most = choose_workers(run.workers, run.workers.max_workers)
    cut = list(chunks(plan, most, run.workers.batch_size))

    def moved(done: Exported) -> None:
        report.moved("export", done.rows, done.bytes, done.chunks_done, done.chunks)

    export = Export(run.sessions, plan, cut, folder, moved, run.max_batch_disk)
    report.begin("export")
    with contextlib.closing(export.batches(source, min(most, len(cut)))) as batches:
        loading = False
        for batch in batches:
            report.spent("export")
            if not loading:
                report.begin("load")
            loading = True
            load.load_batch(target, staging, plan, batch)
            export.discard(batch)
            run.sessions.check()
            report.spent("load")
    report.spent("export")
    return export.done


def _dropping_on_failure(target: Connection, staging: Staging) -> Callable[..., None]:
    """An exit callback that drops the staging table where the run has failed."""

    def leave(kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with contextlib.suppress(Exception):
                load.drop(target, staging)

    return leave


def publish(run: Run, target: Connection, staged: Staged, known: Known | None) -> Receipt:
    """The one transaction that changes the target: rows, state and receipt together."""
    plan, report = staged.plan, run.report
    table = plan.table
    run.sessions.check()
    report.begin("merge")
    with transaction(target) as cursor:
        require_lock(cursor, table.target)
        expected = None if plan.full or known is None else known.target_storage
        merged = merge.publish(cursor, plan, staged.staging, staged.done, expected)
        report.spent("merge")
        report.begin("state")
        cursor.execute(CATALOG_NAMES)
        published = catalog.read_relation(cursor, table.target)
        if published is None:
            raise AssertionError(f"{table.target} is missing after its own publication")
        receipt = receipt_of(run, staged, merged, known, published)
        cursor.execute(OWN_NAMES)
        after = state_after(plan, known, receipt, published)
        state.advance(cursor, table.target, table.source, known, after, receipt)
        report.begin("commit")
        run.sessions.check()
    return receipt
