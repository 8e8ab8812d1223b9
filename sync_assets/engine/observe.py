"""A cheap sign of change: a marker per source table that moves when its rows may have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from sync_assets.engine.session import CATALOG_NAMES, Sessions, rows, transaction
from sync_assets.engine.table import RelationName

# Counters lag the rows by up to a second and are lost in a crash: good enough to ask for a run,
# never to decide what it reads. A standby keeps none, so its replay position stands in for them.
_MARKERS = """
SELECT wanted.schema, wanted.name, concat_ws(' ',
  CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text END,
  (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),
  string_agg(concat_ws('/', leaf.oid, pg_relation_filenode(leaf.oid),
    pg_stat_get_tuples_inserted(leaf.oid), pg_stat_get_tuples_updated(leaf.oid),
    pg_stat_get_tuples_deleted(leaf.oid)), ' ' ORDER BY leaf.oid))
FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
CROSS JOIN LATERAL (
  SELECT relid::oid AS oid FROM pg_partition_tree(c.oid) WHERE isleaf
  UNION SELECT c.oid WHERE c.relkind <> 'p') AS leaf
GROUP BY wanted.schema, wanted.name
"""


def observe(source_url: str, relations: Sequence[RelationName]) -> Mapping[RelationName, str]:
    """An opaque marker for each relation that exists, by one query; raises SyncError."""
    sessions = Sessions(source_url, source_url, "sync_assets")
    return sessions.translating(lambda: _markers(sessions, relations))


def _markers(sessions: Sessions, relations: Sequence[RelationName]) -> dict[RelationName, str]:
    names = ([each.schema for each in relations], [each.name for each in relations])
    with sessions.connected("source") as source, transaction(source, CATALOG_NAMES) as cursor:
        return {
            RelationName(schema, name): hashlib.blake2b(marker.encode(), digest_size=16).hexdigest()
            for schema, name, marker in rows(cursor, _MARKERS, names)
        }
