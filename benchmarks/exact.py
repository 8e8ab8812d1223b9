"""Whether a copied table is exact: its rows counted, and a checksum of each column.

Each value is hashed in its type's own output form, with its row's key, so that the order of rows
does not matter and a value in another row does. A column that arrives as another type counts as
exact where its text is the same; what it lost is told beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg2
from psycopg2.extensions import cursor
from psycopg2.sql import SQL, Composed, Identifier

SETTINGS = (
    "SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; "
    "SET extra_float_digits = 1; SET jit = off; SET max_parallel_workers_per_gather = 2"
)
SUM = SQL(
    "sum(CASE WHEN {column} IS NULL THEN hashint8extended(k, 1) "
    "ELSE hashtextextended(concat({column}), k) END)::text"
)
COLUMNS = """
SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
UNIQUE = "SELECT count(*) FROM pg_index WHERE indrelid = to_regclass(%s) AND indisunique"


@dataclass(frozen=True)
class Contents:
    """A table's columns, how many unique indexes it has, its rows and the sum of each column."""

    types: Mapping[str, tuple[str, bool]]
    unique: int
    rows: int
    sums: Mapping[str, str]


def contents(url: str, table: str, key: str, only: Sequence[str] | None = None) -> Contents | None:
    """Read a table, named as in SQL; of `only` these columns, where it has them."""
    with _reading(url) as at:
        at.execute(COLUMNS, (table,))
        types = {name: (kind, required) for name, kind, required in at.fetchall()}
        names = [name for name in types if only is None or name in only]
        if key not in names:
            return None
        at.execute(UNIQUE, (table,))
        (unique,) = at.fetchone() or (0,)
        at.execute(_statement(table, key, names))
        rows, *sums = at.fetchone() or ()
        return Contents(types, unique, rows, dict(zip(names, sums, strict=True)))


def _statement(table: str, key: str, names: Sequence[str]) -> Composed:
    sums = SQL(", ").join(SUM.format(column=Identifier(name)) for name in names)
    keyed = "(SELECT *, hashtextextended({key}::text, 0) AS k FROM {table}) keyed"
    return SQL("SELECT count(*), {sums} FROM " + keyed).format(
        sums=sums, key=Identifier(key), table=SQL(table)
    )


def verdict(there: Contents | None, here: Contents) -> tuple[bool, str]:
    """Whether a copy (`there`) holds what its source holds, and what is different about it."""
    if there is None:
        return False, "no table"
    said: list[str] = []
    if there.rows != here.rows:
        said.append(f"{there.rows:,} rows of {here.rows:,}")
    wrong = [name for name in here.sums if there.sums.get(name) != here.sums[name]]
    if wrong and there.rows == here.rows:
        said.append(f"other values in {', '.join(wrong)}")
    exact = not said
    retyped = [
        name
        for name, (kind, _) in here.types.items()
        if name in there.types and there.types[name][0] != kind
    ]
    if retyped:
        said.append(f"{len(retyped)} of {len(here.types)} columns of another type")
    if not there.unique:
        said.append("no key")
    return exact, "; ".join(said)


@contextmanager
def _reading(url: str) -> Iterator[cursor]:
    with closing(psycopg2.connect(url)) as session, session.cursor() as at:
        session.autocommit = True
        at.execute(SETTINGS)
        yield at
