"""The rows `incremental_sync` reads by its cursor column: from the last mark, looked back, on."""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg2
from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine import errors
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.catalog import AT_LEAST
from sync_assets.engine.postgres.equality import anywhere, operator_of
from sync_assets.engine.postgres.relation import Column
from sync_assets.engine.postgres.session import Cursor, row
from sync_assets.engine.snapshot.scope import own_names, under
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.state.state import State
from sync_assets.engine.table import Table

DATES = "D"
"""The category of date and time types: pg_type.typcategory."""

NUMBERS = "N"
"""The category of numeric types: pg_type.typcategory."""

_NOW = {
    "timestamp with time zone": "{now}::pg_catalog.timestamptz",
    # Written by clocks of the source's own zone, as far as anybody can know.
    "timestamp without time zone": "{now}::pg_catalog.timestamptz AT TIME ZONE {zone}",
    "date": "({now}::pg_catalog.timestamptz AT TIME ZONE {zone})::pg_catalog.date",
}


@dataclass(frozen=True, slots=True)
class CursorRange:
    """The cursor's values that are read, as text of its type; `operator` is that type's `>=`.

    `since` is None where no run has left a mark; `mark` is what this run leaves.
    """

    column: str
    type: str
    since: str | None
    mark: str | None
    operator: str = "OPERATOR(pg_catalog.>=)"

    def predicate(self) -> Composable:
        """SQL that holds for rows at or after `since`."""
        return _at_least(self.column, self.operator, self.since, self.type)


def _at_least(column: str, operator: str, value: str | None, type_: str) -> Composable:
    return SQL("{} {} {}::{}").format(
        Identifier(column), SQL(operator), Literal(value), SQL(anywhere(type_))
    )


def read_range(
    cursor: Cursor, table: Table, view: SourceRelation, known: State | None
) -> CursorRange:
    """The range on the view's snapshot; raises ConfigurationError.

    The mark is the highest cursor seen, but no later than the snapshot: a row with a date in the
    future must not hide those that come before it.
    """
    column = _column(table, view)
    before = known.cursor_mark if known and known.cursor_column == column.name else None
    (category,) = row(cursor, "SELECT typcategory FROM pg_type WHERE oid = %s", (column.type_oid,))
    since = _looked_back(cursor, table, column, category, before)
    operator = operator_of(cursor, column.type_oid, AT_LEAST)
    with under(cursor, own_names(table, view.relation, view.types)):
        mark = _mark(cursor, table, view, column, operator, before)
    return CursorRange(column.name, column.type, since, mark, operator)


def _column(table: Table, view: SourceRelation) -> Column:
    found = next((each for each in view.columns if each.name == table.cursor), None)
    if found is None:
        has = ", ".join(each.name for each in view.columns)
        raise errors.ConfigurationError(
            f"the cursor names {table.cursor!r}, which {table.source} does not have",
            remedy=f"Its columns are {has}.",
        )
    return found


def _looked_back(
    cursor: Cursor, table: Table, column: Column, category: str, before: str | None
) -> str | None:
    if table.lookback is None:
        return before
    kind = {DATES: "interval", NUMBERS: "numeric"}.get(category)
    problem = f"a cursor of type {column.type} cannot be looked back" if kind is None else None
    if problem is None:
        statement = SQL("SELECT ({}::{} - {}::{kind})::{}::text").format(
            Literal(before),
            SQL(column.type),
            Literal(table.lookback),
            SQL(column.type),
            kind=SQL(kind or ""),
        )
        cursor.execute("SAVEPOINT lookback")
        try:
            (since,) = row(cursor, statement)
        except psycopg2.DataError as error:
            problem = error.diag.message_primary
        cursor.execute("ROLLBACK TO lookback; RELEASE lookback")
    if problem is not None:
        raise errors.ConfigurationError(
            f"lookback {table.lookback!r} does not fit the cursor {column.name!r}: {problem}",
            remedy="Write an interval, such as 10 minutes, for a time, and a number for a number.",
        )
    return None if since is None else str(since)


def _mark(
    cursor: Cursor,
    table: Table,
    view: SourceRelation,
    column: Column,
    operator: str,
    before: str | None,
) -> str | None:
    name, type_ = Identifier(column.name), SQL(anywhere(column.type))
    from_mark = _at_least(column.name, operator, before, column.type)
    highest = SQL(
        "(SELECT {name} FROM {only}{relation} WHERE {condition} ORDER BY {name} DESC LIMIT 1)"
    ).format(
        name=name,
        only=SQL("ONLY " if table.only else ""),
        relation=identifiers.relation(table.source),
        condition=SQL("{} IS NOT NULL").format(name) if before is None else from_mark,
    )
    now = _NOW.get(re.sub(r"\(\d+\)", "", column.type))
    if now is not None:
        zone = (
            "(SELECT reset_val FROM pg_catalog.pg_settings"
            " WHERE name OPERATOR(pg_catalog.=) 'TimeZone')"
        )
        clock = SQL(now).format(now=Literal(view.snapshot.taken_at.isoformat()), zone=SQL(zone))
        highest = SQL("least({}, {})").format(highest, clock)
    statement = SQL("SELECT greatest({}, {}::{})::pg_catalog.text").format(
        highest, Literal(before), type_
    )
    try:
        (mark,) = row(cursor, statement)
    except psycopg2.errors.UndefinedFunction:
        mark, ordered = None, False
    else:
        ordered = True
    if not ordered:
        raise errors.ConfigurationError(
            f"the cursor {column.name!r} of {table.source} is {column.type}, which has no order",
            remedy="Name a column that grows with every change, a time or a number.",
        )
    return None if mark is None else str(mark)
