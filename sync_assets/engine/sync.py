"""One run over one table, from the source's snapshot to the target's commit.

snapshot → plan → export → load → merge → state
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from sync_assets.engine import catalog, errors, load, merge, schema, snapshot, state
from sync_assets.engine.batches import batch_folder
from sync_assets.engine.export import Export, Exported
from sync_assets.engine.load import Staging
from sync_assets.engine.lock import locked, require_lock
from sync_assets.engine.plan import Plan, chunks, known_leaf, make_plan, schema_fingerprint, storage
from sync_assets.engine.progress import Reporter
from sync_assets.engine.receipt import ColumnShape, Receipt
from sync_assets.engine.session import CATALOG_NAMES, OWN_NAMES, Connection, Sessions, transaction
from sync_assets.engine.state import Known
from sync_assets.engine.table import Table, WorkerConfig
from sync_assets.engine.workers import choose_workers

MAX_BATCH_DISK = 2 << 30


@dataclass(frozen=True, slots=True)
class Run:
    """What a run works with besides its table."""

    sessions: Sessions
    report: Reporter
    workers: WorkerConfig
    batch_dir: Path | None = None
    max_batch_disk: int = MAX_BATCH_DISK
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(frozen=True, slots=True)
class Staged:
    """Rows on the target, not yet published."""

    plan: Plan
    staging: Staging
    done: Exported
    highest_xid: int | None
    snapshot_seconds: float


def sync_table(run: Run, table: Table) -> Receipt:
    """Bring one target table up to date; raises SyncError, and then nothing was published."""
    with run.sessions.connected("target") as target, locked(target, table.target):
        known, receipt = _remembered(target, table, run.run_id)
        if receipt is not None:
            return receipt
        with batch_folder(run.batch_dir) as folder:
            staged = stage(run, table, target, known, folder)
            with _dropped_on_failure(target, staged.staging):
                receipt = publish(run, target, staged, known)
        run.report.begin("clean up")
    return receipt


def _remembered(
    target: Connection, table: Table, run_id: str
) -> tuple[Known | None, Receipt | None]:
    with transaction(target, CATALOG_NAMES) as cursor:
        receipt = state.receipt_of(cursor, table.target, run_id)
        return state.read(cursor, table.target), receipt


def stage(run: Run, table: Table, target: Connection, known: Known | None, folder: Path) -> Staged:
    """Snapshot, plan, export and load; returns once the source's WAL is flushed behind it."""
    report = run.report
    with run.sessions.connected("source") as source:
        report.spent("connect")
        with snapshot.taken(source, table.source, report.begin) as view:
            held_from = time.monotonic()
            report.begin("plan")
            plan = _decide(target, table, view, known)
            report.spent("plan")
            staging = _prepare(target, plan)
            with _dropped_on_failure(target, staging):
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
    state.prepare(target)
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
    columns = (*plan.layout.names, plan.table.xmin_column)

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
            load.load_batch(target, staging, columns, batch)
            export.discard(batch)
            run.sessions.check()
            report.spent("load")
    report.spent("export")
    return export.done


@contextlib.contextmanager
def _dropped_on_failure(target: Connection, staging: Staging) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            load.drop(target, staging)
        raise


def publish(run: Run, target: Connection, staged: Staged, known: Known | None) -> Receipt:
    """The one transaction that changes the target: rows, state and receipt together."""
    plan, report = staged.plan, run.report
    table = plan.table
    run.sessions.check()
    report.begin("merge")
    with transaction(target) as cursor:
        require_lock(cursor, table.target)
        merged = merge.publish(cursor, plan, staged.staging, staged.done.rows)
        report.spent("merge")
        report.begin("state")
        cursor.execute(CATALOG_NAMES)
        published = catalog.read_relation(cursor, table.target)
        if published is None:
            raise AssertionError(f"{table.target} is missing after its own publication")
        receipt = _receipt(run, staged, merged, known, published)
        cursor.execute(OWN_NAMES)
        after = _state_after(plan, known, receipt, published)
        state.advance(cursor, table.target, table.source, known, after, receipt)
        report.begin("commit")
        run.sessions.check()
    return receipt


def _receipt(
    run: Run,
    staged: Staged,
    merged: merge.Merged,
    known: Known | None,
    published: catalog.Relation,
) -> Receipt:
    plan, done = staged.plan, staged.done
    seen = (staged.highest_xid, None if plan.full or known is None else known.source_max_xmin)
    seconds = run.report.total() | {"snapshot": round(staged.snapshot_seconds, 3)}
    return Receipt(
        source=str(plan.table.source),
        target=str(plan.table.target),
        mode=plan.table.mode.value,
        reason=plan.reason,
        source_max_xmin=max((xid for xid in seen if xid is not None), default=None),
        watermark_before=known.watermark if known else None,
        watermark=plan.view.snapshot.xmin,
        rows_exported=done.rows,
        rows_inserted=merged.inserted,
        rows_updated=merged.updated,
        rows_unchanged=done.rows - merged.inserted - merged.updated,
        rows_deleted=merged.deleted,
        bytes=done.bytes,
        chunks=done.chunks,
        workers=done.workers,
        rows_in_target=_rows_in_target(plan, done, merged, known),
        rows_only_in_target=merged.only_in_target,
        leaves=len(plan.leaves),
        snapshot_at=plan.view.snapshot.taken_at.isoformat(),
        finished_at=datetime.now(timezone.utc).isoformat(),
        run_id=run.run_id,
        seconds=seconds,
        columns=tuple(
            ColumnShape(column.name, column.type, not column.not_null)
            for column in published.columns
        ),
    )


def _rows_in_target(
    plan: Plan, done: Exported, merged: merge.Merged, known: Known | None
) -> int | None:
    """Exact after a pass over every row; later what our own writes made of it."""
    if plan.full:
        return done.rows + (merged.only_in_target or 0)
    before = known.rows_in_target if known else None
    return None if before is None else before + merged.inserted - merged.deleted


def _state_after(
    plan: Plan, known: Known | None, receipt: Receipt, published: catalog.Relation
) -> Known:
    seen = plan.view.snapshot
    return Known(
        version=(known.version if known else 0) + 1,
        watermark=seen.xmin,
        snapshot_xmax=seen.xmax,
        lsn=seen.lsn,
        source_max_xmin=receipt.source_max_xmin,
        system_identifier=seen.identity.system_identifier,
        database=seen.identity.database,
        timeline=seen.identity.timeline,
        postmaster_start=seen.postmaster_start,
        fingerprint=schema_fingerprint(plan.view),
        configuration=plan.fingerprint,
        target_storage=storage(published),
        rows_in_target=receipt.rows_in_target,
        snapshot_at=seen.taken_at,
        leaves=tuple(known_leaf(leaf) for leaf in plan.view.relation.leaves),
    )
