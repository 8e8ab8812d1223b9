"""A load by pieces: it goes on where a killed one ended, and holds no snapshot for long.

begin → pieces → key → snapshot → plan → export → load → merge → state

The rows of a large table are read page range by page range, each under a short snapshot of its own,
into a table that nobody sees. Only rows are taken that are older than the mark, the xmin of the load's
first snapshot: what was written since is newer, and one incremental step at the end reads it, as any
run does. It also finds the rows that are gone; then all is published in one transaction: the table
becomes the target, or is merged into the one that is there. Why that is exact at the last snapshot,
docs/first-load.md proves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import psycopg2

from sync_assets.engine import errors
from sync_assets.engine.context import Run
from sync_assets.engine.export.batches import batch_folder
from sync_assets.engine.names import staging_name
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.session import Connection, transaction
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.first_load.begin import begin, is_divisible
from sync_assets.engine.run.first_load.complete import complete
from sync_assets.engine.run.first_load.mover import LeafChanged
from sync_assets.engine.run.first_load.pieces import move_pieces
from sync_assets.engine.state import ledger
from sync_assets.engine.state.state import State
from sync_assets.engine.table import Table
from sync_assets.engine.workers import choose_workers

CHANGES = 20
"""How often the source's table may change under one run before it gives up."""

LEAST = 8
"""A table that would be fewer pieces is read on one snapshot: docs/first-load.md has the measurement."""


class IsLarge(Exception):
    """A table is to be read by pieces."""


def require_small(run: Run, tables: Sequence[Table], plan: Plan) -> Plan:
    """The plan of a table that is read on one snapshot; raises IsLarge for one with pieces."""
    alone = len(tables) == 1 and not plan.table.dry_run and run.limits.piece_mb
    if alone and is_divisible(plan):
        size = sum(leaf.bytes for leaf in plan.view.relation.leaves)
        workers = choose_workers(run.workers, run.workers.max_workers)
        if size > LEAST * run.limits.piece_bytes(workers):
            raise IsLarge
    return plan


def load_by_pieces(
    run: Run, table: Table, target: Connection, known: State | None
) -> Receipt | None:
    """Read every row of a table by pieces; None where it has none by now.

    `target` holds the lock of the target table, of which `known` is the state. What was loaded before
    an error stays, and the next run goes on from there. Raises SyncError.
    """
    try:
        return run.sessions.translating(lambda: _loaded(run, table, target, known))
    except errors.SyncError as error:
        if error.table == str(staging_name(table.target, temporary=False)):
            error.table = str(table.target)
        error.loaded = _share_loaded(run, table)
        if error.loaded:
            # What was asked for once, a run that nobody asks it of does not go on with.
            then = "full pass (--full-refresh)" if known and table.full_refresh else "run"
            error.remedy += (
                f" {error.loaded:.0%} of it is loaded: the next {then} goes on from there."
            )
        raise


def _share_loaded(run: Run, table: Table) -> float | None:
    """What part of the table is loaded, from 0 to 1, where the target can still say so."""
    with (
        contextlib.suppress(errors.SyncError, psycopg2.Error),
        run.sessions.connected("target") as target,
        transaction(target) as cursor,
    ):
        return ledger.shares(cursor).get(table.target)
    return None


def _loaded(run: Run, table: Table, target: Connection, known: State | None) -> Receipt | None:
    workers = choose_workers(run.workers, run.workers.max_workers)
    for _ in range(CHANGES):
        load = begin(run, table, target, known)
        if load is None:
            return None
        run.report.begin("load")
        try:
            with batch_folder(run.batch_dir) as folder:
                moved = move_pieces(run, load, folder, workers)
        except LeafChanged:
            continue
        run.report.spent("pieces")
        return complete(run, load, moved, target)
    raise errors.SourceChanged(f"{table.source} was changed {CHANGES} times while it was loaded")
