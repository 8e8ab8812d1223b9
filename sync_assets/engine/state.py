"""What the target remembers of each table: the mark, whom it came from, and the receipts.

It lives beside the data, in the target's schema `sync_assets`, and commits with it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

import psycopg2.extensions

from sync_assets.engine import errors
from sync_assets.engine.lock import advisory_key
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.session import Connection, create_schema, row, rows, transaction
from sync_assets.engine.table import RelationName

Cursor = psycopg2.extensions.cursor

STATE_VERSION = 1
"""Raise it with every change of the tables below, and migrate."""

_TABLES = """
CREATE TABLE IF NOT EXISTS sync_assets.version (version integer PRIMARY KEY);
INSERT INTO sync_assets.version VALUES (%(version)s) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS sync_assets.state (
  target_schema text, target_table text, PRIMARY KEY (target_schema, target_table),
  version bigint NOT NULL,
  source_schema text NOT NULL, source_table text NOT NULL,
  mode text NOT NULL,
  watermark bigint NOT NULL,
  snapshot_xmax bigint NOT NULL,
  source_lsn bigint NOT NULL,
  source_max_xmin bigint,
  system_identifier text, source_database bigint NOT NULL, timeline integer,
  postmaster_start timestamptz NOT NULL,
  fingerprint text NOT NULL, configuration text NOT NULL, target_storage text NOT NULL,
  rows_in_target bigint,
  snapshot_at timestamptz NOT NULL,
  synced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  run_id text NOT NULL
);
COMMENT ON COLUMN sync_assets.state.watermark IS
  'pg_snapshot_xmin of the last export: every transaction below it had ended by then';
CREATE TABLE IF NOT EXISTS sync_assets.state_leaf (
  target_schema text, target_table text, leaf bigint,
  PRIMARY KEY (target_schema, target_table, leaf),
  FOREIGN KEY (target_schema, target_table) REFERENCES sync_assets.state ON DELETE CASCADE,
  filenode bigint NOT NULL, tablespace bigint NOT NULL, fingerprint text NOT NULL
);
CREATE TABLE IF NOT EXISTS sync_assets.receipt (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  target_schema text NOT NULL, target_table text NOT NULL,
  run_id text NOT NULL,
  finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  receipt jsonb NOT NULL,
  UNIQUE (target_schema, target_table, run_id)
);
"""


@dataclass(frozen=True, slots=True)
class KnownLeaf:
    """A leaf of the source as the last run saw it."""

    oid: int
    filenode: int
    tablespace: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Known:
    """The state of one table after its last run; `version` guards against a lost update."""

    version: int
    watermark: int
    snapshot_xmax: int
    lsn: int
    source_max_xmin: int | None
    system_identifier: str | None
    database: int
    timeline: int | None
    postmaster_start: datetime
    fingerprint: str
    configuration: str
    target_storage: str
    rows_in_target: int | None
    snapshot_at: datetime
    leaves: tuple[KnownLeaf, ...]


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
    "fingerprint": "fingerprint",
    "configuration": "configuration",
    "target_storage": "target_storage",
    "rows_in_target": "rows_in_target",
    "snapshot_at": "snapshot_at",
}
"""Columns of `sync_assets.state`, with the attribute of `Known` that each holds."""


def prepare(connection: Connection) -> None:
    """Create the state's tables where they are missing."""
    with connection.cursor() as cursor:
        (there,) = row(cursor, "SELECT to_regclass('sync_assets.receipt') IS NOT NULL")
        if there:
            return
    with transaction(connection) as cursor:
        # CREATE … IF NOT EXISTS still fails when two sessions create the same thing at once.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (advisory_key(_OURS),))
        create_schema(cursor, _OURS.schema)
        cursor.execute(_TABLES, {"version": STATE_VERSION})


_OURS = RelationName("sync_assets", "state")


def read(cursor: Cursor, target: RelationName) -> Known | None:
    """The state of a target table, or None before its first run."""
    if not _exists(cursor):
        return None
    place = (target.schema, target.name)
    found = rows(
        cursor,
        f"SELECT {', '.join(_FIELDS)} FROM sync_assets.state "  # noqa: S608 - constants only
        "WHERE target_schema = %s AND target_table = %s",
        place,
    )
    leaves = rows(
        cursor,
        "SELECT leaf, filenode, tablespace, fingerprint FROM sync_assets.state_leaf "
        "WHERE target_schema = %s AND target_table = %s",
        place,
    )
    if not found:
        return None
    values = dict(zip(_FIELDS.values(), found[0], strict=True))
    return Known(**values, leaves=tuple(KnownLeaf(*leaf) for leaf in leaves))


def _exists(cursor: Cursor) -> bool:
    return bool(row(cursor, "SELECT to_regclass('sync_assets.receipt') IS NOT NULL")[0])


def receipt_of(cursor: Cursor, target: RelationName, run_id: str) -> Receipt | None:
    """The receipt a run has left; found when the reply to its COMMIT was lost."""
    if not _exists(cursor):
        return None
    found = rows(
        cursor,
        "SELECT receipt FROM sync_assets.receipt "
        "WHERE target_schema = %s AND target_table = %s AND run_id = %s",
        (target.schema, target.name, run_id),
    )
    return Receipt.from_dict(found[0][0]) if found else None


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
    values |= kept
    place = {"target_schema": target.schema, "target_table": target.name}
    if before is None:
        _execute_insert(cursor, values | place)
    else:
        _execute_update(cursor, values, place, before.version)
    if cursor.rowcount != 1:
        raise errors.ConcurrentRun(f"another run has changed the state of {target} meanwhile")
    _write_leaves(cursor, target, after.leaves)
    cursor.execute(
        "INSERT INTO sync_assets.receipt (target_schema, target_table, run_id, receipt) "
        "VALUES (%s, %s, %s, %s)",
        (target.schema, target.name, receipt.run_id, json.dumps(receipt.as_dict())),
    )


def _execute_insert(cursor: Cursor, values: dict[str, object]) -> None:
    names = ", ".join(values)
    marks = ", ".join(f"%({name})s" for name in values)
    cursor.execute(
        f"INSERT INTO sync_assets.state (version, {names}) "  # noqa: S608 - our own column names
        f"VALUES (1, {marks}) ON CONFLICT DO NOTHING",
        values,
    )


def _execute_update(
    cursor: Cursor, values: dict[str, object], place: dict[str, str], version: int
) -> None:
    assignments = ", ".join(f"{name} = %({name})s" for name in values)
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
        "SELECT %s, %s, * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[])",
        (
            target.schema,
            target.name,
            [leaf.oid for leaf in leaves],
            [leaf.filenode for leaf in leaves],
            [leaf.tablespace for leaf in leaves],
            [leaf.fingerprint for leaf in leaves],
        ),
    )
