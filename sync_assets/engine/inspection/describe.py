"""What the source says about its tables: columns, and the comments written on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sync_assets.engine.names import RelationName, parts_of
from sync_assets.engine.postgres.connection import Server, ask
from sync_assets.engine.postgres.session import Cursor, rows
from sync_assets.engine.receipt import ColumnShape


@dataclass(frozen=True, slots=True)
class Described:
    """A table as its owner describes it.

    `comments` holds those columns that have one, `key` those of the primary key.
    """

    comment: str | None
    columns: tuple[ColumnShape, ...]
    comments: Mapping[str, str]
    key: tuple[str, ...] = ()


_COLUMNS = """
SELECT wanted.schema, wanted.name, obj_description(c.oid, 'pg_class'),
       a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
       col_description(c.oid, a.attnum), coalesce(a.attnum = ANY (k.indkey), false)
FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_index k ON k.indrelid = c.oid AND k.indisprimary
ORDER BY c.oid, a.attnum
"""


def describe(source: Server, relations: Sequence[RelationName]) -> dict[RelationName, Described]:
    """Describe each relation that exists and has columns, by one query to its server; raises SyncError."""
    return ask(source, lambda cursor: described(cursor, relations))


def described(cursor: Cursor, relations: Collection[RelationName]) -> dict[RelationName, Described]:
    """What `describe` says, where one is connected already."""
    found = rows(cursor, _COLUMNS, parts_of(relations))
    tables: dict[RelationName, list[tuple[object, ...]]] = {}
    for schema, name, *rest in found:
        tables.setdefault(RelationName(schema, name), []).append(tuple(rest))
    return {relation: _of(columns) for relation, columns in tables.items()}


def _of(columns: list[tuple[object, ...]]) -> Described:
    comment = columns[0][0]
    return Described(
        None if comment is None else str(comment),
        tuple(ColumnShape(str(name), str(kind), bool(null)) for _, name, kind, null, *_ in columns),
        {str(name): str(said) for _, name, _, _, said, _ in columns if said is not None},
        tuple(str(name) for _, name, *_, in_key in columns if in_key),
    )
