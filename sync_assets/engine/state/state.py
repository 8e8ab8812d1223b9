"""What the target remembers of each table: the mark, whom it came from, and the receipts.

It lives beside the data, in the target's schema `sync_assets`, and commits with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from psycopg2.sql import SQL

from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.relation import LeafColumn
from sync_assets.engine.postgres.session import Connection, Cursor, rows, transaction
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.snapshot.pages import Position
from sync_assets.engine.state.shape import RememberedColumns, from_json, leaf_columns
from sync_assets.engine.state.tables import STATE_VERSION, migrate, version_of
from sync_assets.engine.table import Table


@dataclass(frozen=True, slots=True)
class StateLeaf:
    """A leaf of the source as the last run saw it.

    Where it is stored counts for what reads by page; oid and columns decide the rest.
    """

    oid: int
    filenode: int
    tablespace: int
    columns: tuple[LeafColumn, ...] = ()


# A tuple: the states of a thousand tables have a hundred thousand of them.
class Witness(NamedTuple):
    """A row by the text of its key, with the 64-bit xid of its version, or the lower mark it was seen by."""

    xid: int
    key: Sequence[str]


# One row of our state table, with its leaves: each other field is a column.
@dataclass(frozen=True, slots=True)
class State:
    """The state of one table after its last run; `version` guards against a lost update.

    `positions` are where the next run's WAL window may start. `mapped` says that the target has a
    map of the source's keys by page, `history` which table has followed all versions of its rows.
    """

    version: int
    watermark: int
    snapshot_xmax: int
    lsn: int
    source_max_xmin: int | None
    system_identifier: str | None
    database: int
    timeline: int | None
    postmaster_start: datetime
    configuration: str
    target_storage: str
    rows_in_target: int | None
    snapshot_at: datetime
    cursor_column: str | None
    cursor_mark: str | None
    samples: tuple[Witness, ...]
    leaves: tuple[StateLeaf, ...]
    positions: tuple[Position, ...] = ()
    mapped: bool = False
    columns: RememberedColumns | None = None
    history: str | None = None


_COLUMNS = {"lsn": "source_lsn", "database": "source_database", "mapped": "map"}
"""How a column is called where it is not called as its attribute."""

FIELDS = {
    _COLUMNS.get(field.name, field.name): field.name
    for field in fields(State)
    if field.name != "leaves"
}
"""Columns of `sync_assets.state`, with the attribute of `State` that each holds."""


# A map that was dropped, emptied or restored from elsewhere is not the one that was written.
MAP = "(SELECT oid || '/' || relfilenode FROM pg_catalog.pg_class WHERE oid = to_regclass({}))"
_READ = [
    f"coalesce(s.map = {MAP.format('wanted.map_name')}, false)" if name == "map" else f"s.{name}"
    for name in FIELDS
]


def keys_by_page_of(target: RelationName) -> RelationName:
    """The table that maps the source's pages to a target's keys (`merge.keys_by_page`)."""
    text = f"{target.schema}\0{target.name}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return RelationName("sync_assets", f"keys_by_page_{digest}")


def read(cursor: Cursor, target: RelationName) -> State | None:
    """The state of a target table, or None before its first run."""
    return recall(cursor, target) if version_of(cursor) is not None else None


def read_current(cursor: Cursor, target: RelationName) -> State | None:
    """The state of a target table, or None also where an older version has written it."""
    return recall(cursor, target) if version_of(cursor) == STATE_VERSION else None


def recall(cursor: Cursor, target: RelationName) -> State | None:
    """The state of a target table, from state tables that are known to exist."""
    return recall_all(cursor, [target]).get(target)


_STATES = f"""
SELECT wanted.schema, wanted.name, {", ".join(_READ)},
  (SELECT json_agg(json_build_array(leaf, filenode, tablespace, l.columns) ORDER BY leaf)
   FROM sync_assets.state_leaf AS l
   WHERE (l.target_schema, l.target_table) = (wanted.schema, wanted.name))
