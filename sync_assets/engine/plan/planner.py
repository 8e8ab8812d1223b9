"""Plan the tables of a run on one snapshot: for a run, its forecast, a verification and a repair."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sync_assets.engine.context import Work
from sync_assets.engine.layout.evolve import lay_out
from sync_assets.engine.plan import witnesses
from sync_assets.engine.plan.batch_format import format_between
from sync_assets.engine.plan.changed_pages import NOTHING, WalSources, by_blocks
from sync_assets.engine.plan.cursor_range import read_range
from sync_assets.engine.plan.key_buckets import by_buckets
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.plan.reads import Basis, plan_changes, plan_since
from sync_assets.engine.postgres import catalog
from sync_assets.engine.postgres.session import transaction
from sync_assets.engine.snapshot.identity import require_two_tables
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.state.state import State, States
from sync_assets.engine.table import SyncMode, Table


def plan_tables(
    work: Work,
    tables: Sequence[Table],
    views: Sequence[SourceRelation],
    known: States,
    outlook: WalSources = NOTHING,
) -> list[Plan]:
    """Plan tables on the snapshot that `work.source` is inside of; `outlook` is older than that.

    Raises SyncError where a run could not be right.
    """
    report = work.run.report
    report.begin("plan")
    plans = []
    for table, view in zip(tables, views, strict=True):
        before = known[table.target]
        plan = _decided(work, _basis(work, table, view, before))
        plan = by_blocks(work.run.sessions, work.source, plan, before, outlook)
        plans.append(by_buckets(work.source, work.target, plan))
    report.spent("plan")
    return plans


def plan_rows_since(
    work: Work, table: Table, view: SourceRelation, known: State | None, since: int
) -> Plan:
    """Plan the rows of a table whose xid is `since` or newer, whatever the last run has left."""
    return plan_since(_basis(work, table, view, known), since)


def _basis(work: Work, table: Table, view: SourceRelation, known: State | None) -> Basis:
    with transaction(work.target) as cursor:
        there = catalog.read_relation(cursor, table.target)
        require_two_tables(cursor, table, view, there)
    layout = lay_out(table, view.relation, view.types, there, known)
    travels = format_between(work.source, work.target, view.relation.columns, layout.fields)
    basis = Basis(table, view, layout, known, there, travels)
    if table.mode is not SyncMode.INCREMENTAL_SYNC:
        return basis
    with work.source.cursor() as cursor:
        return dataclasses.replace(basis, cursor=read_range(cursor, table, view, known))


def _decided(work: Work, basis: Basis) -> Plan:
    plan = plan_changes(basis)
    if basis.known is None or plan.full:
        return plan
    with work.source.cursor() as cursor:
        suspicion = witnesses.missed(cursor, plan, basis.known)
    if suspicion is None or basis.table.accept_source:
        return plan
    return plan_changes(dataclasses.replace(basis, suspicion=suspicion))
