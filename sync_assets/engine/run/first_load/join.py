"""Load pieces of a table that a run on another machine is loading."""

from __future__ import annotations

import contextlib

from sync_assets.engine import errors
from sync_assets.engine.context import Run, Work
from sync_assets.engine.export.batches import batch_folder
from sync_assets.engine.load import staging
from sync_assets.engine.names import staging_name
from sync_assets.engine.plan.planner import plan_tables
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.session import transaction
from sync_assets.engine.run.first_load.begin import Load, as_first_load, why_anew
from sync_assets.engine.run.first_load.mover import LeafChanged
from sync_assets.engine.run.first_load.pieces import move_claimable
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.state import ledger
from sync_assets.engine.state.tables import version_of
from sync_assets.engine.table import Table
from sync_assets.engine.workers import choose_workers


def join(run: Run, table: Table) -> int:
    """Load pieces as long as there are any that nobody works on; return how many it were.

    The run that began the load, or the next one, does its last step and publishes. Raises
    SourceChanged where the source is no longer what the load began with, and what reading raises.
    """
    load = _begun(run, table)
    if load is None:
        return 0
    workers = choose_workers(run.workers, run.workers.max_workers)
    try:
        with batch_folder(run.batch_dir) as folder:
            return move_claimable(run, load, folder, workers)
    except LeafChanged:
        raise errors.SourceChanged(
            f"{table.source} was changed while it was loaded",
            remedy="Nothing is lost: the run that began the load tells what is left of it.",
        ) from None


def _begun(run: Run, table: Table) -> Load | None:
    with (
        run.sessions.connected("source") as source,
        run.sessions.connected("target") as target,
        contextlib.ExitStack() as nothing_left,
        snapshot.taken(source, [table], run.report.begin) as (view,),
    ):
        work = Work(run, source, target, nothing_left)
        (plan,) = plan_tables(work, [table], [view], {table.target: None})
        plan = as_first_load(work, plan)
        with transaction(target) as cursor:
            begun = ledger.recall(cursor, table.target) if version_of(cursor) else None
            if begun is None:
                return None
            hidden = read_relation(cursor, staging_name(table.target, temporary=False))
    why = why_anew(plan, begun[0], hidden)
    if why is not None:
        raise errors.SourceChanged(f"the load of {table.target} will start over: {why}")
    return Load(plan, *begun, staging.staging_for(plan))
