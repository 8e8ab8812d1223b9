"""The tables that a run would find nothing for: proven by the plan of that run, on a snapshot.

Statistics prove nothing, and are not asked. A table is idle where its next run would read rows by
transaction id alone and there is none to read, and would neither compare keys nor alter the target.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any

from sync_assets.engine.carry.carrying import with_work
from sync_assets.engine.context import Run
from sync_assets.engine.errors import SyncError
from sync_assets.engine.history.follow import is_followed
from sync_assets.engine.names import RelationName
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.catalog import read_sizes
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import transaction
from sync_assets.engine.progress import Reporter
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.looking import plans_of
from sync_assets.engine.run.together import OnOutcome, parts, together
from sync_assets.engine.state import state
from sync_assets.engine.state.state import State
from sync_assets.engine.table import Deletes, SyncMode, Table
from sync_assets.engine.threads import TaskGroup, interruptible
from sync_assets.engine.workers import WorkerConfig

LOOKERS = 2
"""Threads that look at once, each over connections of its own: while one waits, the other thinks."""

NOTHING_NEW = "nothing was written since the last run"

_COUNTS = ("exported", "inserted", "updated", "unchanged", "deleted")
_NO_WORK: Mapping[str, Any] = dict.fromkeys(
    (*(f"rows_{name}" for name in _COUNTS), "bytes", "chunks", "workers"), 0
)


def idle_among(
    source_url: DatabaseOrUrl, target_url: DatabaseOrUrl, tables: Sequence[Table]
) -> dict[RelationName, Receipt]:
    """The idle ones by their targets, each with the receipt that its run would have; changes nothing.

    A table that fails by itself is not proven to be idle, and its run will tell why. Raises Cancelled
    alone.
    """
    left = deque(parts([table for table in tables if _may_be_idle(table)]))
    lookers = [Sessions(source_url, target_url) for _ in range(min(LOOKERS, len(left)))]
    found: dict[RelationName, Receipt] = {}

    def settled(table: Table, outcome: Receipt | SyncError | None) -> None:
        if isinstance(outcome, Receipt):
            found[table.target] = outcome

    def look(sessions: Sessions) -> None:
        run = Run(sessions, Reporter(()), WorkerConfig())
        with sessions.lending():
            while part := _next(left):
                together(run, part, _look, settled)

    def cancel() -> None:
        for sessions in lookers:
            sessions.cancel()

    def all_look() -> None:
        with TaskGroup(cancel) as group:
            for sessions in lookers:
                group.start(partial(look, sessions))

    interruptible(all_look, cancel)
    return found


def _next(left: deque[Sequence[Table]]) -> Sequence[Table]:
    try:
        return left.popleft()
    except IndexError:
        return ()


def _may_be_idle(table: Table) -> bool:
    asked = table.full_refresh or table.accept_source or table.dry_run
    reads_all = table.mode is SyncMode.FULL_SYNC or table.deletes is not Deletes.IGNORE
    return not asked and not reads_all and table.confirm_deletes is None


def _look(run: Run, tables: Sequence[Table], settled: OnOutcome[Receipt | None]) -> None:
    with run.sessions.connected("target") as target:
        known = state.peek(target, tables)
        free = _free(run, tables)
        asked = [table for table in tables if known[table.target] and table.source in free]
        for table in set(tables).difference(asked):
            settled(table, None)
        if not asked:
            return
        # One is worth a question too: its answer may spare a whole run.
        plans = plans_of(run, target, asked, known, least=1)
        idle = {plan.table.target: plan for plan in plans if _is_idle(plan)}
        busy = with_work(run, target, [plan.table for plan in idle.values()])
    for table in asked:
        before, plan = known[table.target], idle.get(table.target)
        found = None
        if before and plan and table.target not in busy and is_followed(plan, before):
            found = _receipt(plan, before)
        settled(table, found)


def _free(run: Run, tables: Sequence[Table]) -> Collection[RelationName]:
    """The sources that can be read now: what somebody keeps every reader out of is left to its run."""
    with run.sessions.connected("source") as source, transaction(source) as cursor:
        return read_sizes(cursor, (table.source for table in tables))


def _is_idle(plan: Plan) -> bool:
    layout = plan.layout
    altered = layout.creates or layout.alters or layout.changes
    changes = altered or plan.events or plan.keys.gone_leaves
    return plan.finds_nothing and plan.exact and not changes


def _receipt(plan: Plan, known: State) -> Receipt:
    now = datetime.now(timezone.utc).isoformat()
    return Receipt(
        source=str(plan.table.source),
        target=str(plan.table.target),
        mode=plan.table.mode.value,
        reason=NOTHING_NEW,
        source_max_xmin=known.source_max_xmin,
        watermark_before=known.watermark,
        watermark=known.watermark,
        **_NO_WORK,
        rows_in_target=known.rows_in_target,
        leaves=len(plan.view.relation.leaves),
        cursor_mark=known.cursor_mark,
        snapshot_at=plan.view.snapshot.taken_at.isoformat(),
        finished_at=now,
        seconds={"total": 0.0},
    )
