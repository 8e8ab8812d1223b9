"""One run over a group of tables, from the source's snapshot to the target's commit.

snapshot → plan → export → load → merge → state → carry

A group is nearly always one table. The tables of a larger one are read on the same snapshot and
published in the same transaction. A large table of which every row is read is read by pieces.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

import psycopg2

from sync_assets.engine import errors
from sync_assets.engine.carry import carry
from sync_assets.engine.carry.giving_way import gave_way
from sync_assets.engine.context import Run
from sync_assets.engine.names import RelationName
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.lock import locked
from sync_assets.engine.postgres.session import Connection, transaction
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.first_load.by_pieces import IsLarge, load_by_pieces, require_small
from sync_assets.engine.run.publish import publish
from sync_assets.engine.run.stage import stage
from sync_assets.engine.state import state
from sync_assets.engine.state.state import States
from sync_assets.engine.table import Table


def sync_tables(run: Run, tables: Sequence[Table]) -> tuple[Receipt, ...]:
    """Bring a group of target tables up to date, all or none; raises SyncError."""
    targets = [table.target for table in tables]
    with run.sessions.connected("target") as target, locked(target, targets):
        known, done = remembered(target, tables, run.run_id)
        if len(done) == len(tables):
            return tuple(done[target] for target in targets)
        carrying = carry.begin(run, target, tables, known, grouped=True)
        try:
            receipts = _synced(run, tables, target, known)
        except (errors.SyncError, psycopg2.Error) as error:
            if not gave_way(carrying, error):
                raise
            receipts = _synced(run, tables, target, known)
        return carry.finish(carrying, receipts) if carrying else receipts


def _synced(
    run: Run, tables: Sequence[Table], target: Connection, known: States
) -> tuple[Receipt, ...]:
    try:
        return _synced_at_once(run, tables, target, known, partial(require_small, run, tables))
    except IsLarge:
        receipt = load_by_pieces(run, tables[0], target, known[tables[0].target])
    return (receipt,) if receipt else _synced_at_once(run, tables, target, known)


def _synced_at_once(
    run: Run,
    tables: Sequence[Table],
    target: Connection,
    known: States,
    looked_over: Callable[[Plan], Plan] = lambda plan: plan,
) -> tuple[Receipt, ...]:
    with contextlib.ExitStack() as cleanup:
        group, flush = stage(run, tables, target, known, cleanup, looked_over)
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


def different_targets(tables: Sequence[Table]) -> list[str]:
    """The names of the tables' targets; raises ConfigurationError for none, or for one that is there twice."""
    names = [str(table.target) for table in tables]
    if not names or len(set(names)) < len(names):
        raise errors.ConfigurationError(
            f"a group has one or more different target tables, not {', '.join(names) or 'none'}",
            remedy="Name each target once.",
        )
    return names
