"""What the target remembers of each table: the mark, whom it came from, and the receipts.

It lives beside the data, in the target's schema `sync_assets`, and commits with it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from sync_assets.engine import errors
from sync_assets.engine.blocks import Position
from sync_assets.engine.catalog import LeafColumn
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.retention import receipts_kept
from sync_assets.engine.session import Cursor, rows
from sync_assets.engine.shape import Shape, from_json, leaf_columns, leaf_json
from sync_assets.engine.state_tables import STATE_VERSION, version_of
from sync_assets.engine.table import RelationName

_FORGET = """
DELETE FROM sync_assets.receipt
WHERE target_schema = %(target_schema)s AND target_table = %(target_table)s AND id <= (
  SELECT id FROM sync_assets.receipt
  WHERE target_schema = %(target_schema)s AND target_table = %(target_table)s
  ORDER BY id DESC OFFSET %(kept)s LIMIT 1)
"""


@dataclass(frozen=True, slots=True)
class KnownLeaf:
    """A leaf of the source as the last run saw it.

    Where it is stored counts for what reads by page; oid and columns decide the rest.
    """

    oid: int
    filenode: int
    tablespace: int
    columns: tuple[LeafColumn, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """A row by the text of its key, with the 64-bit xid of its version."""

    xid: int
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """The state of one table after its last run; `version` guards against a lost update.

    `positions` are where the next run's WAL window may start. `mapped` says that the target has a
    map of the source's keys by page.
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
    samples: tuple[Sample, ...]
    leaves: tuple[KnownLeaf, ...]
    positions: tuple[Position, ...] = ()
    mapped: bool = False
    columns: Shape | None = None


_FIELDS = {
    "version": "version",
    "watermark": "watermark",
    "snapshot_xmax": "snapshot_xmax",
    "source_lsn": "lsn",
    "source_max_xmin": "source_max_xmin",
    "system_identifier": "system_identifier",
    "source_database": "database",
    "timeline": "timeline",
    "postmaster_start": "postmaster_start",
    "configuration": "configuration",
    "target_storage": "target_storage",
    "rows_in_target": "rows_in_target",
    "snapshot_at": "snapshot_at",
    "cursor_column": "cursor_column",
    "cursor_mark": "cursor_mark",
    "columns": "columns",
    "samples": "samples",
    "positions": "positions",
    "map": "mapped",
}
"""Columns of `sync_assets.state`, with the attribute of `Known` that each holds."""


# A map that was dropped, emptied or restored from elsewhere is not the one that was written.
_MAP = "(SELECT oid || '/' || relfilenode FROM pg_catalog.pg_class WHERE oid = to_regclass(%(map_name)s))"
_READ = [f"coalesce(map = {_MAP}, false)" if name == "map" else name for name in _FIELDS]
_WRITTEN = {"map": f"CASE WHEN %(mapped)s THEN {_MAP} END"}
"""What a column is written as where it is not a plain value."""


def map_of(target: RelationName) -> RelationName:
    """The table that maps the source's pages to a target's keys (`page_map`)."""
    text = f"{target.schema}\0{target.name}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return RelationName("sync_assets", f"keys_by_page_{digest}")


def read(cursor: Cursor, target: RelationName) -> Known | None:
    """The state of a target table, or None before its first run."""
    return recall(cursor, target) if version_of(cursor) is not None else None


def read_current(cursor: Cursor, target: RelationName) -> Known | None:
    """The state of a target table, or None also where an older version has written it."""
    return recall(cursor, target) if version_of(cursor) == STATE_VERSION else None


def recall(cursor: Cursor, target: RelationName) -> Known | None:
    """The same where the state's tables are there."""
    found = rows(
        cursor,
        f"SELECT {', '.join(_READ)}, "  # noqa: S608 - constants only
        "(SELECT json_agg(json_build_array(leaf, filenode, tablespace, columns) ORDER BY leaf) "
        "FROM sync_assets.state_leaf WHERE (target_schema, target_table) = "
        "(s.target_schema, s.target_table)) "
        "FROM sync_assets.state AS s "
        "WHERE target_schema = %(schema)s AND target_table = %(table)s",
        {"schema": target.schema, "table": target.name, "map_name": str(map_of(target))},
    )
    if not found:
        return None
    *values_found, leaves = found[0]
    values = dict(zip(_FIELDS.values(), values_found, strict=True))
    values["samples"] = tuple(Sample(xid, tuple(key)) for xid, key in values["samples"])
    values["positions"] = tuple(Position(*pair) for pair in values["positions"])
    values["columns"] = from_json(values["columns"])
    known = (
        KnownLeaf(oid, filenode, tablespace, leaf_columns(seen))
        for oid, filenode, tablespace, seen in leaves or ()
    )
    return Known(**values, leaves=tuple(known))


