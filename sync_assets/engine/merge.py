"""Staging into the target, inside the publishing transaction: deletes, MERGE, true counts."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2.sql import SQL, Identifier

from sync_assets.engine import errors, sql
from sync_assets.engine.catalog import Cursor, read_relation
from sync_assets.engine.export import Exported
from sync_assets.engine.load import Staging, constraint_name
from sync_assets.engine.plan import Plan, storage
from sync_assets.engine.session import CATALOG_NAMES, OWN_NAMES, row
from sync_assets.engine.table import Table

MERGE_RETURNS = 170000


@dataclass(frozen=True, slots=True)
class Merged:
    """Rows written to the target, by what happened to them."""

    inserted: int
    updated: int
    deleted: int = 0
    only_in_target: int | None = None


def publish(
    cursor: Cursor,
    plan: Plan,
    staging: Staging,
    staged: Exported,
    expected_storage: str | None = None,
) -> Merged:
    """Bring the staged rows into the target; raises DeleteGuard, SchemaConflict or ConcurrentRun.

    Deletes come first, so that a row that takes over a unique value finds it free.
    `expected_storage` is what the mark was left with: a target that somebody truncated since the
    plan would lack the rows below the mark for ever.
    """
    if plan.layout.creates:
        _become_target(cursor, plan, staging)
        return Merged(staged.rows, 0)
    _lock(cursor, plan, expected_storage)
    _evolve(cursor, plan)
    deleted, only_in_target = _missing_rows(cursor, plan, staging, staged)
    inserted, updated = _merge_rows(cursor, plan, staging)
    return Merged(inserted, updated, deleted, only_in_target)


def _become_target(cursor: Cursor, plan: Plan, staging: Staging) -> None:
    target = plan.table.target
    cursor.execute(
        SQL("ALTER TABLE {} RENAME CONSTRAINT {} TO {}").format(
            staging.identifier,
            Identifier(constraint_name(staging.name.name)),
            Identifier(_free_name(cursor, target.schema, constraint_name(target.name))),
        )
    )
    cursor.execute(
        SQL("ALTER TABLE {} RENAME TO {}").format(staging.identifier, Identifier(target.name))
    )


def _free_name(cursor: Cursor, schema: str, wanted: str) -> str:
    (name,) = row(
        cursor,
        "SELECT candidate FROM (SELECT %(wanted)s AS candidate, 0 AS n UNION ALL "
        "SELECT left(%(wanted)s, 55) || n, n FROM generate_series(1, 1000) AS n) AS candidates "
        "WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace s "
        "ON s.oid = c.relnamespace WHERE s.nspname = %(schema)s AND c.relname = candidate) "
        "ORDER BY n LIMIT 1",
        {"wanted": wanted, "schema": schema},
    )
    return str(name)


def _lock(cursor: Cursor, plan: Plan, expected_storage: str | None) -> None:
    """Keep other writers out, and check that the target is still the one of the plan."""
    target = plan.table.target
    cursor.execute(SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(sql.relation(target)))
    if expected_storage is None:
        return
    cursor.execute(CATALOG_NAMES)
    there = read_relation(cursor, target)
    cursor.execute(OWN_NAMES)
    if there is None or storage(there) != expected_storage:
        raise errors.ConcurrentRun(
            f"{target} was truncated or replaced during the run", remedy="Run it again."
        )


def _evolve(cursor: Cursor, plan: Plan) -> None:
    """Add the columns that the target lacks."""
    target, layout = plan.table.target, plan.layout
    for field in layout.added:
        cursor.execute(sql.add_column(target, field))
    if layout.adds_xmin:
        cursor.execute(
            SQL("ALTER TABLE {} ADD COLUMN {} bigint").format(
                sql.relation(target), Identifier(plan.table.xmin_column)
            )
        )


def _merge_rows(cursor: Cursor, plan: Plan, staging: Staging) -> tuple[int, int]:
    """MERGE and count rows inserted and updated."""
    table, layout = plan.table, plan.layout
    statement = sql.merge(table.target, staging.identifier, layout, table.xmin_column)
    if cursor.connection.server_version >= MERGE_RETURNS:
        inserted, updated = row(cursor, sql.counted_merge(statement))
        return inserted, updated
    counting = sql.count_changes(table.target, staging.identifier, layout)
    inserted, updated = row(cursor, counting)
    cursor.execute(statement)
    if cursor.rowcount != inserted + updated:
        raise errors.SchemaConflict(
            f"{inserted + updated} rows of {table.target} had to change and {cursor.rowcount} did",
            remedy="A trigger or rule on the target changes what is written: disable it.",
        )
    return inserted, updated


def _missing_rows(
    cursor: Cursor, plan: Plan, staging: Staging, staged: Exported
) -> tuple[int, int | None]:
    """Delete what the source no longer has, or count it where a full pass has seen all keys."""
    target, key = plan.table.target, plan.layout.key
    if plan.removes_missing:
        cursor.execute(sql.delete_missing(target, staging.all_keys, key))
        deleted = cursor.rowcount
        _guard(cursor, plan.table, deleted, staged.keys if plan.compares_keys else staged.rows)
        return deleted, 0
    if plan.full:
        return 0, row(cursor, sql.count_missing(target, staging.identifier, key))[0]
    return 0, None


def _guard(cursor: Cursor, table: Table, deleted: int, left: int) -> None:
    """Refuse, and so roll back, a delete that looks like a mistake."""
    if table.confirm_deletes is not None:
        if deleted > table.confirm_deletes:
            raise errors.DeleteGuard(
                f"{deleted} rows of {table.target} would be deleted, "
                f"{table.confirm_deletes} were confirmed"
            )
        return
    if deleted and not left and not table.allow_empty:
        raise errors.DeleteGuard(
            f"the source {table.source} is empty and {table.target} has {deleted} rows",
            remedy=f"If that is right, run once with --confirm-deletes {deleted}, "
            "or set allow_empty: true.",
        )
    if deleted < table.min_deletes:
        return
    statement = SQL("SELECT count(*) FROM {}").format(sql.relation(table.target))
    before = row(cursor, statement)[0] + deleted
    if deleted > table.max_delete_ratio * before and not (table.allow_empty and not left):
        raise errors.DeleteGuard(
            f"{deleted} of {before} rows of {table.target} would be deleted, "
            f"more than max_delete_ratio {table.max_delete_ratio} allows",
            remedy=f"If that is right, run once with --confirm-deletes {deleted}.",
        )
