"""Operators by their schema, so that no search_path decides which one is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sync_assets.engine.postgres.catalog import AT_LEAST, EQUAL
from sync_assets.engine.postgres.relation import Key, Relation
from sync_assets.engine.postgres.session import Cursor, rows


def operator_of(cursor: Cursor, type_oid: int, strategy: int) -> str:
    """A type's own operator, ready for SQL: that of its btree's default operator class.

    Extensions have theirs in their own schemas. PostgreSQL's own classes serve whole kinds of
    types, such as arrays; so does the operator of the usual name.
    """
    found = rows(
        cursor,
        "SELECT format('OPERATOR(%%I.%%s)', n.nspname, o.oprname) FROM pg_type t"
        " JOIN pg_opclass c ON c.opcintype = coalesce(nullif(t.typbasetype, 0), t.oid)"
        " AND c.opcdefault JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'"
        " JOIN pg_amop a ON a.amopfamily = c.opcfamily AND a.amopstrategy = %s"
        " AND a.amoplefttype = c.opcintype AND a.amoprighttype = c.opcintype"
        " JOIN pg_operator o ON o.oid = a.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace"
        " WHERE t.oid = %s",
        (strategy, type_oid),
    )
    return str(found[0][0]) if found else f"OPERATOR(pg_catalog.{_SYMBOLS[strategy]})"


def equality_of(cursor: Cursor, relation: Relation, key: Key) -> Sequence[str]:
    """The key's own operators, or those of its columns' types where no index has any."""
    columns = (relation.column(name) for name in key.columns)
    return key.operators or [
        operator_of(cursor, column.type_oid if column else 0, EQUAL) for column in columns
    ]


_SYMBOLS = {EQUAL: "=", AT_LEAST: ">="}

_OF_GRAMMAR = re.compile(
    r"(bigint|bit|boolean|character|double precision|integer|interval|numeric|real|smallint|time"
    r"|timestamp)\b"
)
"""Names of types that are keywords, and so stand for PostgreSQL's own under any search_path."""


def anywhere(type_: str) -> str:
    """A type as format_type() writes it, for a statement under the role's own search_path."""
    plain = re.fullmatch(r'("\w+"|[a-z]\w*)(\[\])*', type_)
    return f"pg_catalog.{type_}" if plain and not _OF_GRAMMAR.match(type_) else type_
