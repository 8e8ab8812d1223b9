"""What each end says between runs that may keep a table from being synced: one query to the source."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sync_assets.engine.errors import NoSuchRelation, SyncError
from sync_assets.engine.export.batches import base_folder
from sync_assets.engine.inspection.holders import Holder, holder_of
from sync_assets.engine.names import RelationName, parts_of
from sync_assets.engine.postgres.connection import Server, ask
from sync_assets.engine.postgres.lock import Holding, idle_holders, strangers
from sync_assets.engine.postgres.session import Cursor, row, rows
from sync_assets.engine.snapshot.readable import may_not_read


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """`unreadable` are the tables that a run could not read, each with the error it would meet.

    `mark` is where a run's watermark would be now, `behind` how many transactions came after it, and
    `holder` the open one that keeps it there; `xid_age` is that of the database's oldest row.
    """

    unreadable: Mapping[RelationName, SyncError] = field(default_factory=dict)
    mark: int = 0
    behind: int = 0
    holder: Holder | None = None
    xid_age: int = 0


@dataclass(frozen=True, slots=True)
class LastSync:
    """When a table was synced last, and how many seconds ago that is by the target's clock."""

    at: datetime
    age: float


@dataclass(frozen=True, slots=True)
class TargetHealth:
    """`locked` says of each target whose lock a session has that is none of ours, which.

    `idle` does so where the session is one of ours that waits for its client.
    """

    last_syncs: Mapping[RelationName, LastSync] = field(default_factory=dict)
    locked: Mapping[RelationName, str] = field(default_factory=dict)
    xid_age: int = 0
    idle: Mapping[RelationName, Holding] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchDisk:
    """The disk of this machine's batch files."""

    folder: Path
    free: int


_XID_AGE = "(SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database())"

_SOURCE = f"""
SELECT {_XID_AGE}, oldest.mark, pg_snapshot_xmax(now)::text::bigint - oldest.mark, holder.*,
  tables.found
FROM pg_current_snapshot() AS now
CROSS JOIN LATERAL (SELECT pg_snapshot_xmin(now)::text::bigint AS mark) AS oldest
LEFT JOIN LATERAL ({holder_of("oldest.mark")}) AS holder ON true
CROSS JOIN (
  SELECT json_agg(json_build_array(wanted.schema, wanted.name, c.oid IS NOT NULL,
    has_schema_privilege(n.oid, 'USAGE') AND (has_table_privilege(c.oid, 'SELECT')
      OR c.relkind = 'p' AND (SELECT bool_and(has_table_privilege(relid, 'SELECT'))
                              FROM pg_partition_tree(c.oid) WHERE isleaf)))) AS found
  FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
  LEFT JOIN pg_namespace n ON n.nspname = wanted.schema
  LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name) AS tables
"""  # noqa: S608 - constants only

_TARGET = f"SELECT {_XID_AGE}, to_regclass('sync_assets.state') IS NOT NULL"

_LAST_SYNCS = """
SELECT target_schema, target_table, synced_at,
  extract(epoch FROM clock_timestamp() - synced_at)::float8
FROM sync_assets.state
JOIN unnest(%s::text[], %s::text[]) AS wanted (schema, name)
  ON (target_schema, target_table) = (wanted.schema, wanted.name)
"""


def look_at_source(server: Server, relations: Sequence[RelationName]) -> SourceHealth:
    """The health of a source as these relations need it; raises SyncError."""

    def look(cursor: Cursor) -> SourceHealth:
        age, mark, behind, *holder, found = row(cursor, _SOURCE, parts_of(relations))
        unreadable = {
            name: may_not_read(name, cursor.connection.info.user) if there else missing(name)
            for name, there, readable in ((RelationName(*f[:2]), *f[2:]) for f in found or ())
            if not (there and readable)
        }
        known = any(part is not None for part in holder)
        return SourceHealth(unreadable, mark, behind, Holder(*holder) if known else None, age)

    return ask(server, look)


def missing(name: RelationName) -> SyncError:
    """What a run says of a table that the source does not have."""
    return NoSuchRelation(f"the source has no table {name}")


def look_at_target(server: Server, targets: Sequence[RelationName]) -> TargetHealth:
    """The health of a target as these tables need it; raises SyncError."""

    def look(cursor: Cursor) -> TargetHealth:
        age, state_there = row(cursor, _TARGET)
        found = rows(cursor, _LAST_SYNCS, parts_of(targets)) if state_there else []
        last = {RelationName(*each[:2]): LastSync(*each[2:]) for each in found}
        idle = idle_holders(cursor, targets)
        return TargetHealth(last, strangers(cursor, targets), age, idle)

    return ask(server, look, "target")


def look_at_disk() -> BatchDisk:
    """The room for batch files in this machine's folder; raises SyncError."""
    folder = base_folder()
    return BatchDisk(folder, shutil.disk_usage(folder).free)