FROM unnest(%s::text[], %s::text[], %s::text[]) AS wanted (schema, name, map_name)
JOIN sync_assets.state AS s ON (s.target_schema, s.target_table) = (wanted.schema, wanted.name)
"""  # noqa: S608 - constants only


def recall_all(cursor: Cursor, targets: Sequence[RelationName]) -> dict[RelationName, State]:
    """The states of those target tables that have one, from state tables that exist."""
    wanted = [(each.schema, each.name, keys_by_page_of(each).as_sql) for each in targets]
    found = rows(cursor, _STATES, [list(column) for column in zip(*wanted, strict=True)])
    return {RelationName(schema, name): _state(*values) for schema, name, *values in found}


def _state(*columns: Any) -> State:
    *values_found, leaves = columns
    values = dict(zip(FIELDS.values(), values_found, strict=True))
    values["samples"] = tuple(map(Witness._make, values["samples"]))
    values["positions"] = tuple(Position(*pair) for pair in values["positions"])
    values["columns"] = from_json(values["columns"])
    known = (
        StateLeaf(oid, filenode, tablespace, leaf_columns(seen))
        for oid, filenode, tablespace, seen in leaves or ()
    )
    return State(**values, leaves=tuple(known))


def find_receipts(
    cursor: Cursor, tables: Sequence[Table], run_id: str
) -> dict[RelationName, Receipt]:
    """The receipts a run has left; found when the reply to its COMMIT was lost. Needs the tables."""
    found = rows(
        cursor,
        "SELECT target_schema, target_table, receipt FROM sync_assets.receipt "
        "WHERE run_id = %s AND (target_schema, target_table) IN %s",
        (run_id, tuple((table.target.schema, table.target.name) for table in tables)),
    )
    return {RelationName(*name): Receipt.from_dict(receipt) for *name, receipt in found}


def past_seconds(cursor: Cursor, target: RelationName, mode: str, *, full: bool) -> list[float]:
    """How long the last runs of this kind took, over every row or not, without what they waited."""
    if version_of(cursor) is None:
        return []
    found = rows(
        cursor,
        "SELECT (receipt->'seconds'->>'total')::float8 "
        "- coalesce((receipt->'seconds'->>'wait')::float8, 0) FROM sync_assets.receipt "
        "WHERE target_schema = %s AND target_table = %s AND receipt->>'mode' = %s "
        "AND (receipt->>'full')::boolean = %s ORDER BY id DESC LIMIT 20",
        (target.schema, target.name, mode, full),
    )
    return [seconds for (seconds,) in found]


def drop_keys_by_page(cursor: Cursor, target: RelationName) -> None:
    """Drop a target's map, if it has one: the next run that can use one builds it."""
    cursor.execute(
        SQL("DROP TABLE IF EXISTS {}").format(identifiers.relation(keys_by_page_of(target)))
    )


KEPT = 100


def kept(known: State | None, now: tuple[Witness, ...]) -> tuple[Witness, ...]:
    """What the state remembers after a run: the newest of what was known and of now, each key once.

    What was known is remembered by the mark that it was seen under, if that is lower: a transaction
    that was open then may have written the row again since, and its xid may be older.
    """
    before = known.samples if known else ()
    mark = known.watermark if known else 0
    capped = (Witness(min(each.xid, mark), each.key) for each in before)
    by_key = {tuple(each.key): each for each in (*capped, *now)}
    return tuple(sorted(by_key.values(), key=lambda each: -each.xid)[:KEPT])


States = Mapping[RelationName, State | None]


def states_of(cursor: Cursor, tables: Sequence[Table]) -> States:
    """What the target remembers of the tables; what an older version has written is migrated."""
    targets = [table.target for table in tables]
    found = recall_all(cursor, targets) if migrate(cursor) else {}
    return {target: found.get(target) for target in targets}


def peek(target: Connection, tables: Sequence[Table]) -> States:
    """What the target remembers of the tables, which stays as an older version has written it."""
    with transaction(target) as cursor:
        states = states_of(cursor, tables)
        cursor.execute("ROLLBACK")
    return states
