"""Staging into the target, inside the publishing transaction: deletes, MERGE, true counts."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg2.errors
from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine import alter, errors, interference, merge_sql, narrowing, page_map, sql
from sync_assets.engine.catalog import Key, Relation, read_relation, read_storage
from sync_assets.engine.collisions import COLLIDED, StillThere, Written, settle
from sync_assets.engine.export import Exported
from sync_assets.engine.load import Staging, constraint_name
from sync_assets.engine.plan import KeyMap, Plan, Removal
from sync_assets.engine.session import PINNED, UNPINNED, Cursor, row
from sync_assets.engine.table import RelationName

MERGE_RETURNS = 170000

INDEXED = "SET LOCAL random_page_cost = 1.1"
"""The pages that the key's index leads to are mostly those that are written: reading them costs
nothing more, while a scan of the target would be for the sake of the join alone."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Rows written to the target, by what happened to them.

    `deleted` counts rows that were marked, too. `only_in_target` and `left_scope` count rows that
    stay although the source does not have them, or no longer in scope; None where nobody looked.
    `out_of_scope` are rows that were exported only to say so.
    """

    inserted: int
    updated: int
    deleted: int = 0
    only_in_target: int | None = None
    left_scope: int | None = None
    out_of_scope: int = 0
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removed:
    """What was done about rows that the source no longer has."""

    deleted: int = 0
    only_in_target: int | None = None
    left_scope: int | None = None
    out_of_scope: int = 0


def become_target(cursor: Cursor, plan: Plan, staging: Staging) -> None:
    """Rename the staging table of a first load into the target."""
    target = plan.table.target
    if plan.layout.key:
        cursor.execute(
            SQL("ALTER TABLE {} RENAME CONSTRAINT {} TO {}").format(
                staging.identifier,
                Identifier(constraint_name(staging.name.name)),
                Identifier(free_constraint(cursor, target)),
            )
        )
    cursor.execute(
        SQL("ALTER TABLE {} RENAME TO {}").format(staging.identifier, Identifier(target.name))
    )


def free_constraint(cursor: Cursor, target: RelationName) -> str:
    """What the key of a table that we create will be called there."""
    (name,) = row(
        cursor,
        "SELECT candidate FROM (SELECT %(wanted)s AS candidate, 0 AS n UNION ALL "
        "SELECT left(%(wanted)s, 55) || n, n FROM generate_series(1, 1000) AS n) AS candidates "
        "WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace s "
        "ON s.oid = c.relnamespace WHERE s.nspname = %(schema)s AND c.relname = candidate) "
        "ORDER BY n LIMIT 1",
        {"wanted": constraint_name(target.name), "schema": target.schema},
    )
    return str(name)


def lock_target(cursor: Cursor, plan: Plan, expected_storage: str | None) -> None:
    """Keep other writers out, and check that the target is still the one of the plan.

    `expected_storage` is what the mark was left with: a target that somebody truncated since the
    plan would lack the rows below the mark for ever. Raises ConcurrentRun.
    """
    target = plan.table.target
    statement = SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(sql.relation(target))
    try:
        cursor.execute(statement)
    except (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName):
        raise errors.ConcurrentRun(
            f"{target} was dropped during the run", remedy="Run it again."
        ) from None
    if expected_storage is None:
        return
    if read_storage(cursor, target) != expected_storage:
        raise errors.ConcurrentRun(
            f"{target} was truncated or replaced during the run", remedy="Run it again."
        )


def published(cursor: Cursor, plan: Plan) -> Relation | None:
    """The target as it is now, inside the publishing transaction."""
    return read_relation(cursor, plan.table.target)


def evolve(cursor: Cursor, plan: Plan, staging: Staging) -> None:
    """Make the target fit: it may gain columns, and lose none; raises SchemaConflict."""
    if plan.layout.alterations:
        with pinned(cursor):
            for alteration in plan.layout.alterations:
                narrowing.require_nothing_lost(cursor, plan, staging, alteration)
                alter.apply(cursor, plan.table.target, alteration)


def merge_rows(
    cursor: Cursor, plan: Plan, staging: Staging, still_there: StillThere, *, removes: bool
) -> Written:
    """Write the staged rows; `removes`: those that are gone are deleted; raises SchemaConflict."""
    key = plan.layout.key
    if key is None:
        with pinned(cursor):
            cursor.execute(merge_sql.insert_lacking(plan, staging.identifier))
            return Written(cursor.rowcount, 0)
    merge = functools.partial(_merge, cursor, plan, key, staging)
    try:
        return Written(*merge("SAVEPOINT collision; "))
    except COLLIDED:
        cursor.execute("ROLLBACK TO collision")
    guarded = functools.partial(guard, cursor, plan, left=1)
    return settle(cursor, plan, key, staging, still_there, merge, guarded, removes=removes)


def _merge(
    cursor: Cursor, plan: Plan, key: Key, staging: Staging, before: str = ""
) -> tuple[int, int]:
    statement = merge_sql.merge(plan, key, staging.identifier)
    if cursor.connection.server_version >= MERGE_RETURNS:
        counted = merge_sql.counted_merge(statement)
        inserted, updated = row(cursor, SQL(before) + counted)
        return inserted, updated
    counted = merge_sql.count_changes(plan, key, staging.identifier)
    inserted, updated = row(cursor, SQL(before) + counted)
    cursor.execute(statement)
    if cursor.rowcount != inserted + updated:
        raise interference.conflict(cursor, plan, abs(inserted + updated - cursor.rowcount))
    return inserted, updated


def remove_missing(cursor: Cursor, plan: Plan, staging: Staging, staged: Exported) -> Removed:
    """Delete or mark what the source no longer has, or count it; raises DeleteGuard."""
    key = plan.layout.key
    if key is None:
        return _remove_surplus(cursor, plan, staging, staged)
    keys = staging.all_keys
    if plan.removal is Removal.NONE:
        if plan.full:
            missing = row(cursor, merge_sql.count_missing(plan, key, keys))[0]
            return Removed(only_in_target=missing)
        if plan.flags_scope:
            left, out = row(cursor, merge_sql.count_left(plan, key, staging.identifier))
            return Removed(left_scope=left, out_of_scope=out)
        return Removed()
    if plan.key_map is KeyMap.USE:
        return _remove_gone(cursor, plan, key, staging, staged)
    return _remove_lacking(cursor, plan, key, keys, staged)


def removal(plan: Plan, key: Key, keys: Composable, within: Composable | None = None) -> Composable:
    """Delete or mark the target rows whose key is not among `keys`, of those that are `within`."""
    if plan.removal is Removal.MARK:
        return merge_sql.mark_missing(plan, key, keys, plan.view.snapshot.taken_at, within)
    return merge_sql.delete_missing(plan, key, keys, within)


def _remove_lacking(
    cursor: Cursor, plan: Plan, key: Key, keys: Composable, staged: Exported
) -> Removed:
    """Delete or mark what is not among all keys, or has gone from the buckets that differ."""
    buckets = plan.key_buckets
    if buckets is None:
        cursor.execute(removal(plan, key, keys))
        deleted = cursor.rowcount
        guard(cursor, plan, deleted, staged.keys if plan.compares_keys else staged.rows)
    elif not buckets.prefixes:
        deleted = 0
    else:
        with pinned(cursor):
            cursor.execute(removal(plan, key, keys, merge_sql.within_buckets(key, buckets)))
            deleted = cursor.rowcount
        guard(cursor, plan, deleted, buckets.rows)
    return Removed(deleted, 0)


def _remove_gone(
    cursor: Cursor, plan: Plan, key: Key, staging: Staging, staged: Exported
) -> Removed:
    """Delete or mark what has gone from the pages that were read."""
    if not page_map.reads_pages(plan):
        return Removed()
    gone = page_map.find_gone(cursor, plan, key, staging)
    if plan.removal is Removal.MARK:
        cursor.execute(merge_sql.mark_gone(plan, key, gone, plan.view.snapshot.taken_at))
    else:
        cursor.execute(merge_sql.delete_gone(plan, key, gone))
    deleted = cursor.rowcount
    left = staged.keys or int(deleted and row(cursor, merge_sql.any_live(plan))[0])
    guard(cursor, plan, deleted, left)
    return Removed(deleted)


def _remove_surplus(cursor: Cursor, plan: Plan, staging: Staging, staged: Exported) -> Removed:
    """Without a key a changed row is one deleted and one inserted: the guard looks at the sum."""
    with pinned(cursor):
        cursor.execute(merge_sql.delete_surplus(plan, staging.identifier))
        deleted = cursor.rowcount
    kept = row(cursor, merge_sql.count_live(plan))[0]
    guard(cursor, plan, max(0, kept + deleted - staged.rows), staged.rows)
    return Removed(deleted, 0)


@contextlib.contextmanager
def pinned(cursor: Cursor) -> Iterator[None]:
    """Compare rows as text that any two different values do not share."""
    cursor.execute("; ".join(PINNED))
    yield
    cursor.execute("; ".join(UNPINNED))


def guard(cursor: Cursor, plan: Plan, deleted: int, left: int) -> None:
    """Refuse, and so roll back, a delete that looks like a mistake."""
    table = plan.table
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
    # So many rows that are left make it a small share: the other ones need not be counted.
    enough = math.ceil(deleted / table.max_delete_ratio) if table.max_delete_ratio else None
    before = row(cursor, merge_sql.count_live(plan, enough))[0] + deleted
    if deleted > table.max_delete_ratio * before and not (table.allow_empty and not left):
        raise errors.DeleteGuard(
            f"{deleted} of {before} rows of {table.target} would be deleted, "
            f"more than max_delete_ratio {table.max_delete_ratio} allows",
            remedy=f"If that is right, run once with --confirm-deletes {deleted}.",
        )
