"""Staging into the target, inside the publishing transaction: deletes, MERGE, true counts."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import psycopg2
import psycopg2.errors
from psycopg2.sql import SQL, Identifier

from sync_assets.engine import errors
from sync_assets.engine.layout.layout import Layout
from sync_assets.engine.load.staging import Staging, constraint_name
from sync_assets.engine.merge import alter, interference, merge_statements
from sync_assets.engine.merge.collisions import COLLIDED, StillThere, Written, read_scene, settle
from sync_assets.engine.names import RelationName
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.catalog import read_storage
from sync_assets.engine.postgres.lock import advisory_key, lock_with_partitions
from sync_assets.engine.postgres.relation import Key
from sync_assets.engine.postgres.session import Cursor, pinned, row

MERGE_RETURNS = 170000

INDEXED = "SET LOCAL random_page_cost = 1.1"
"""Joins by the key's index: the pages that it leads to are mostly written anyway, so reading them costs
nothing more, while a scan would read the whole target for the join alone."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Rows written to the target, by what happened to them.

    `deleted` counts rows that were marked, too. `only_in_target` and `left_scope` count rows that
    stay although the source does not have them, or no longer in scope; None where nobody looked.
    `out_of_scope` are rows that were exported only to say so. `live` are all rows of the target, where
    they were counted.
    """

    inserted: int
    updated: int
    deleted: int = 0
    only_in_target: int | None = None
    left_scope: int | None = None
    out_of_scope: int = 0
    live: int | None = None
    events: tuple[str, ...] = ()


def become_target(cursor: Cursor, plan: Plan, staging: Staging) -> None:
    """Rename the staging table of a first load into the target."""
    target = plan.table.target
    if plan.layout.key:
        cursor.execute(
            SQL("ALTER TABLE {} RENAME CONSTRAINT {} TO {}").format(
                staging.identifier,
                Identifier(constraint_name(staging.name.name)),
                Identifier(free_constraint(cursor, target, plan.layout.key)),
            )
        )
    cursor.execute(
        SQL("ALTER TABLE {} RENAME TO {}").format(staging.identifier, Identifier(target.name))
    )


def free_constraint(cursor: Cursor, target: RelationName, key: Key) -> str:
    """What the key of a table that we create will be called there: as on the source, if it has a name."""
    return free_name(cursor, target.schema, key.constraint or constraint_name(target.name))


def free_name(cursor: Cursor, schema: str, wanted: str, *, statistics: bool = False) -> str:
    """A name for an index that no relation of its schema has, or for `statistics` that no others have.

    It is the wanted one, or that with a number.
    """
    # One name after the other: as a join this reads all of pg_class.
    is_free = "to_regclass(format('%%I.%%I', %(schema)s, candidate)) IS NULL"
    if statistics:
        is_free = (
            "NOT EXISTS (SELECT FROM pg_statistic_ext s JOIN pg_namespace m ON m.oid = s.stxnamespace"
            " WHERE s.stxname = candidate AND m.nspname = %(schema)s)"
        )
    (name,) = row(
        cursor,
        "SELECT candidate FROM generate_series(0, 1000) AS n CROSS JOIN LATERAL "  # noqa: S608 - of ours
        "(SELECT CASE n WHEN 0 THEN %(wanted)s ELSE left(%(wanted)s, 55) || n END) AS c (candidate) "
        f"WHERE {is_free} LIMIT 1",
        {"wanted": wanted, "schema": schema},
    )
    return str(name)


def lock_wholes(cursor: Cursor, plans: Iterable[Plan]) -> None:
    """Lock the tables of many sources, before any of their partitions: for us alone where one alters it.

    Whoever reads such a table locks it first and its partitions then; so does every run, and none waits
    for another in a circle.
    """
    wholes: dict[RelationName, list[Layout]] = {}
    for plan in plans:
        if plan.table.whole is not None:
            wholes.setdefault(plan.table.whole, []).append(plan.layout)
    for whole, layouts in sorted(wholes.items()):
        if any(layout.alters for layout in layouts):
            # It may have to be made, and there is nothing to lock yet.
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (advisory_key(whole),))
            if not row(cursor, "SELECT to_regclass(%s) IS NOT NULL", (whole.as_sql,))[0]:
                continue
        _lock_whole(cursor, whole, layouts)


def _lock_whole(cursor: Cursor, whole: RelationName, layouts: Collection[Layout]) -> None:
    if any(layout.alterations and not layout.creates for layout in layouts):
        lock_with_partitions(cursor, whole)
        return
    mode = "ACCESS EXCLUSIVE" if any(layout.alters for layout in layouts) else "ACCESS SHARE"
    statement = SQL(f"LOCK TABLE ONLY {{}} IN {mode} MODE")
    try:
        cursor.execute(statement.format(identifiers.relation(whole)))
    except (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName):
        raise errors.ConcurrentRun(f"{whole} is gone by now", remedy="Run it again.") from None


def lock_target(cursor: Cursor, plan: Plan, expected_storage: str | None) -> None:
    """Keep other writers out, and check that the target is still the one of the plan.

    `expected_storage` is what the mark was left with: a target that somebody truncated since the
    plan would lack the rows below the mark for ever. Raises ConcurrentRun.
    """
    target = plan.table.target
    statement = SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(
        identifiers.relation(target)
    )
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


def alter_target(cursor: Cursor, plan: Plan, staging: Staging) -> None:
    """Make the target fit: it may gain columns, and lose none; raises SchemaConflict."""
    if not plan.layout.alters:
        return
    with pinned(cursor):
        for alteration in plan.layout.alterations:
            alter.require_nothing_lost(cursor, plan, staging, alteration)
            alter.apply(cursor, plan.table.target, alteration)
        if plan.table.whole and plan.layout.alterations and not plan.layout.creates:
            alter.require_as_planned(cursor, plan)
        if plan.layout.joining:
            alter.join(cursor, plan.table, is_new=plan.layout.creates)


def merge_rows(
    cursor: Cursor, plan: Plan, staging: Staging, still_there: StillThere, *, removes: bool
) -> Written:
    """Write the staged rows; `removes`: those that are gone are deleted; raises SchemaConflict."""
    key = plan.layout.key
    if key is None:
        with pinned(cursor):
            cursor.execute(merge_statements.insert_lacking(plan, staging.identifier))
            return Written(cursor.rowcount, 0)
    merge = functools.partial(_merge, cursor, plan, key, staging)
    try:
        return Written(*merge("SAVEPOINT collision; "))
    except COLLIDED:
        cursor.execute("ROLLBACK TO collision")
    return settle(
        cursor, read_scene(cursor, plan, key, staging, removes=removes), still_there, merge
    )


def _merge(
    cursor: Cursor, plan: Plan, key: Key, staging: Staging, before: str = ""
) -> tuple[int, int]:
    statement = merge_statements.merge(plan, key, staging.identifier)
    if cursor.connection.server_version >= MERGE_RETURNS:
        counted = merge_statements.counted_merge(statement)
        inserted, updated = row(cursor, SQL(before) + counted)
        return inserted, updated
    counted = merge_statements.count_changes(plan, key, staging.identifier)
    inserted, updated = row(cursor, SQL(before) + counted)
    cursor.execute(statement)
    if cursor.rowcount != inserted + updated:
        raise interference.conflict(cursor, plan, abs(inserted + updated - cursor.rowcount))
    return inserted, updated
