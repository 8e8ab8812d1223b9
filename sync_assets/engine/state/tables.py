"""The tables that hold state and receipts, in the target's schema `sync_assets`."""

from __future__ import annotations

from sync_assets.engine import errors
from sync_assets.engine.postgres.catalog import Schemas
from sync_assets.engine.postgres.lock import lock_ddl
from sync_assets.engine.postgres.session import Connection, Cursor, row, transaction

STATE = "sync_assets"
"""The schema of what is ours."""

STATE_VERSION = 8
"""Raise it with every change of the tables below, and migrate."""

LOADS = """
CREATE TABLE IF NOT EXISTS sync_assets.load (
  target_schema text, target_table text, PRIMARY KEY (target_schema, target_table),
  source_schema text NOT NULL, source_table text NOT NULL,
  state jsonb NOT NULL,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  run_id text NOT NULL
);
COMMENT ON TABLE sync_assets.load IS
  'first loads that are not published yet, and what their first snapshot saw';
CREATE TABLE IF NOT EXISTS sync_assets.load_piece (
  target_schema text, target_table text, leaf bigint, first_page bigint, end_page bigint,
  PRIMARY KEY (target_schema, target_table, leaf, first_page),
  FOREIGN KEY (target_schema, target_table) REFERENCES sync_assets.load ON DELETE CASCADE,
  rows bigint, bytes bigint, loaded_at timestamptz,
  lsn bigint, snapshot_xmax bigint
);
COMMENT ON COLUMN sync_assets.load_piece.loaded_at IS
  'set by the transaction that loaded its rows; NULL as long as they are to be read';
COMMENT ON COLUMN sync_assets.load_piece.lsn IS
  'how far the source was under the snapshot that read it: no later step may see less'
"""

CARRIED = """
CREATE TABLE IF NOT EXISTS sync_assets.carried (
  target_schema text, target_table text, kind text, name text,
  PRIMARY KEY (target_schema, target_table, kind, name),
  definition text NOT NULL, made_as text NOT NULL, problem text,
  tried_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE sync_assets.carried IS
  'indexes, constraints and the like that runs made as the source has them, or could not make'
"""

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
  configuration text NOT NULL, target_storage text NOT NULL,
  rows_in_target bigint,
  snapshot_at timestamptz NOT NULL,
  cursor_column text, cursor_mark text,
  columns jsonb,
  samples jsonb NOT NULL DEFAULT '[]',
  positions jsonb NOT NULL DEFAULT '[]', map text, history text,
  synced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  run_id text NOT NULL
);
COMMENT ON COLUMN sync_assets.state.watermark IS
  'pg_snapshot_xmin of the last export: every transaction below it had ended by then';
CREATE TABLE IF NOT EXISTS sync_assets.state_leaf (
  target_schema text, target_table text, leaf bigint,
  PRIMARY KEY (target_schema, target_table, leaf),
  FOREIGN KEY (target_schema, target_table) REFERENCES sync_assets.state ON DELETE CASCADE,
  filenode bigint NOT NULL, tablespace bigint NOT NULL,
  columns jsonb
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


def are_there(cursor: Cursor) -> bool:
    """Whether the target has the state's tables, in this version or another."""
    return bool(row(cursor, "SELECT to_regclass('sync_assets.receipt') IS NOT NULL")[0])


def version_of(cursor: Cursor) -> int | None:
    """The version of the state's tables, None where there are none; raises UnsupportedVersion."""
    if not are_there(cursor):
        return None
    (version,) = row(cursor, "SELECT max(version) FROM sync_assets.version")
    if version > STATE_VERSION:
        raise errors.UnsupportedVersion(
            f"the target's state has version {version}, this program knows up to {STATE_VERSION}",
            remedy="Use the version of sync-assets that synced into this target last.",
        )
    return int(version)


def prepare(connection: Connection) -> None:
    """Create the state's tables where they are missing."""
    with connection.cursor() as cursor:
        if are_there(cursor):
            return
    with transaction(connection) as cursor:
        lock_ddl(cursor)
        for statement in Schemas(cursor).needed(STATE):
            cursor.execute(statement)
        cursor.execute(_TABLES, {"version": STATE_VERSION})
        cursor.execute(LOADS)
        cursor.execute(CARRIED)


CURSORS_COLUMNS_AND_SAMPLES = """
ALTER TABLE sync_assets.state ADD cursor_column text, ADD cursor_mark text, ADD columns jsonb,
  ADD samples jsonb NOT NULL DEFAULT '[]';
ALTER TABLE sync_assets.state_leaf ADD columns jsonb
"""

POSITIONS_AND_MAPS = """
ALTER TABLE sync_assets.state ADD positions jsonb NOT NULL DEFAULT '[]',
  ADD mapped boolean NOT NULL DEFAULT false
"""

NO_SCHEMA_FINGERPRINTS = """
ALTER TABLE sync_assets.state DROP fingerprint;
ALTER TABLE sync_assets.state_leaf DROP fingerprint
"""

MAPS_BY_STORAGE = """
ALTER TABLE sync_assets.state DROP mapped, ADD map text
"""

HISTORIES = """
ALTER TABLE sync_assets.state ADD history text
"""

MIGRATIONS: tuple[str, ...] = (
    CURSORS_COLUMNS_AND_SAMPLES,
    POSITIONS_AND_MAPS,
    NO_SCHEMA_FINGERPRINTS,
    MAPS_BY_STORAGE,
    LOADS,
    CARRIED,
    HISTORIES,
)
"""The first goes from version 1 to 2, and so on."""


def migrate(cursor: Cursor) -> bool:
    """Bring the state's tables to this program's version, within the transaction of `cursor`.

    Returns whether there are any; raises UnsupportedVersion where they are newer.
    """
    version = version_of(cursor)
    if version is None or version == STATE_VERSION:
        return version is not None
    lock_ddl(cursor)
    # Another run may have done it while this one waited.
    for step in MIGRATIONS[(version_of(cursor) or version) - 1 : STATE_VERSION - 1]:
        cursor.execute(step)
    cursor.execute("UPDATE sync_assets.version SET version = %s", (STATE_VERSION,))
    return True
