"""Prove at the target that SQL of the operator's depends on nothing but the row.

The source lets us create nothing, so its proof is made on an empty table at the target. There the
operator's SQL is only read and never run: PostgreSQL runs immutable functions while it plans, and
the first that fits a name may be of anybody who may create in a schema of the search_path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import psycopg2
from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine import errors
from sync_assets.engine.layout.layout import Field
from sync_assets.engine.load.types import creations
from sync_assets.engine.postgres.relation import Column
from sync_assets.engine.postgres.session import CATALOG_NAMES, Cursor, row, rows
from sync_assets.engine.postgres.types import UserType, missing_types
from sync_assets.engine.snapshot.scope import is_about_the_text, texts, written
from sync_assets.engine.table import Table

_PROBE = Identifier("pg_temp", "sync_assets_probe")

_CATALOG_FIRST = """
SELECT pg_catalog.set_config('search_path', 'pg_catalog, ' || reset_val, true)
FROM pg_catalog.pg_settings WHERE name = 'search_path'
"""

# A function in C, and any that is no trusted language's, was made by a superuser whoever owns it.
_NEIGHBOURS = """
SELECT p.oid::regprocedure::text, quote_ident(r.rolname), quote_ident(current_user)
FROM pg_constraint c
JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid
LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
JOIN pg_proc p
  ON p.oid = CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END
JOIN pg_language l ON l.oid = p.prolang JOIN pg_roles r ON r.oid = p.proowner
WHERE c.conrelid = 'pg_temp.sync_assets_probe'::regclass
  AND l.lanpltrusted AND NOT r.rolsuper AND r.rolname <> current_user LIMIT 1
"""
_AS_READ = """
SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint
WHERE conrelid = 'pg_temp.sync_assets_probe'::regclass AND contype = 'c'
"""


def require_immutable(
    cursor: Cursor,
    table: Table,
    columns: Iterable[Column],
    types: Iterable[UserType],
    *,
    own_names: bool,
) -> None:
    """Prove on an empty table at the target that filter and expressions depend on the row alone.

    Names are first PostgreSQL's own; with `own_names` they may be of the role's search_path too.
    Raises ConfigurationError. Nothing stays on the target.
    """
    found = list(texts(table))
    if not found:
        return
    conditions = [SQL("({} IS NOT NULL)").format(written(text)) for _, text in found]
    probe = partial(_create_probe, cursor, columns, types)
    _, problem = _read(cursor, SQL(" AND ").join(conditions), probe, own_names=own_names)
    if problem is not None:
        raise errors.ConfigurationError(
            f"{' and '.join(place for place, _ in found)} of {table.source} must depend on the row "
            f"alone, and the target could not prove it: {problem}",
            remedy="Use only the row's own columns and immutable functions that the target has "
            "too, or sync_mode: full_sync.",
        )


def rows_on_target(
    cursor: Cursor, table: Table, columns: Iterable[Field], *, own_names: bool
) -> Composable:
    """The condition `rows` as the target reads it over these columns of its own, once proven.

    It says which rows are removed there, if they are gone. Raises ConfigurationError.
    """
    probe = partial(_create_probe, cursor, columns, ())
    as_read, problem = _read(cursor, written(table.rows or ""), probe, own_names=own_names)
    if problem is not None:
        raise errors.ConfigurationError(
            f"which rows are gone from {table.source}, {table.target} is asked by the same condition, "
            f"and the target could not prove that it depends on the row alone: {problem}",
            remedy="Use only columns that travel as they are, and immutable functions that the "
            "target has too, as in created_at >= '2026-01-01'.",
        )
    return SQL("({})").format(SQL(as_read))


def _read(
    cursor: Cursor, condition: Composable, probe: Callable[[], None], *, own_names: bool
) -> tuple[str, str | None]:
    """A condition as the target reads it, every name with its schema, and what is against it."""
    paths = (CATALOG_NAMES, _CATALOG_FIRST) if own_names else (CATALOG_NAMES,)
    as_read = [""]
    cursor.execute("SAVEPOINT probe")
    problem = _refusal(cursor, probe)
    for path in paths if problem is None else ():
        problem = _refusal(cursor, partial(_prove, cursor, condition, path, as_read))
        if problem is None:
            break
    cursor.execute("ROLLBACK TO probe; RELEASE probe")
    return as_read[-1], problem


def _refusal(cursor: Cursor, work: Callable[[], str | None]) -> str | None:
    """Do `work`, and undo it if it fails; return what is said against it."""
    cursor.execute("SAVEPOINT attempt")
    try:
        said = work()
    except psycopg2.Error as error:
        if not is_about_the_text(error):
            raise
        said = error.diag.message_primary or "no message"
    cursor.execute("RELEASE attempt" if said is None else "ROLLBACK TO attempt; RELEASE attempt")
    return said


def _create_probe(
    cursor: Cursor, columns: Iterable[Column | Field], types: Iterable[UserType]
) -> None:
    for statement in creations(cursor, missing_types(cursor, types)):
        cursor.execute(statement)
    definitions = SQL(", ").join(
        SQL("{} {}{}").format(
            Identifier(column.name),
            SQL(column.type),
            SQL(f" COLLATE {column.collation}" if column.collation else ""),
        )
        for column in columns
    )
    cursor.execute(SQL("CREATE TEMP TABLE sync_assets_probe ({})").format(definitions))


def _prove(cursor: Cursor, condition: Composable, path: str, as_read: list[str]) -> str | None:
    """Say what is against it, with names found in `path`; `as_read` gets how it is understood.

    A constraint that nothing is checked against is read and not planned, so that it is known what
    would be called before any of it is. An index's predicate takes no subquery and, planned, only
    immutable functions: the manual, "CREATE INDEX".
    """
    cursor.execute(path)
    cursor.execute(SQL("ALTER TABLE {} ADD CHECK ({}) NOT VALID").format(_PROBE, condition))
    cursor.execute(CATALOG_NAMES)
    neighbours = rows(cursor, _NEIGHBOURS)
    if neighbours:
        function, owner, role = neighbours[0]
        return (
            f"{function} belongs to the role {owner} there, whose code is not run; if it may be, "
            f"run on the target: ALTER ROUTINE {function} OWNER TO {role}"
        )
    as_read += row(cursor, _AS_READ)
    cursor.execute(SQL("CREATE INDEX ON {} ((1)) WHERE {}").format(_PROBE, SQL(as_read[-1])))
    return None
