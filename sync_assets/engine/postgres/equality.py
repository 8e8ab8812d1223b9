"""When two keys are the same, and what stands for a row's values: as SQL, named by its schema."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine.postgres.operators import anywhere

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
    types: Iterable[str], keys: Sequence[Iterable[object]]
) -> tuple[Composable, list[Composable]]:
    """Keys as text, as a table for a FROM clause, and its columns, each of the type given."""
    # Literals and no parameters: a column's name may hold a percent sign.
    arrays = [
        SQL("pg_catalog.unnest({}::pg_catalog.text[])").format(Literal(list(each)))
        for each in zip(*keys, strict=True)
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