def receipt_of(cursor: Cursor, target: RelationName, run_id: str) -> Receipt | None:
    """The receipt a run has left; found when the reply to its COMMIT was lost. Needs the tables."""
    found = rows(
        cursor,
        "SELECT receipt FROM sync_assets.receipt "
        "WHERE target_schema = %s AND target_table = %s AND run_id = %s",
        (target.schema, target.name, run_id),
    )
    return Receipt.from_dict(found[0][0]) if found else None


def past_seconds(cursor: Cursor, target: RelationName, mode: str, *, full: bool) -> list[float]:
    """How long the last runs of this kind took, over every row or not."""
    if version_of(cursor) is None:
        return []
    found = rows(
        cursor,
        "SELECT (receipt->'seconds'->>'total')::float8 FROM sync_assets.receipt "
        "WHERE target_schema = %s AND target_table = %s AND receipt->>'mode' = %s "
        "AND (receipt->>'full')::boolean = %s ORDER BY id DESC LIMIT 20",
        (target.schema, target.name, mode, full),
    )
    return [seconds for (seconds,) in found]


def advance(
    cursor: Cursor,
    target: RelationName,
    source: RelationName,
    before: Known | None,
    after: Known,
    receipt: Receipt,
) -> None:
    """Write state and receipt inside the publishing transaction; raises ConcurrentRun."""
    values: dict[str, object] = {
        "source_schema": source.schema,
        "source_table": source.name,
        "mode": receipt.mode,
        "run_id": receipt.run_id,
    }
    kept = {column: getattr(after, name) for column, name in _FIELDS.items() if name != "version"}
    mapping = {"mapped": after.mapped, "map_name": str(map_of(target))}
    values |= kept | {
        "samples": json.dumps([(each.xid, each.key) for each in after.samples]),
        "positions": json.dumps([(each.next_xid, each.lsn) for each in after.positions]),
        "columns": after.columns.as_json() if after.columns else None,
    }
    place = {"target_schema": target.schema, "target_table": target.name}
    if before is None:
        _execute_insert(cursor, values | place, mapping)
    else:
        _execute_update(cursor, values, {**place, **mapping}, before.version)
    if cursor.rowcount != 1:
        raise errors.ConcurrentRun(f"another run has changed the state of {target} meanwhile")
    if before is None or before.leaves != after.leaves:
        _write_leaves(cursor, target, after.leaves)
    cursor.execute(
        "INSERT INTO sync_assets.receipt (target_schema, target_table, run_id, receipt) "
        "VALUES (%s, %s, %s, %s)",
        (target.schema, target.name, receipt.run_id, json.dumps(receipt.as_dict())),
    )
    cursor.execute(_FORGET, {**place, "kept": receipts_kept()})


def _execute_insert(cursor: Cursor, values: dict[str, object], mapping: dict[str, object]) -> None:
    names = ", ".join(values)
    marks = ", ".join(_WRITTEN.get(name, f"%({name})s") for name in values)
    cursor.execute(
        f"INSERT INTO sync_assets.state (version, {names}) "  # noqa: S608 - our own column names
        f"VALUES (1, {marks}) ON CONFLICT DO NOTHING",
        values | mapping,
    )


def _execute_update(
    cursor: Cursor, values: dict[str, object], place: dict[str, object], version: int
) -> None:
    assignments = ", ".join(f"{name} = {_WRITTEN.get(name, f'%({name})s')}" for name in values)
    cursor.execute(
        f"UPDATE sync_assets.state SET {assignments}, "  # noqa: S608 - our own column names
        "version = version + 1, synced_at = clock_timestamp() "
        "WHERE target_schema = %(target_schema)s AND target_table = %(target_table)s "
        "AND version = %(read_version)s",
        values | place | {"read_version": version},
    )


def _write_leaves(cursor: Cursor, target: RelationName, leaves: tuple[KnownLeaf, ...]) -> None:
    cursor.execute(
        "DELETE FROM sync_assets.state_leaf WHERE target_schema = %s AND target_table = %s",
        (target.schema, target.name),
    )
    cursor.execute(
        "INSERT INTO sync_assets.state_leaf "
        "SELECT %s, %s, * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], "
        "%s::jsonb[])",
        (
            target.schema,
            target.name,
            [leaf.oid for leaf in leaves],
            [leaf.filenode for leaf in leaves],
            [leaf.tablespace for leaf in leaves],
            [leaf_json(leaf.columns) for leaf in leaves],
        ),
    )
