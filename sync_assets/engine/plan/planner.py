"""Plan the tables of a run on one snapshot: for a run, its forecast, a verification and a repair."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sync_assets.engine import errors
from sync_assets.engine.context import Work
from sync_assets.engine.layout.evolve import lay_out
from sync_assets.engine.plan import witnesses
from sync_assets.engine.plan.batch_format import format_between
from sync_assets.engine.plan.changed_pages import NOTHING, WalSources, by_blocks
from sync_assets.engine.plan.cursor_range import read_range
from sync_assets.engine.plan.key_buckets import by_buckets
from sync_assets.engine.plan.plan import Part, Plan
from sync_assets.engine.plan.reads import Basis, plan_changes, plan_part, plan_since
from sync_assets.engine.plan.unchanged import SEVERAL, without_unchanged
from sync_assets.engine.postgres import catalog
from sync_assets.engine.postgres.partitions import (
    Partitioned,
    read_partitioned,
    with_default,
)
from sync_assets.engine.postgres.relation import Relation
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
    *,
    least: int = SEVERAL,
) -> list[Plan]:
    """Plan tables on the snapshot that `work.source` is inside of; `outlook` is older than that.

    So many tables, at `least`, are asked about all at once. Raises SyncError where a run could not
    be right.
    """
    report = work.run.report
    report.begin("plan")
    plans = _decided(work, _bases(work, tables, views, known))
    with work.source.cursor() as cursor:
        plans = without_unchanged(cursor, plans, least)
    plans = [
        by_blocks(work.run.sessions, work.source, plan, known[plan.table.target], outlook)
        for plan in plans
    ]
    plans = [by_buckets(work.source, work.target, plan) for plan in plans]
    report.spent("plan")
    return plans


def plan_rows_since(
    work: Work, table: Table, view: SourceRelation, known: States, since: int
) -> Plan:
    """Plan the rows of a table whose xid is `since` or newer, whatever the last run has left."""
    (basis,) = _bases(work, [table], [view], known)
    return plan_since(basis, since)


def plan_rows_of(
    work: Work, table: Table, view: SourceRelation, known: States, part: Part, reason: str
) -> Plan:
    """Plan the rows of a part that is told by the key alone, however far the last run has read."""
    (basis,) = _bases(work, [table], [view], known)
    return plan_part(basis, part, reason)


def _bases(
    work: Work, tables: Sequence[Table], views: Sequence[SourceRelation], known: States
) -> list[Basis]:
    seen = list(zip(tables, views, strict=True))
    with transaction(work.target) as cursor:
        there = catalog.read_relations(cursor, (table.target for table in tables))
        parts = {table.target: table.partition_of for table in tables}
        wholes = read_partitioned(cursor, (table.whole for table in tables))
        wholes = with_default(cursor, wholes, parts)
        for table, view in seen:
            require_two_tables(cursor, table, view, there.get(table.target))
    bases = []
    for table, view in seen:
        with errors.about(table.target):
            ends = (there.get(table.target), wholes.get(table.whole))
            bases.append(_basis(work, table, view, known[table.target], *ends))
    return bases


def _basis(
    work: Work,
    table: Table,
    view: SourceRelation,
    known: State | None,
    there: Relation | None,
    whole: Partitioned | None,
) -> Basis:
    layout = lay_out(table, view.relation, view.types, there, known, whole)
    travels = format_between(work.source, work.target, view.relation.columns, layout.fields)
    basis = Basis(table, view, layout, known, there, travels)
    if table.mode is not SyncMode.INCREMENTAL_SYNC or table.rows is not None:
        return basis
    with work.source.cursor() as cursor:
        return dataclasses.replace(basis, cursor=read_range(cursor, table, view, known))


def _decided(work: Work, bases: Sequence[Basis]) -> list[Plan]:
    """The plan of each table; one whose last rows are gone from the source reads all of it."""
    plans = [plan_changes(basis) for basis in bases]
    with work.source.cursor() as cursor:
        looked_for = [(plan, basis.known) for plan, basis in zip(plans, bases, strict=True)]
        missed = witnesses.missed(cursor, looked_for)
    for place, suspicion in missed.items():
        plans[place] = plan_changes(dataclasses.replace(bases[place], suspicion=suspicion))
    return plans
