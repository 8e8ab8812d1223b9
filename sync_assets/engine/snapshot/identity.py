"""Whether the source is still the one of the last run, and no table its own target."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sync_assets.engine import errors
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.session import Cursor, row
from sync_assets.engine.snapshot.snapshot import Snapshot, SourceRelation
from sync_assets.engine.table import Table


class Seen(Protocol):
    """What the last run saw of its source, as the target remembers it."""

    @property
    def system_identifier(self) -> str | None: ...  # noqa: D102
    @property
    def database(self) -> int: ...  # noqa: D102
    @property
    def timeline(self) -> int | None: ...  # noqa: D102
    @property
    def lsn(self) -> int: ...  # noqa: D102
    @property
    def snapshot_xmax(self) -> int: ...  # noqa: D102


def require_same_source(known: Seen, snapshot: Snapshot) -> None:
    """Raises SourceIdentityChanged or SourceBehind where going on from the last run loses rows."""
    now = snapshot.identity
    if is_other_source(known, snapshot):
        raise errors.SourceIdentityChanged(
            "the source is another database than the one of the last run "
            f"(system {now.system_identifier}, database {now.database}; "
            f"before: {known.system_identifier}, {known.database})"
        )
    if is_other_history(known, snapshot):
        return
    if is_behind(known, snapshot):
        raise errors.SourceBehind(
            "the source shows an older state than the last run saw: "
            f"WAL position {snapshot.lsn}, timeline known up to {snapshot.timeline_as_of}, "
            f"next transaction {snapshot.xmax}; then {known.lsn} and {known.snapshot_xmax}"
        )


def is_other_source(known: Seen, snapshot: Snapshot) -> bool:
    """Whether it is another database, as far as this role may know."""
    now = snapshot.identity
    systems = (known.system_identifier, now.system_identifier)
    return known.database != now.database or (None not in systems and len(set(systems)) > 1)


def is_other_history(known: Seen, snapshot: Snapshot) -> bool:
    """Whether it was promoted, or restored to another moment: its transactions are other ones."""
    now = snapshot.identity.timeline
    return now is not None and now != known.timeline


def is_behind(known: Seen, snapshot: Snapshot) -> bool:
    """Whether the source shows less than the last run saw."""
    seen = min(snapshot.lsn, snapshot.timeline_as_of)
    return seen < known.lsn or snapshot.xmax < known.snapshot_xmax


@dataclass(frozen=True, slots=True)
class Place:
    """A database: the server that shows it, and whose copy that server is."""

    started: datetime
    database: int
    system_identifier: str | None
    timeline: int | None
    standby: bool

    @classmethod
    def of(cls, snapshot: Snapshot) -> Place:
        """Where a snapshot was taken."""
        its = snapshot.identity
        system, timeline = its.system_identifier, its.timeline
        return cls(snapshot.postmaster_start, its.database, system, timeline, snapshot.in_recovery)

    def shows(self, other: Place) -> bool:
        """Whether rows that are written to `other` come up here: it is the same, or its standby."""
        if (self.started, self.database) == (other.started, other.database):
            return True
        copied = (self.system_identifier, self.database) == (
            other.system_identifier,
            other.database,
        )
        # A copy that was promoted goes its own way.
        parted = None not in (self.timeline, other.timeline) and self.timeline != other.timeline
        return self.standby and self.system_identifier is not None and copied and not parted


def is_another(known: Seen, place: Place) -> bool:
    """Whether a connection leads to another database than the last run's, as far as it may know."""
    system = place.system_identifier
    same = None in (system, known.system_identifier) or system == known.system_identifier
    return not same or place.database != known.database


_PLACE = """
SELECT pg_postmaster_start_time(),
       (SELECT oid FROM pg_database WHERE datname = current_database()),
       CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli FROM pg_stat_wal_receiver)
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
       pg_is_in_recovery(), has_function_privilege('pg_control_system()', 'EXECUTE')
"""


def place_of(cursor: Cursor) -> Place:
    """Where a connection leads."""
    started, database, timeline, standby, identifies = row(cursor, _PLACE)
    system = None
    if identifies:
        (system,) = row(cursor, "SELECT system_identifier::text FROM pg_control_system()")
    return Place(started, database, system, timeline, standby)


def require_two_tables(
    cursor: Cursor, table: Table, view: SourceRelation, target: Relation | None
) -> None:
    """Raises ConfigurationError where the target is what the source reads; `cursor` is on it."""
    if target is None or not may_be_one(view.relation, target):
        return
    if Place.of(view.snapshot).shows(place_of(cursor)) and reads(cursor, view.relation, target):
        raise its_own_target(table)


def its_own_target(table: Table) -> errors.ConfigurationError:
    """What to say of a table that would be copied onto itself."""
    return errors.ConfigurationError(
        f"{table.source} and {table.target} are one and the same table, or one reads the other",
        remedy="Name another target table, or another target database.",
    )


def may_be_one(source: Relation, target: Relation) -> bool:
    """Whether it is worth asking: oids alone prove nothing where there are two databases."""
    stored = source.kind in "rp" and not source.reads_children
    return not stored or not _oids(source).isdisjoint(_oids(target))


def _oids(relation: Relation) -> set[int]:
    return {relation.oid, *(leaf.oid for leaf in relation.leaves)}


_READS = """
WITH RECURSIVE source AS (
  SELECT %s::oid AS oid
  UNION
  SELECT part.oid FROM source CROSS JOIN LATERAL (
    SELECT inhrelid AS oid FROM pg_inherits WHERE inhparent = source.oid
    UNION ALL
    SELECT d.refobjid FROM pg_rewrite r JOIN pg_depend d ON d.objid = r.oid
    WHERE r.ev_class = source.oid AND r.rulename = '_RETURN'
      AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass) AS part
), target AS (
  SELECT %s::oid AS oid
  UNION
  SELECT inhrelid FROM target JOIN pg_inherits ON inhparent = target.oid
)
SELECT EXISTS (SELECT FROM source JOIN target USING (oid))
"""


def reads(cursor: Cursor, source: Relation, target: Relation) -> bool:
    """Whether the source is the target, has it among its parts, or is a view over it.

    Both are in the database of `cursor`.
    """
    return bool(row(cursor, _READS, (source.oid, target.oid))[0])
