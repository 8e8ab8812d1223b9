"""What a run would do, from its own plan, without reading a row: nothing is changed on either end."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sync_assets.engine.carry.carrying import statements_of
from sync_assets.engine.context import Run
from sync_assets.engine.errors import SyncError, about
from sync_assets.engine.history.planned import planned
from sync_assets.engine.layout.alteration import Alteration
from sync_assets.engine.load import staging, staging_statements
from sync_assets.engine.load.types import distinct
from sync_assets.engine.merge import merge
from sync_assets.engine.plan.chunks import chunks, useful_workers
from sync_assets.engine.plan.plan import How, LeafRead, Plan, Removal
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.catalog import Schemas
from sync_assets.engine.postgres.session import Connection, Cursor, transaction
from sync_assets.engine.run.looking import plans_of
from sync_assets.engine.run.together import OnOutcome, parts, together
from sync_assets.engine.snapshot.pages import pages_in
from sync_assets.engine.snapshot.shared import readers
from sync_assets.engine.state import state
from sync_assets.engine.state.state import State
from sync_assets.engine.state.tables import STATE
from sync_assets.engine.table import Table
from sync_assets.engine.workers import choose_workers

DELETES = {
    Removal.NONE: "rows that are gone from the source stay",
    Removal.DELETE: "rows that are gone from the source are deleted",
    Removal.MARK: "rows that are gone from the source are marked",
}
LATER = "the target is new and has no such rows; by later runs {}"


@dataclass(frozen=True, slots=True)
class LeafForecast:
    """One leaf of the source, and how it would be read; rows as the source's statistics have them."""

    leaf: str
    how: str
    reason: str
    pages: int
    rows: int | None
    bytes: int


# What `plan --json` prints: each field is a name in its schema.
@dataclass(frozen=True, slots=True)
class Forecast:
    """One table's next run.

    `rows_at_most` and `bytes_at_most` are the size of what is scanned; how many rows changed only a
    run can tell. `ddl` are the statements that define what is on the target, in the order of a run,
    but for tables of ours in the schema sync_assets, temporary ones, and what is undone before the
    commit; one that begins with `--` is tried where the one above it fails. `seconds_expected` is
    the median of past runs of the same kind, None before the first.
    """

    source: str
    target: str
    mode: str
    reason: str
    full: bool
    exact: bool
    leaves: tuple[LeafForecast, ...]
    pages: int
    rows_at_most: int | None
    bytes_at_most: int
    compares_keys: bool
    deletes: str
    ddl: tuple[str, ...]
    events: tuple[str, ...]
    schema_changes: tuple[str, ...]
    chunks: int
    workers: int
    watermark_before: int | None
    transactions_since: int | None
    seconds_expected: float | None


def forecast(run: Run, table: Table) -> Forecast:
    """Plan one table and say what would happen; raises SyncError where a run would."""
    found: list[Forecast | SyncError] = []
    _forecast(run, [table], lambda _, outcome: found.append(outcome))
    (outcome,) = found
    if isinstance(outcome, SyncError):
        raise outcome
    return outcome


def forecast_each(run: Run, tables: Sequence[Table], ended: OnOutcome[Forecast]) -> None:
    """Say of each of many tables what would happen, over one connection at either end."""
    with run.sessions.lending():
        for part in parts(tables):
            together(run, part, _forecast, ended)


def _forecast(run: Run, tables: Sequence[Table], settled: OnOutcome[Forecast]) -> None:
    with run.sessions.connected("target") as target:
        known = state.peek(target, tables)
        for table, plan in zip(tables, plans_of(run, target, tables, known), strict=True):
            with about(table.target):
                said = _said(run, plan, known[table.target], target)
            settled(table, said)


def _said(run: Run, plan: Plan, known: State | None, target: Connection) -> Forecast:
    leaves = tuple(_leaf(plan, read) for read in plan.reads)
    distinct = {read.leaf.oid: _leaf(plan, read) for read in plan.reads}.values()
    rows = [leaf.rows for leaf in distinct if leaf.rows is not None]
    workers = choose_workers(run.workers, run.workers.max_workers)
    cut = list(chunks([plan], workers, run.workers.batch_size))
    with transaction(target) as cursor:
        past = state.past_seconds(cursor, plan.table.target, plan.mode, full=plan.full)
        ddl = tuple(_statements(cursor, plan))
    key = plan.layout.key.columns if plan.layout.key else ()
    ddl += tuple(statements_of(run, target, plan.table, key, first=known is None))
    return Forecast(
        source=str(plan.table.source),
        target=str(plan.table.target),
        mode=plan.mode,
        reason=plan.reason,
        full=plan.full,
        exact=plan.exact,
        leaves=leaves,
        pages=sum(leaf.pages for leaf in distinct),
        rows_at_most=sum(rows) if len(rows) == len(distinct) else None,
        bytes_at_most=sum(leaf.bytes for leaf in distinct),
        compares_keys=plan.compares_keys,
        deletes=_deletes(plan),
        ddl=ddl,
        events=plan.events,
        schema_changes=plan.layout.changes,
        chunks=len(cut),
        workers=readers(
            min(workers, useful_workers(cut)), in_recovery=plan.view.snapshot.in_recovery
        ),
        watermark_before=known.watermark if known else None,
        transactions_since=plan.view.snapshot.xmax - known.watermark if known else None,
        seconds_expected=round(statistics.median(past), 3) if past else None,
    )


def _statements(cursor: Cursor, plan: Plan) -> Iterator[str]:
    """What a run executes, from the functions that give it to a run."""
    target, layout = identifiers.relation(plan.table.target), plan.layout
    schemas = Schemas(cursor)
    found = [*schemas.needed(STATE), *staging.preparations(cursor, plan, schemas)]
    if layout.creates:
        found.append(staging_statements.create_table(plan, target))
    if layout.creates and layout.key:
        name = merge.free_constraint(cursor, plan.table.target, layout.key)
        found.append(staging_statements.add_key(layout.key, target, name))
    yield from (statement.as_string(cursor) for statement in distinct(found))
    for change in (*layout.alterations, *layout.joining, *planned(cursor, plan)):
        if not isinstance(change, Alteration):
            yield change.as_string(cursor)
            continue
        yield change.statement.as_string(cursor)
        for otherwise in (change.converts, change.clears):
            if otherwise is not None:
                yield f"-- or: {otherwise.as_string(cursor)}"


def _deletes(plan: Plan) -> str:
    if plan.layout.creates and plan.removes_later is not Removal.NONE:
        return LATER.format(DELETES[plan.removes_later])
    return DELETES[plan.removal]


def _leaf(plan: Plan, read: LeafRead) -> LeafForecast:
    leaf = read.leaf
    share, pages = 1.0, leaf.pages
    if read.how is How.BLOCKS:
        pages = pages_in(read.runs, leaf.pages)
        share = pages / max(leaf.pages, 1)
    elif not plan.finds_rows(read.how):
        pages, share = 0, 0.0
    # Never analyzed: the catalog says -1.
    rows = int(leaf.estimated_rows * share) if leaf.estimated_rows >= 0 else None
    size = int(leaf.bytes * share)
    return LeafForecast(str(leaf.name), read.how.value, read.reason, pages, rows, size)
