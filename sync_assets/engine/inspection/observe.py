"""A cheap sign of change: a marker per source table that moves when its rows may have.

On a primary the marker is made of PostgreSQL's own counters. A standby keeps none, and its replay
position moves with everything: there, a table up to `PROBED_BYTES` is read, one pass that returns
a count and a checksum of its row versions, but only when WAL was replayed since the last look.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import sql

from sync_assets.engine.names import RelationName, parts_of
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.catalog import BELOW
from sync_assets.engine.postgres.connection import Server, Sessions, sessions_of
from sync_assets.engine.postgres.session import Connection, row, rows, transaction
from sync_assets.engine.postgres.time_outs import at_most

PROBED_BYTES = 128 << 20
"""The largest table that is read to find out whether it changed."""

LOOK_BYTES = 1 << 30
"""What one look reads at most, smallest tables first: some seconds, of a sensor's sixty."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Markers, opaque, of the relations that exist.

    `position` is how far a standby had replayed, empty on a primary. `suspected` are the relations
    whose markers move with anything that is written: views and foreign tables, and on a standby
    what was not read for its size or a lock.
    """

    markers: Mapping[RelationName, str]
    position: str = ""
    suspected: frozenset[RelationName] = frozenset()


# Counters lag the rows by up to ten seconds and are lost in a crash: good enough to ask for a run,
# never to decide what it reads.
_MARKERS = f"""
SELECT wanted.schema, wanted.name, pg_is_in_recovery(),
  (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
        ELSE pg_current_wal_insert_lsn() END)::text,
  concat_ws(' ', (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),
    string_agg(concat_ws('/', l.oid, pg_relation_filenode(l.oid),
      pg_stat_get_tuples_inserted(l.oid), pg_stat_get_tuples_updated(l.oid),
      pg_stat_get_tuples_deleted(l.oid)), ' ' ORDER BY l.oid)),
  coalesce(sum(pg_relation_size(l.oid))
    FILTER (WHERE pg_is_in_recovery() AND l.relkind IN ('r', 'm')), 0)::bigint,
  array_agg(place.nspname ORDER BY l.oid) FILTER (WHERE l.relkind <> 'p')::text[],
  array_agg(l.relname ORDER BY l.oid) FILTER (WHERE l.relkind <> 'p')::text[],
  bool_and(l.relkind IN ('r', 'm', 'p'))
FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
CROSS JOIN LATERAL ({BELOW}) AS part
JOIN pg_class l ON l.oid = part.oid
JOIN pg_namespace place ON place.oid = l.relnamespace
GROUP BY wanted.schema, wanted.name
ORDER BY 6
"""  # noqa: S608 - constants only

# A row version is its place and its xid; neither vacuum nor freezing changes what these show.
_VERSIONS = "SELECT count(*), bit_xor(hashtidextended(ctid, xmin::text::bigint)) FROM ONLY {}"
_BRIEFLY = (
    f"SELECT {at_most('lock_timeout', 1_000)}, {at_most('statement_timeout', 20_000)}",
    "SET LOCAL max_parallel_workers_per_gather = 0",
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A relation by what the catalog says of it; `leaves` hold its rows, if it is `stored` here."""

    name: RelationName
    standby: bool
    position: str
    text: str
    bytes: int
    leaves: tuple[RelationName, ...]
    stored: bool

    @property
    def by_position(self) -> str:
        """A marker that moves whenever anything was written."""
        return _digest(f"{self.position} {self.text}")


def observe(
    source: Server, relations: Sequence[RelationName], before: Observed | None = None
) -> Observed:
    """A marker for each relation that exists, by one query on a primary; raises SyncError.

    `before` is the last look, which saves a standby that replayed nothing since from another.
    """
    sessions = sessions_of(source)
    return sessions.translating(lambda: _observed(sessions, relations, before))


def _observed(
    sessions: Sessions, relations: Sequence[RelationName], before: Observed | None
) -> Observed:
    with sessions.connected("source") as source:
        with transaction(source) as cursor:
            seen = [_seen(values) for values in rows(cursor, _MARKERS, parts_of(relations))]
        if not any(each.standby for each in seen):
            return _of_primary(seen)
        return _of_standby(source, seen, before)


def _of_primary(seen: Sequence[_Seen]) -> Observed:
    """By the counters; a view or foreign table has none."""
    markers = {each.name: _digest(each.text) if each.stored else each.by_position for each in seen}
    return Observed(markers, suspected=frozenset(each.name for each in seen if not each.stored))


def _of_standby(source: Connection, seen: Sequence[_Seen], before: Observed | None) -> Observed:
    position = seen[0].position
    known = before if before is not None and before.position == position else Observed({})
    markers, suspected = {}, set()
    new = [each for each in seen if each.name not in known.markers]
    for each, marker in _looked_into(source, new):
        markers[each.name] = marker or each.by_position
        suspected |= set() if marker else {each.name}
    for each in seen:
        if each.name in known.markers:
            markers[each.name] = known.markers[each.name]
            suspected |= {each.name} & known.suspected
    return Observed(markers, position, frozenset(suspected))


def _seen(values: tuple[Any, ...]) -> _Seen:
    schema, name, standby, position, text, size, schemas, leaves, stored = values
    names = map(RelationName, schemas or (), leaves or ())
    return _Seen(RelationName(schema, name), standby, position, text, size, tuple(names), stored)


def _looked_into(
    source: Connection, relations: Iterable[_Seen]
) -> Iterator[tuple[_Seen, str | None]]:
    """The marker of each relation's row versions; None for one that is not looked into."""
    left = LOOK_BYTES
    for each in relations:
        marker = None
        if each.stored and each.bytes <= min(PROBED_BYTES, left):
            left -= each.bytes
            marker = _of_versions(source, each)
        yield each, marker


def _of_versions(source: Connection, relation: _Seen) -> str | None:
    found = []
    # A lock that replay holds, a conflict with it, a right that is missing: a run will tell.
    with contextlib.suppress(psycopg2.Error), transaction(source, *_BRIEFLY) as cursor:
        for leaf in relation.leaves:
            name = identifiers.relation(leaf)
            found.append(row(cursor, sql.SQL(_VERSIONS).format(name)))
        return _digest(f"{relation.text} {found}")
    if source.closed:
        raise psycopg2.OperationalError("the connection was lost")
    return None


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
