"""Operators by their schema, when two keys are the same, and what stands for a row's values: as SQL.

No search_path decides which operator, type or function is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine.postgres.catalog import AT_LEAST, EQUAL
from sync_assets.engine.postgres.relation import Key, Relation
from sync_assets.engine.postgres.session import Cursor, rows

TEXT_ENCODING = (
    "CASE WHEN pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.=) 'SQL_ASCII'"
    " THEN 'SQL_ASCII' ELSE 'UTF8' END"
)
"""The SQL of the encoding in which text is hashed. SQL_ASCII is bytes that nobody can convert: they are
what is hashed."""

MOST_ARGUMENTS = 90
"""Values that one call of format() takes here; PostgreSQL allows 100 arguments."""


def same_key(
    ours: Iterable[Composable], operators: Iterable[str], theirs: Iterable[Composable]
) -> Composable:
    """The condition that two keys, column by column, are the same: no column of a key is NULL.

    By the operators of the key's index: what the index calls equal is what identifies a row.
    """
    return SQL(" AND ").join(
        SQL("{} {} {}").format(our, SQL(operator), their)
        for our, operator, their in zip(ours, operators, theirs, strict=True)
    )


def given_keys(
    types: Iterable[str], columns: Iterable[Iterable[str]]
) -> tuple[Composable, list[Composable]]:
    """Keys as text, column by column, as a table for a FROM clause, and its columns by their types."""
    # Literals and no parameters: a column's name may hold a percent sign.
    arrays = [
        SQL("pg_catalog.unnest({}::pg_catalog.text[])").format(Literal(_array(each)))
        for each in columns
    ]
    # A dot keeps them from being columns of the table that is searched, which filters name as they like.
    names = [Identifier(f"sync_assets.k{number}") for number in range(len(arrays))]
    table = SQL("ROWS FROM ({}) AS wanted ({})").format(
        SQL(", ").join(arrays), SQL(", ").join(names)
    )
    return table, [
        SQL("wanted.{}::{}").format(name, SQL(anywhere(type_)))
        for name, type_ in zip(names, types, strict=True)
    ]


def _array(values: Iterable[str]) -> str:
    """An array of one value or more as PostgreSQL reads it, as psycopg2 would adapt each by itself."""
    escaped = "\0".join(values).replace("\\", r"\\").replace('"', r"\"")
    return '{"' + escaped.replace("\0", '","') + '"}'  # no text of PostgreSQL's holds a NUL


def hash_of(values: Sequence[Composable]) -> Composable:
    """The MD5 of the values' text, alike on both ends under pinned settings.

    Each value is written as a literal: NULL differs from '', and no value can run into the next.
    `ROW(…)::text` would do, but for the C library of each server, which says what a blank is.
    """
    groups = [
        values[first : first + MOST_ARGUMENTS] for first in range(0, len(values), MOST_ARGUMENTS)
    ]
    parts = [
        SQL("pg_catalog.format({}, {})").format(Literal("%L," * len(group)), SQL(", ").join(group))
        for group in groups
    ]
    # A table may have no column, and rows all the same.
    text = SQL(" OPERATOR(pg_catalog.||) ").join(parts or [SQL("''")])
    return SQL("pg_catalog.md5(pg_catalog.convert_to({}, {}))").format(text, SQL(TEXT_ENCODING))


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
