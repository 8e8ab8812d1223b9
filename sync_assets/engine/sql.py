"""Statements that move rows, built from identifiers and numbers (pure)."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg2 import sql
from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine.catalog import Key
from sync_assets.engine.plan import Chunk
from sync_assets.engine.schema import Field, Layout
from sync_assets.engine.table import RelationName
from sync_assets.engine.xid import XidWindow, widened

PUBLISHED, STAGED = Identifier("t"), Identifier("s")


def relation(name: RelationName) -> Composable:
    """A relation's qualified name."""
    return Identifier(name.schema, name.name)


def names(columns: Iterable[str], of: Composable | None = None) -> Composable:
    """A list of columns, each prefixed with `of` where given."""
    prefix = SQL("{}.").format(of) if of else SQL("")
    return SQL(", ").join(SQL("{}{}").format(prefix, Identifier(column)) for column in columns)


def export_chunk(layout: Layout, chunk: Chunk, window: XidWindow) -> Composable:
    """COPY one page range: each row followed by its 64-bit xid, or every row's key alone."""
    if chunk.keys_only:
        chosen = names(layout.key.columns)
    else:
        chosen = SQL("{}, {}").format(names(layout.names), SQL(widened(window.end)))
    conditions: list[Composable] = [SQL("ctid >= {}").format(_first_of(chunk.first))]
    if chunk.end is not None:
        conditions.append(SQL("ctid < {}").format(_first_of(chunk.end)))
    if not chunk.full and not chunk.keys_only:
        conditions.append(SQL(window.predicate()))
    return SQL(
        "COPY (SELECT {columns} FROM ONLY {leaf} WHERE {conditions}) TO STDOUT (FORMAT csv)"
    ).format(
        columns=chosen, leaf=relation(chunk.leaf.name), conditions=SQL(" AND ").join(conditions)
    )


def _first_of(page: int) -> Composable:
    return SQL("'({},0)'::pg_catalog.tid").format(sql.Literal(page))


def max_xmin(name: RelationName, end: int) -> Composable:
    """The highest 64-bit xid among a relation's visible rows, NULL where there are none."""
    return SQL("SELECT max({}) FROM {}").format(SQL(widened(end)), relation(name))


def columns_of(
    fields: Iterable[Field], xmin_column: str | None = None, *, strict: bool = False
) -> Composable:
    """Column definitions for a table that holds `fields` and, where named, our xmin column."""
    definitions = [_definition(field, strict=strict) for field in fields]
    if xmin_column is not None:
        definitions.append(SQL("{} bigint").format(Identifier(xmin_column)))
    return SQL(", ").join(definitions)


def _definition(field: Field, *, strict: bool) -> Composable:
    # Type and collation come from the server's own format_type() and format('%I').
    return SQL("{} {}{}{}").format(
        Identifier(field.name),
        SQL(field.type),
        SQL(f" COLLATE {field.collation}" if field.collation else ""),
        SQL(" NOT NULL" if strict and field.not_null else ""),
    )


def add_column(target: RelationName, field: Field) -> Composable:
    """Add a column to an existing target."""
    return SQL("ALTER TABLE {} ADD COLUMN {}").format(
        relation(target), _definition(field, strict=False)
    )


def load_batch(staging: Composable, columns: Iterable[str]) -> Composable:
    """COPY one batch file into the staging table."""
    return SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(staging, names(columns))


def _joined(key: Key) -> Composable:
    # The key index's own operators: what the index calls equal is what identifies a row.
    return SQL(" AND ").join(
        SQL("t.{column} {operator} s.{column}").format(
            column=Identifier(column), operator=SQL(operator)
        )
        for column, operator in zip(key.columns, key.operators, strict=True)
    )


def _differs(columns: Iterable[str]) -> Composable:
    # Compares the stored bytes: 1.0 and 1.00 are equal and yet not the same, and json has no `=`.
    columns = tuple(columns)
    return SQL("pg_catalog.record_image_ne(ROW({}), ROW({}))").format(
        names(columns, PUBLISHED), names(columns, STAGED)
    )


def merge(
    target: RelationName, staging: Composable, layout: Layout, xmin_column: str
) -> Composable:
    """MERGE the staged rows; a row that is already the same is not touched."""
    changed = [*(field.name for field in layout.fields if field.settable), xmin_column]
    return SQL(
        "MERGE INTO {target} AS t USING {staging} AS s ON {joined} "
        "WHEN MATCHED AND {differs} THEN UPDATE SET {assignments} "
        "WHEN NOT MATCHED THEN INSERT ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values})"
    ).format(
        target=relation(target),
        staging=staging,
        joined=_joined(layout.key),
        differs=_differs(layout.names),
        assignments=SQL(", ").join(
            SQL("{column} = s.{column}").format(column=Identifier(column)) for column in changed
        ),
        columns=names((*layout.names, xmin_column)),
        values=names((*layout.names, xmin_column), STAGED),
    )


def counted_merge(merged: Composable) -> Composable:
    """The same MERGE, answering how many rows it inserted and updated (PostgreSQL 17 and later)."""
    return SQL(
        "WITH merged AS ({} RETURNING merge_action() AS action) "
        "SELECT count(*) FILTER (WHERE action = 'INSERT'), "
        "count(*) FILTER (WHERE action = 'UPDATE') FROM merged"
    ).format(merged)


def count_changes(target: RelationName, staging: Composable, layout: Layout) -> Composable:
    """How many staged rows are new and how many differ, before a MERGE that can't tell."""
    return SQL(
        # The columns of both sides in one target list would be more than 1,664 from 833 on.
        "SELECT (SELECT count(*) FROM {staging} AS s "
        "WHERE NOT EXISTS (SELECT FROM {target} AS t WHERE {joined})), "
        "(SELECT count(*) FROM {staging} AS s JOIN {target} AS t ON {joined} WHERE {differs})"
    ).format(
        differs=_differs(layout.names),
        staging=staging,
        target=relation(target),
        joined=_joined(layout.key),
    )


def _missing(target: RelationName, keys: Composable, key: Key) -> Composable:
    return SQL("{} AS t WHERE NOT EXISTS (SELECT FROM {} AS s WHERE {})").format(
        relation(target), keys, _joined(key)
    )


def delete_missing(target: RelationName, keys: Composable, key: Key) -> Composable:
    """Delete the target rows whose key is not among `keys`, a table with all of the source's."""
    return SQL("DELETE FROM {}").format(_missing(target, keys, key))


def count_missing(target: RelationName, keys: Composable, key: Key) -> Composable:
    """Count the target rows whose key is not among `keys`."""
    return SQL("SELECT count(*) FROM {}").format(_missing(target, keys, key))
