"""Cheaper questions than a whole comparison: is the key sound, are rows and columns there.

Each answers with counts: no value leaves a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.sql import SQL, Identifier

from sync_assets.engine import errors
from sync_assets.engine.layout.widening import holds
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.connection import ask
from sync_assets.engine.postgres.session import Cursor, row
from sync_assets.engine.table import SyncMode, Table
from sync_assets.engine.verify.ends import BothEnds, on_both, target_relation


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """The target's key: rows in all, those with a NULL in it, and keys that more than one has."""

    columns: tuple[str, ...]
    rows: int
    nulls: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class RowCount:
    """Rows of both ends; `settled` are those of the source that the last sync must have seen.

    Where they are `unsettled`, a difference may have come since: their source tells no versions.
    """

    source: int
    settled: int
    target: int
    unsettled: bool = False

    @property
    def tells(self) -> bool:
        """Whether they can say anything: that no row is missing follows from no settled row."""
        return self.settled > 0 or self.source == self.target


@dataclass(frozen=True, slots=True)
class Drift:
    """Columns by name: what the target lacks, holds in another type, or has beside the source."""

    missing: tuple[str, ...]
    differing: tuple[str, ...]
    extra: tuple[str, ...]


def check_key(target_url: DatabaseOrUrl, table: Table) -> KeyCheck | None:
    """Count what breaks the key on the target, by its rows and not by its index; raises SyncError.

    None where the table is synced without a key.
    """

    def check(cursor: Cursor) -> KeyCheck | None:
        relation = target_relation(cursor, table)
        columns = table.key or (relation.keys[0].columns if relation.keys else ())
        if not columns and table.mode is SyncMode.FULL_SYNC:
            return None
        return _key_of(cursor, table, columns)

    return ask(target_url, check, "target")


def _key_of(cursor: Cursor, table: Table, columns: Sequence[str]) -> KeyCheck:
    if not columns:
        raise errors.UnusableKey(f"the target {table.target} has no key to check")
    # An index that lost an entry would answer as if nothing were wrong.
    cursor.execute(
        "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off;"
        " SET LOCAL enable_bitmapscan = off"
    )
    name = identifiers.relation(table.target)
    null = SQL(" OR ").join(SQL("{} IS NULL").format(Identifier(each)) for each in columns)
    count = SQL("SELECT count(*), count(*) FILTER (WHERE {}) FROM {}").format(null, name)
    total, nulls = row(cursor, count)
    (duplicates,) = row(
        cursor,
        SQL(
            "SELECT count(*) FROM (SELECT FROM {} GROUP BY {} HAVING count(*) > 1) AS twice"
        ).format(name, SQL(", ").join(map(Identifier, columns))),
    )
    return KeyCheck(tuple(columns), total, nulls, duplicates)


def count_rows(source_url: DatabaseOrUrl, target_url: DatabaseOrUrl, table: Table) -> RowCount:
    """Count the rows of both ends, under the table's lock; raises SyncError."""
    return on_both(source_url, target_url, table, _counts)


def schema_drift(source_url: DatabaseOrUrl, target_url: DatabaseOrUrl, table: Table) -> Drift:
    """Compare the columns of both ends; raises SyncError."""
    return on_both(source_url, target_url, table, _drift)


def _counts(ends: BothEnds) -> RowCount:
    statement = SQL(
        "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE {}) FROM {} WHERE {}"
    )
    total, settled = row(
        ends.source, statement.format(ends.already_synced, ends.from_source, ends.in_scope)
    )
    statement = SQL("SELECT count(*) FROM {} WHERE {}")
    (target,) = row(ends.target, statement.format(ends.from_target, ends.live))
    return RowCount(total, settled, target, ends.unsettled)


def _drift(ends: BothEnds) -> Drift:
    theirs = {column.name: column for column in ends.relation.columns}
    here = ends.view.relation.columns
    ours = {ends.table.xmin_column, ends.table.deleted_column}
    return Drift(
        tuple(column.name for column in here if column.name not in theirs),
        tuple(
            f"{column.name}: {column.type} on the source, {theirs[column.name].type} on the target"
            for column in here
            if column.name in theirs and not holds(column.type, theirs[column.name].type)
        ),
        tuple(sorted(theirs.keys() - ours - {column.name for column in here})),
    )
