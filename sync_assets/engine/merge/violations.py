"""What a constraint of the target refuses, said with what mends it.

The server names a partition and a constraint; what an operator has to name are their tables. They
are looked up once the transaction was rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg2

from sync_assets.engine.names import RelationName, quoted
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import Connection, Cursor, rows, transaction

Result = TypeVar("Result")


def explained(
    sessions: Sessions,
    target: Connection,
    group: Sequence[RelationName],
    work: Callable[[], Result],
) -> Result:
    """Do `work`, a transaction on the tables of `group`; raises SchemaConflict with its remedy."""
    try:
        return work()
    except (psycopg2.errors.NotNullViolation, psycopg2.errors.ForeignKeyViolation) as error:
        failure, seen = sessions.explained(error), error.diag
        place = (seen.schema_name, seen.table_name)
        column, constraint = seen.column_name, seen.constraint_name
    # Out here, so that the driver's own error, whose text may carry values, is not chained to it.
    with transaction(target) as cursor:
        if constraint is not None:
            remedy = _of_foreign_key(cursor, (*place, constraint), group)
        else:
            remedy = _of_not_null(cursor, place, column)
    failure.remedy = remedy or failure.remedy
    raise failure


_NAMED = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = coalesce(pg_catalog.pg_partition_root({oid}), {oid})
"""

_TABLE = f"""
SELECT named.* FROM pg_catalog.pg_class p
JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
CROSS JOIN LATERAL ({_NAMED.format(oid="p.oid")}) AS named
WHERE (pn.nspname, p.relname) = (%s, %s)
"""  # noqa: S608 - constants only

_ENDS = f"""
SELECT child.*, parent.* FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class p ON p.oid = k.conrelid
JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
CROSS JOIN LATERAL ({_NAMED.format(oid="k.conrelid")}) AS child
CROSS JOIN LATERAL ({_NAMED.format(oid="k.confrelid")}) AS parent
WHERE k.contype = 'f' AND (pn.nspname, p.relname, k.conname) = (%s, %s, %s)
"""  # noqa: S608 - constants only


def _of_not_null(
    cursor: Cursor, place: tuple[str | None, str | None], column: str | None
) -> str | None:
    found = rows(cursor, _TABLE, place)
    if not found or column is None:
        return None
    return (
        "If somebody renamed the column on the target, give it its name back. Or run on the target: "
        f"ALTER TABLE {RelationName(*found[0]).as_sql} ALTER COLUMN {quoted(column)} DROP NOT NULL."
    )


def _of_foreign_key(
    cursor: Cursor, place: tuple[str | None, str | None, str], group: Sequence[RelationName]
) -> str | None:
    found = rows(cursor, _ENDS, place)
    if not found:
        return None
    child, parent = RelationName(*found[0][:2]), RelationName(*found[0][2:])
    drop = f"run on the target: ALTER TABLE {child.as_sql} DROP CONSTRAINT {quoted(place[2])}."
    if {child, parent} <= set(group):
        return (
            f"The rows that are synced of {child} reference some that are not of {parent}: correct "
            f"them on the source, see whether a filter leaves them out, or {drop}"
        )
    return (
        f"{child} references {parent}, and each is synced by itself, at a moment of its own: sync "
        "both at once, with the same line in defs.yaml for each, snapshot_group: related; "
        f"or {drop}"
    )
