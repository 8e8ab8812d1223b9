"""Connections to both databases: how they are opened, cancelled and made to speak alike.

What goes wrong here becomes a `SyncError` in `driver_errors`, the driver's boundary.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

Connection = psycopg2.extensions.connection
Cursor = psycopg2.extensions.cursor
Statement = str | sql.Composable
Result = TypeVar("Result")

SOURCE_VERSION, TARGET_VERSION = 140000, 150000

PINNED = (
    # What text a value becomes, and is read from, depends on these: both ends must agree.
    "SET LOCAL DateStyle = 'ISO, YMD'",
    "SET LOCAL IntervalStyle = 'postgres'",
    "SET LOCAL TimeZone = 'UTC'",
    "SET LOCAL extra_float_digits = 1",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL lc_monetary = 'C'",
    "SET LOCAL xmloption = 'content'",
    "SET LOCAL array_nulls = on",
    "SET LOCAL standard_conforming_strings = on",
)
UNPINNED = tuple(re.sub(r"(SET LOCAL \w+) = .*", r"\1 TO DEFAULT", each) for each in PINNED)
# Whoever may create in a schema of the role's search_path could put a function or an operator there
# that fits a call of ours better than PostgreSQL's own, and it would run with our rights.
PINNED_NAMES = "search_path = pg_catalog"
CATALOG_NAMES = f"SET LOCAL {PINNED_NAMES}"
OWN_NAMES = "SET LOCAL search_path TO DEFAULT"
"""The role's own path, as role, database or URL have it: whatever a session has SET is left out."""
UNHURRIED = (
    # Again in each transaction: a pooler may have put another session under it.
    CATALOG_NAMES,
    # The planner takes queries of the catalog for long ones: compiling them took seconds each.
    "SET LOCAL jit = off",
    # A policy that hides rows must be an error: hidden rows would look deleted.
    "SET LOCAL row_security = off",
    # The catalog's own words, format_type() among them, are compared between the two ends.
    "SET LOCAL quote_all_identifiers = off",
)
UNFLUSHED = "SET LOCAL synchronous_commit = off"
"""For what counts only once a later transaction has published it: its COMMIT flushes this too."""

SCANNED = ("SET LOCAL enable_indexscan = off", "SET LOCAL enable_bitmapscan = off")
"""For what is to be read through the small ring of buffers that a sequential scan of a large table has:
neither an index nor a bitmap is."""

READ_COMMITTED = "BEGIN ISOLATION LEVEL READ COMMITTED"
READ_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


_PATIENCE = {
    # Seconds, and for the last one milliseconds: a dead peer is noticed within about a minute.
    "connect_timeout": 15,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


def opened(url: str, application: str, **instead: str) -> Connection:
    """A connection with our time-outs where the URL has none, whose values are quoted as they are read.

    `instead` is taken in place of what the URL has, by libpq's names.

    The driver quotes every value by what standard_conforming_strings was when it connected: were that
    off, a value could end its own quotes in a transaction that sets it on. Raises the driver's errors.
    """
    given = psycopg2.extensions.parse_dsn(url)
    patience = {name: each for name, each in _PATIENCE.items() if name not in given}
    connect = partial(
        psycopg2.connect,
        url,
        application_name=application,
        client_encoding="UTF8",
        **patience,
        **instead,
    )
    connection: Connection = connect()
    if connection.get_parameter_status("standard_conforming_strings") == "off":
        connection.close()
        options = f"{given.get('options', '')} -c standard_conforming_strings=on"
        connection = connect(options=options)
    return connection


@contextlib.contextmanager
def transaction(
    connection: Connection, *first: Statement, begin: str = READ_COMMITTED
) -> Iterator[psycopg2.extensions.cursor]:
    """One explicit transaction: committed at the end, rolled back on an error.

    What is to be done `first`, mostly settings, goes with the BEGIN in one round trip; the cursor
    has the last one's rows. Who is inside may commit earlier.
    """
    texts = [each if isinstance(each, str) else each.as_string(connection) for each in first]
    with connection.cursor() as cursor:
        try:
            cursor.execute("; ".join((begin, *UNHURRIED, *texts)))
            yield cursor
        except BaseException:
            # In the middle of a COPY a rollback would first read it to its end: closing the
            # connection, which follows, is what ends it.
            if _status(connection) != psycopg2.extensions.TRANSACTION_STATUS_ACTIVE:
                with contextlib.suppress(psycopg2.Error):
                    cursor.execute("ROLLBACK")
            raise
        if _status(connection) != psycopg2.extensions.TRANSACTION_STATUS_IDLE:
            cursor.execute("COMMIT")


def encoding_of(connection: Connection) -> str:
    """The encoding of its database, which every server says when it is connected to."""
    return str(connection.get_parameter_status("server_encoding"))


def _status(connection: Connection) -> int:
    return connection.info.transaction_status


def rows(
    cursor: psycopg2.extensions.cursor,
    statement: Statement,
    values: Sequence[Any] | dict[str, Any] | None = None,
) -> list[tuple[Any, ...]]:
    """Execute and fetch everything."""
    cursor.execute(statement, values)
    return cursor.fetchall()


def row(
    cursor: psycopg2.extensions.cursor,
    statement: Statement,
    values: Sequence[Any] | dict[str, Any] | None = None,
) -> tuple[Any, ...]:
    """Execute a statement that returns exactly one row."""
    (found,) = rows(cursor, statement, values)
    return found


@contextlib.contextmanager
def pinned(cursor: Cursor) -> Iterator[None]:
    """Compare rows as text that any two different values do not share."""
    cursor.execute("; ".join(PINNED))
    yield
    cursor.execute("; ".join(UNPINNED))
