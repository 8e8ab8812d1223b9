"""Alter the target inside the publishing transaction, and prove that nothing was lost."""

from __future__ import annotations

import dataclasses

import psycopg2
import psycopg2.extensions
from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine import errors
from sync_assets.engine.layout.alteration import Alteration, Narrowing, drop_column
from sync_assets.engine.layout.partition import fields_of, joining
from sync_assets.engine.layout.remedies import assigns
from sync_assets.engine.layout.widening import holds
from sync_assets.engine.load.staging import Staging
from sync_assets.engine.names import PartitionOf, RelationName, quoted
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.equality import same_key
from sync_assets.engine.postgres.lock import lock_ddl
from sync_assets.engine.postgres.partitions import ancestors, default_of, read_partitioned
from sync_assets.engine.postgres.relation import Key
from sync_assets.engine.postgres.session import Cursor, row
from sync_assets.engine.table import Table

_NO_CAST = ("42804", "42846")
_VALUE = ("22", "23")
_DEPENDED_ON = ("0A000", "2BP01")
DEPENDS = "something there depends on it"  # what is said of a column that cannot change for it

_OF_PARTITION = ("42809", "42P16", "42P17", "42P21", "55000")
"""Of what a partition may not do by itself, or what keeps a table from being one."""


def apply(cursor: Cursor, target: RelationName, alteration: Alteration) -> None:
    """Execute one alteration inside the publishing transaction; raises SchemaConflict."""
    failed: psycopg2.Error | None = None
    statements = (alteration.statement, alteration.converts, alteration.clears)
    for statement in statements:
        if statement is None or (failed and not _helps(alteration, statement, failed)):
            continue
        failed = _tried(cursor, statement)
        if failed is None:
            return
    if failed is not None:
        raise _conflict(cursor, target, alteration, failed) from None


def _tried(cursor: Cursor, statement: Composable) -> psycopg2.Error | None:
    cursor.execute("SAVEPOINT alteration")
    try:
        cursor.execute(statement)
    except psycopg2.Error as error:
        code = error.pgcode or ""
        known = (*_NO_CAST, *_DEPENDED_ON, *_OF_PARTITION)
        if code not in known and not code.startswith(_VALUE):
            raise
        cursor.execute("ROLLBACK TO alteration; RELEASE alteration")
        return error
    cursor.execute("RELEASE alteration")
    return None


def _helps(alteration: Alteration, statement: Composable, failed: psycopg2.Error) -> bool:
    code = failed.pgcode or ""
    if code in (*_DEPENDED_ON, *_OF_PARTITION):
        return False
    return statement is alteration.clears or code in _NO_CAST


def _conflict(
    cursor: Cursor, target: RelationName, alteration: Alteration, failed: psycopg2.Error
) -> errors.SchemaConflict:
    if alteration.joins or failed.pgcode in _OF_PARTITION:
        return _partition_conflict(cursor, target, alteration, failed)
    if failed.pgcode in _DEPENDED_ON:
        # Names what depends on the column; no value of the table is in it.
        detail = (failed.diag.message_detail or failed.diag.message_primary or "").rstrip(".")
        return errors.SchemaConflict(
            f"the target must follow its source: {alteration.says}; {DEPENDS} ({detail})",
            remedy="Drop what depends on it, run again, and create it anew.",
        )
    return errors.SchemaConflict(
        f"the target must follow its source: {alteration.says}; "
        f"a value that is there does not allow it (SQLSTATE {failed.pgcode})",
        remedy="Correct or delete the rows in the way on the target, and run again. Or drop it, to "
        f"be loaded anew: DROP TABLE {target.as_sql}.",
    )


def _partition_conflict(
    cursor: Cursor, target: RelationName, alteration: Alteration, failed: psycopg2.Error
) -> errors.SchemaConflict:
    # Names tables, columns and constraints; no value of a table is in it.
    said = failed.diag.message_primary or f"SQLSTATE {failed.pgcode}"
    what = f"the target must follow its source: {alteration.says}"
    above = ancestors(cursor, target)
    if len(above) > 1:
        *_, part, whole = above
        return errors.SchemaConflict(
            f"{what}; but {part} is a partition of {whole}: {said}",
            remedy=f"Take {part} out of it: ALTER TABLE {whole.as_sql} DETACH PARTITION {part.as_sql};"
            + (f" Or name {whole} in partition_of." if part == target else ""),
        )
    return errors.SchemaConflict(
        f"{what}; the server said: {said}",
        remedy="Change what it names, there or on the target, or correct the rows in the way, and run"
        " again. Or name another table in partition_of, to be created.",
    )


_NO_SUCH_CAST_OR_OPERATOR = ("42846", "42883")
_DIRECTLY, _AS_TEXT = SQL(""), SQL("::pg_catalog.text")


def require_nothing_lost(
    cursor: Cursor, plan: Plan, staging: Staging, alteration: Alteration
) -> None:
    """Refuse a change of type that such a row would lose a part of its value by.

    Rows that the source has are staged, and written after the change. Raises SchemaConflict.
    """
    narrows, key = alteration.narrows, plan.layout.key
    if narrows is None or key is None:
        return
    # By now a type may have followed its source to another name.
    before = _type_there(cursor, plan, narrows.column)
    lost = _lost(cursor, plan, key, staging, dataclasses.replace(narrows, before=before))
    if lost == 0:
        return
    target = plan.table.target
    rows = "rows" if lost is None else f"{lost} row{'s' if lost > 1 else ''}"
    raise errors.SchemaConflict(
        f"the target must follow its source: {alteration.says}; {rows} that only the target has "
        f"would not keep the value, which is {narrows.before} now",
        remedy=f"{_by_hand(cursor, alteration, narrows, converts=lost is not None)} "
        "Or have such rows deleted: deletes: hard. "
        f"Or drop the target, to be loaded anew: DROP TABLE {target.as_sql}.",
    )


