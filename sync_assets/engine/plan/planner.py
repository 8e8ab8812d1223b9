"""Plan all tables of a run on one snapshot."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sync_assets.engine.context import Work
from sync_assets.engine.layout.evolve import lay_out
from sync_assets.engine.plan import witnesses
from sync_assets.engine.plan.batch_format import UTF8, encoding_between, is_binary
from sync_assets.engine.plan.changed_pages import WalSources, by_blocks
from sync_assets.engine.plan.cursor_range import read_range
from sync_assets.engine.plan.decide import make_plan
from sync_assets.engine.plan.key_buckets import by_buckets
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres import catalog
from sync_assets.engine.postgres.session import Connection, encoding_of, transaction
from sync_assets.engine.snapshot.identity import require_two_tables
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.state.state import State, States
from sync_assets.engine.table import SyncMode, Table


def plan_tables(
    work: Work,
    tables: Sequence[Table],
    views: Sequence[SourceRelation],
    known: States,
    outlook: WalSources,
) -> list[Plan]:
    """Plan the tables of a run's snapshot; `outlook` is older than that."""
    run, source, target = work.run, work.source, work.target
    run.report.begin("plan")
    plans = [
        decide(source, target, table, view, known[table.target])
        for table, view in zip(tables, views, strict=True)
    ]
    plans = [
        by_blocks(run.sessions, source, plan, known[plan.table.target], outlook) for plan in plans
    ]
    plans = [by_buckets(source, target, plan) for plan in plans]
    run.report.spent("plan")
    return plans


def decide(
    source: Connection, target: Connection, table: Table, view: SourceRelation, known: State | None
) -> Plan:
    """Plan one table of a snapshot that `source` is inside of."""
    with transaction(target) as cursor:
        there = catalog.read_relation(cursor, table.target)
        require_two_tables(cursor, table, view, there)
    layout = lay_out(table, view.relation, view.types, there, known)
    with source.cursor() as reading:
        cursor_range = None
        if table.mode is SyncMode.INCREMENTAL_SYNC:
            cursor_range = read_range(reading, table, view, known)
        plan = make_plan(table, view, layout, known, there, cursor_range)
        suspicion = None
        if known is not None and not plan.full:
            suspicion = witnesses.missed(reading, plan, known)
    if suspicion is not None and not table.accept_source:
        plan = make_plan(table, view, layout, known, there, cursor_range, suspicion)
    versions = (source.server_version, target.server_version)
    encoding = encoding_between(encoding_of(source), encoding_of(target))
    # Binary data holds text too, and always in the session's own encoding.
    binary = encoding == UTF8 and is_binary(view.relation.columns, layout.fields, *versions)
    return dataclasses.replace(plan, binary=binary, encoding=encoding)
