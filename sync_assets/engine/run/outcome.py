"""What a run leaves: its receipt, and the state after it."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone

from sync_assets.engine.context import Run
from sync_assets.engine.load.staging import Staged
from sync_assets.engine.merge.merge import Merged
from sync_assets.engine.plan.plan import KeysByPage, Plan
from sync_assets.engine.plan.reads import known_leaf
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.receipt import ColumnShape, Receipt
from sync_assets.engine.snapshot.pages import Position, advanced
from sync_assets.engine.state.shape import remembered_columns
from sync_assets.engine.state.state import State, kept


def make_receipt(
    run: Run, staged: Staged, merged: Merged, known: State | None, published: Relation | None
) -> Receipt:
    """The receipt of a run whose rows are merged and not yet committed."""
    plan, done = staged.plan, staged.done
    seen = (staged.highest_xid, None if plan.full or known is None else known.source_max_xmin)
    seconds = run.report.total() | {"snapshot": round(staged.snapshot_seconds, 3)}
    return Receipt(
        source=str(plan.table.source),
        target=str(plan.table.target),
        mode=plan.mode,
        reason=_reason(staged),
        source_max_xmin=max((xid for xid in seen if xid is not None), default=None),
        watermark_before=known.watermark if known else None,
        watermark=_watermark(plan, known),
        rows_exported=done.rows,
        rows_inserted=merged.inserted,
        rows_updated=merged.updated,
        rows_unchanged=done.rows - merged.inserted - merged.updated - merged.out_of_scope,
        rows_deleted=merged.deleted,
        bytes=done.bytes,
        chunks=done.chunks,
        workers=staged.workers,
        rows_in_target=_rows_in_target(staged, merged, known),
        rows_only_in_target=merged.only_in_target,
        rows_left_scope=merged.left_scope,
        leaves=len(plan.view.relation.leaves),
        full=plan.full,
        changed_pages=plan.changed_pages,
        exact=plan.exact,
        dry_run=plan.table.dry_run,
        cursor_mark=_cursor_mark(plan, known),
        events=(*run.report.events, *plan.events, *merged.events),
        schema_changes=plan.layout.changes,
        snapshot_at=plan.view.snapshot.taken_at.isoformat(),
        finished_at=datetime.now(timezone.utc).isoformat(),
        run_id=run.run_id,
        seconds=seconds,
        key=plan.layout.key_columns,
        columns=tuple(
            ColumnShape(column.name, column.type, not column.not_null)
            for column in (published.columns if published else ())
        ),
    )


def _reason(staged: Staged) -> str:
    buckets = staged.staging.buckets
    if buckets is None:
        return staged.plan.reason
    return f"{staged.plan.reason}; keys of {len(buckets.prefixes)} of {buckets.compared:,} buckets"


def _watermark(plan: Plan, known: State | None) -> int:
    """The mark that this run leaves: only one that reads by xid may move it on."""
    if known is not None and plan.part is not None:
        return known.watermark
    if known is None or plan.full or plan.reads_by_xid or not plan.view.relation.has_versions:
        return plan.view.snapshot.xmin
    return known.watermark


def _cursor_mark(plan: Plan, known: State | None) -> str | None:
    if plan.part is not None:
        return known.cursor_mark if known else None
    return plan.cursor.mark if plan.cursor else None


def _rows_in_target(staged: Staged, merged: Merged, known: State | None) -> int | None:
    """Live rows: exact after a pass over every row; later what our own writes made of it."""
    plan, done, buckets = staged.plan, staged.done, staged.staging.buckets
    before = known.rows_in_target if known else None
    if plan.part is not None:
        return before if merged.live is None else merged.live
    if buckets is not None:
        return buckets.rows
    if plan.reads_all_keys:
        return done.keys
    if plan.full:
        return done.rows + (merged.only_in_target or 0)
    return None if before is None else before + merged.inserted - merged.deleted


def state_after(staged: Staged, known: State | None, receipt: Receipt, storage: str) -> State:
    """What the next run goes on from; `storage` is where the target's rows now are."""
    plan = staged.plan
    if known is not None and plan.part is not None:
        return _state_beside(staged, known, receipt)
    return dataclasses.replace(
        state_seen(plan, known, receipt.watermark, storage),
        source_max_xmin=receipt.source_max_xmin,
        rows_in_target=receipt.rows_in_target,
        samples=kept(None if plan.full else known, staged.newest),
    )


def state_seen(plan: Plan, known: State | None, watermark: int, storage: str) -> State:
    """What a plan's snapshot saw of the source, without what is known of the rows."""
    seen = plan.view.snapshot
    return State(
        version=(known.version if known else 0) + 1,
        watermark=watermark,
        snapshot_xmax=seen.xmax,
        lsn=seen.lsn,
        source_max_xmin=None,
        system_identifier=seen.identity.system_identifier,
        database=seen.identity.database,
        timeline=seen.identity.timeline,
        postmaster_start=seen.postmaster_start,
        configuration=plan.fingerprint,
        target_storage=storage,
        rows_in_target=None,
        snapshot_at=seen.taken_at,
        cursor_column=plan.cursor.column if plan.cursor else None,
        cursor_mark=plan.cursor.mark if plan.cursor else None,
        samples=(),
        leaves=tuple(known_leaf(leaf) for leaf in plan.view.relation.leaves),
        positions=_positions(plan, known, watermark),
        mapped=plan.keys.by_page is not KeysByPage.NONE,
        columns=remembered_columns(
            plan.view.relation,
            plan.view.types,
            plan.layout.key_columns,
            known.columns if known else None,
        ),
        history=known.history if known and plan.table.history else None,
    )


def _state_beside(staged: Staged, known: State, receipt: Receipt) -> State:
    """The state after a part: what the next run reads is as before, and what no source may fall behind."""
    return dataclasses.replace(
        known,
        version=known.version + 1,
        lsn=staged.plan.view.snapshot.lsn,
        rows_in_target=receipt.rows_in_target,
        samples=kept(known, staged.newest),
    )


def _positions(plan: Plan, known: State | None, watermark: int) -> tuple[Position, ...]:
    """Where a later window may start. What was read in another history of the source is void."""
    before = known.positions if known is not None and not plan.full else ()
    if plan.position is None:
        return before
    return advanced(before, plan.position, watermark)
