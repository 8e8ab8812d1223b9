"""Find one row by its key, on the source or on the target; the server casts the key's values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import psycopg2
from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine import errors
from sync_assets.engine.compare.checksum import Rows
from sync_assets.engine.compare.sides import marks_deleted, rows_of_source, rows_of_target
from sync_assets.engine.inspection.explain import SourceRow, TargetRow
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.equality import anywhere, equality_of, same_key
from sync_assets.engine.postgres.relation import Key, Relation
from sync_assets.engine.postgres.session import Cursor, rows
from sync_assets.engine.postgres.xid import widened
from sync_assets.engine.snapshot.scope import own_names, under, values_of, written
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.table import Table


def source_row(
    cursor: Cursor,
    table: Table,
    view: SourceRelation,
    key: Key,
    values: Sequence[str],
    known_leaves: Collection[int],
) -> SourceRow | None:
    """The row on the source, under the snapshot of `view`; raises ConfigurationError."""
    relation, versioned = view.relation, view.relation.has_versions
    condition = _condition(cursor, relation, key, values)
    found = _look_up(
        cursor,
        own_names(table, relation, view.types),
        SQL("SELECT {}, {}, {}, {} FROM {}{} AS t WHERE {}").format(
            SQL(widened(view.snapshot.xmax, "t.xmin") if versioned else "NULL::bigint"),
            SQL("t.tableoid::bigint" if versioned else "NULL::bigint"),
            SQL("{} IS TRUE").format(written(table.where or "true")),
            rows_of_source(table, view).image,
            SQL("ONLY " if table.only else ""),
            identifiers.relation(table.source),
            condition,
        ),
        key,
        values,
    )
    if found is None:
        return None
    xmin, leaf, in_scope, image = found
    names = {each.oid: str(each.name) for each in relation.leaves}
    known = leaf is None or leaf in known_leaves
    return SourceRow(xmin, names.get(leaf, str(table.source)), in_scope, known, image)


def target_row(
    cursor: Cursor,
    table: Table,
    source: Rows,
    there: Relation | None,
    key: Key,
    values: Sequence[str],
) -> TargetRow | None:
    """The row on the target; raises ConfigurationError."""
    if there is None or any(there.column(name) is None for name in key.columns):
        return None
    xmin = table.xmin_column if there.column(table.xmin_column) else None
    mark = marks_deleted(table, source.relation, there)
    lacking = any(there.column(name) is None for name, _ in source.columns)
    condition = _condition(cursor, there, key, values)
    found = _look_up(
        cursor,
        (),
        SQL("SELECT {}, {}, {} FROM {} AS t WHERE {}").format(
            *(Identifier(name) if name else SQL("NULL") for name in (xmin, mark)),
            SQL("NULL") if lacking else rows_of_target(table, source, there).image,
            identifiers.relation(table.target),
            condition,
        ),
        key,
        values,
    )
    return TargetRow(*found) if found else None


def _condition(cursor: Cursor, relation: Relation, key: Key, values: Sequence[str]) -> Composable:
    """SQL that holds for the row: by the key's own equality, or that of its columns' types."""
    given = [
        SQL("{}::{}").format(
            Literal(value),
            SQL(anywhere(column.type if (column := relation.column(name)) else "text")),
        )
        for name, value in zip(key.columns, values, strict=True)
    ]
    return same_key(values_of(relation, key.columns), equality_of(cursor, relation, key), given)


def _look_up(
    cursor: Cursor,
    names: Sequence[str],
    statement: Composable,
    key: Key,
    values: Sequence[str],
) -> tuple[Any, ...] | None:
    try:
        with under(cursor, names):
            found = rows(cursor, statement)
    except psycopg2.DataError as error:
        problem = error.diag.message_primary or "not a value of its type"
    else:
        return found[0] if found else None
    given = ", ".join(f"{name} = {value}" for name, value in zip(key.columns, values, strict=True))
    raise errors.ConfigurationError(
        f"no row can have the key {given}: {problem}",
        remedy="Write each value as PostgreSQL reads it.",
    )
