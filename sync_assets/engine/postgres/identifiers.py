"""From names to identifiers in a statement."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine.names import RelationName


def relation(name: RelationName) -> Composable:
    """A relation's qualified name."""
    return Identifier(name.schema, name.name)


def names(columns: Iterable[str], of: Composable | None = None) -> Composable:
    """A list of columns, each prefixed with `of` where given."""
    prefix = SQL("{}.").format(of) if of else SQL("")
    return SQL(", ").join(SQL("{}{}").format(prefix, Identifier(column)) for column in columns)
