"""Compare tables of two databases exactly, by digests of their COPY output.

This module judges the engine, so it shares no code with it: psycopg2, COPY and SHA-256 only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection

SETTINGS = {
    "client_encoding": "UTF8",
    "search_path": "pg_catalog",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "row_security": "off",
}
"""Everything that shapes values as text is the same on both ends."""

POSITIONS = ("pg_lsn", "_pg_lsn")
"""WAL positions, alone and in arrays: PostgreSQL 19 writes 0/0000000A where 18 writes 0/A."""

MISSING = (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn)

Name = tuple[str, str]
"""A relation by schema and name, as the catalog stores them."""


@dataclass(frozen=True, slots=True)
class Digest:
    """All rows of one table: how many, and the hash of their text in order."""

    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """One table on both ends; a `problem` says why an end could not be read."""

    source: str
    target: str
    source_digest: Digest | None
    target_digest: Digest | None
    problem: str = ""

    @property
    def equal(self) -> bool:
        """Whether both ends hold exactly the same rows."""
        return self.source_digest is not None and self.source_digest == self.target_digest


def compare(
    source_url: str, target_url: str, tables: Sequence[tuple[Name, Name]]
) -> list[Comparison]:
    """Compare each pair of tables, by the source's columns; the target may have more of its own."""
    with _session(source_url) as source, _session(target_url) as target:
        return [_compare_table(source, target, *names) for names in tables]


def table_digest(url: str, name: Name) -> Digest:
    """Return the digest of one table over all its columns."""
    with _session(url) as session:
        return _digest(session, name, _columns(session, name))


def _compare_table(source: connection, target: connection, here: Name, there: Name) -> Comparison:
    digests: list[Digest | None] = []
    problem = ""
    columns = _columns(source, here)
    for session, name in ((source, here), (target, there)):
        try:
            digests.append(_digest(session, name, columns))
        except MISSING as error:  # noqa: PERF203 (there are two ends)
            problem = problem or str(error).splitlines()[0]
            digests.append(None)
    return Comparison(".".join(here), ".".join(there), digests[0], digests[1], problem)


def _columns(session: connection, name: Name) -> list[sql.Composable]:
    """The columns, each as it is read on either end."""
    with session.cursor() as cursor:
        cursor.execute(
            "SELECT a.attname, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
            "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped "
            "ORDER BY a.attnum",
            name,
        )
        return [_read(sql.Identifier(column), type_) for column, type_ in cursor.fetchall()]


def _read(column: sql.Composable, type_: str) -> sql.Composable:
    if type_ not in POSITIONS:
        return column
    return sql.SQL("regexp_replace({}::text, '/0+(?=[0-9A-F])', '/', 'g')").format(column)


def _digest(session: connection, name: Name, columns: Sequence[sql.Composable]) -> Digest:
    values = sql.SQL(", ").join(columns)
    # The whole row's text, as bytes, orders alike on every server: no collation has a say, and
    # rows that tie are equal.
    statement = sql.SQL(
        "COPY (SELECT {values} FROM {table} ORDER BY convert_to(ROW({values})::text, 'UTF8'))"
        " TO STDOUT"
    ).format(values=values, table=sql.Identifier(*name))
    lines = _HashedLines()
    with session.cursor() as cursor:
        cursor.copy_expert(statement, lines)
    return Digest(lines.count, lines.hash.hexdigest())


class _HashedLines:
    """A file that only hashes what is written to it, and counts its lines."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.count = 0

    def write(self, data: bytes) -> int:
        """Take a piece of the COPY; a line break inside a value arrives escaped."""
        self.hash.update(data)
        self.count += data.count(b"\n")
        return len(data)

    def read(self, _size: int = -1) -> bytes:
        """Do nothing: psycopg2 wants the method to exist."""
        return b""


@contextmanager
def _session(url: str) -> Iterator[connection]:
    with closing(psycopg2.connect(url, application_name="sync-assets compare")) as session:
        session.set_session(readonly=True, autocommit=True)
        with session.cursor() as cursor:
            for name, value in SETTINGS.items():
                cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
        yield session