def _by_hand(cursor: Cursor, alteration: Alteration, narrows: Narrowing, *, converts: bool) -> str:
    """What to do about values that would lose something, or do not convert at all."""
    if not converts:
        return "Correct these values on the target, and run again."
    statement = alteration.statement
    if alteration.converts is not None and not assigns(narrows.before, narrows.after):
        statement = alteration.converts
    return f"Lose it, on the target: {statement.as_string(cursor)}."


def _type_there(cursor: Cursor, plan: Plan, column: str) -> str:
    (type_,) = row(
        cursor,
        "SELECT pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute "
        "WHERE attrelid = %s::pg_catalog.regclass AND attname = %s",
        (plan.table.target.as_sql, column),
    )
    return str(type_)


def _lost(cursor: Cursor, plan: Plan, key: Key, staging: Staging, narrows: Narrowing) -> int | None:
    """How many such rows there are; None where a value does not convert at all."""
    for through in (_DIRECTLY, _AS_TEXT):
        for differ in (_BY_VALUE, _BY_TEXT):
            statement = _count(plan, key, staging, narrows, through, differ)
            cursor.execute("SAVEPOINT narrowing")
            try:
                (count,) = row(cursor, statement)
            except psycopg2.Error as error:
                code = error.pgcode or ""
                if code not in _NO_SUCH_CAST_OR_OPERATOR and code[:2] not in ("22", "23"):
                    raise
                cursor.execute("ROLLBACK TO narrowing; RELEASE narrowing")
                if code not in _NO_SUCH_CAST_OR_OPERATOR:
                    return None
            else:
                cursor.execute("RELEASE narrowing")
                return int(count)
    return None


_BY_VALUE = SQL("value IS DISTINCT FROM ({back})")
_BY_TEXT = SQL("value::pg_catalog.text IS DISTINCT FROM ({back})::pg_catalog.text")
"""json, for one, has no equality."""


def _count(
    plan: Plan,
    key: Key,
    staging: Staging,
    narrows: Narrowing,
    through: Composable,
    differ: SQL,
) -> Composable:
    back = SQL("value{through}::{after}{through}::{before}").format(
        through=through, after=SQL(narrows.after), before=SQL(narrows.before)
    )
    # Materialized: only values of these rows are converted, whatever the others hold.
    return SQL(
        "WITH only_here AS MATERIALIZED (SELECT t.{column} AS value FROM {target} AS t "
        "WHERE t.{column} IS NOT NULL AND NOT EXISTS (SELECT FROM {staging} AS s WHERE {joined})) "
        "SELECT count(*) FROM only_here WHERE {differ}"
    ).format(
        column=Identifier(narrows.column),
        target=identifiers.relation(plan.table.target),
        staging=staging.identifier,
        joined=_joined(plan, key, through),
        differ=differ.format(back=back),
    )


def _joined(plan: Plan, key: Key, through: Composable) -> Composable:
    """Key columns may be about to change their type, too; the staged ones have it already."""
    types = {field.name: field.type for field in plan.layout.fields}
    ours = (
        SQL("t.{}{}::{}").format(Identifier(column), through, SQL(types[column]))
        for column in key.columns
    )
    theirs = (SQL("s.{}").format(Identifier(column)) for column in key.columns)
    return same_key(ours, key.operators, theirs)


def require_as_planned(cursor: Cursor, plan: Plan) -> None:
    """Refuse a target whose columns another source's run has given another type; raises ConcurrentRun."""
    target = read_relation(cursor, plan.table.target)
    types = {column.name: column.type for column in target.columns} if target else {}
    for each in plan.layout.fields:
        there = types.get(each.name)
        if there is None or not holds(each.type, there):
            raise errors.ConcurrentRun(
                f"column {each.name!r} of {plan.table.target} is {there or 'gone'} by now, and was to be"
                f" {each.type}",
                remedy="Run it again.",
            )


def join(cursor: Cursor, table: Table, *, is_new: bool) -> None:
    """Make the target a partition, by what both are now; raises SchemaConflict or ConcurrentRun.

    The run of another source may have made or extended the table of all since the plan. `is_new`: this
    run or, by pieces, an earlier one has made all of the target.
    """
    part, target = table.partition_of, read_relation(cursor, table.target)
    if part is None:
        return
    if target is None:
        raise errors.ConcurrentRun(f"{table.target} is gone by now", remedy="Run it again.")
    whole = read_partitioned(cursor, [part.table])[part.table]
    if not whole.schema_exists:
        # Runs that make other tables there may be about to create it.
        lock_ddl(cursor)
        whole = read_partitioned(cursor, [part.table])[part.table]
    columns, is_joined = fields_of(target), table.target in whole.bounds
    says = default_of(cursor, table.target, part.column)
    if target.column(part.column) and says != part.default and not is_joined:
        _drop_column(cursor, table.target, part, is_new=is_new)
        columns = tuple(each for each in columns if each.name != part.column)
    for alteration in joining(part, table.target, columns, whole):
        apply(cursor, table.target, alteration)


def _drop_column(cursor: Cursor, target: RelationName, part: PartitionOf, *, is_new: bool) -> None:
    """Drop what says another value, where we have made it for a load that began with that."""
    if not is_new:
        raise errors.SchemaConflict(
            f"column {part.column!r} of {target} is not ours, which says {part.value!r} in every row",
            remedy="Name another column in partition_of; or drop it, to be added anew: "
            f"ALTER TABLE {target.as_sql} DROP COLUMN {quoted(part.column)};",
        )
    apply(cursor, target, drop_column(target, part.column))
