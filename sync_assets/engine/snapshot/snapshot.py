"""Lock the source's table, take one snapshot of it, and say what was seen.

The lock comes first: TRUNCATE and a rewriting ALTER TABLE are not MVCC-safe, so a snapshot older
than one of them would read no rows (the manual, "Caveats" of chapter 13). What cannot be locked by
name is proven whole instead (`reach`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg2
import psycopg2.extensions
from psycopg2.sql import SQL

from sync_assets.engine import errors
from sync_assets.engine.computed.masking import hand_over
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.relation import Column, Relation
from sync_assets.engine.postgres.session import (
    PINNED,
    READ_SNAPSHOT,
    Connection,
    Cursor,
    row,
    transaction,
)
from sync_assets.engine.postgres.types import UserType, read_types
from sync_assets.engine.progress import Phase
from sync_assets.engine.snapshot.indirect_reads import (
    Reach,
    changed,
    lock_view,
    prove,
    reach,
    reaches,
)
from sync_assets.engine.snapshot.locks import locks, named_when_shut_out
from sync_assets.engine.snapshot.readable import require_source, require_sources
from sync_assets.engine.snapshot.scope import own_names, scoped
from sync_assets.engine.table import Table

ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class SourceIdentity:
    """Which database, in which history. None: this role may not know."""

    system_identifier: str | None
    database: int
    timeline: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment of the source. `xmin`, `xmax` are 64-bit ids, `lsn` a WAL position in bytes.

    `lsn` is read after the snapshot, so nothing visible in it was written later.
    `timeline_as_of` is the position up to which the timeline is known: on a standby whose role may
    not ask the WAL receiver, only as far as the last checkpoint. A snapshot taken `in_recovery`, on a
    standby, is read by the session that took it alone: see `shared.readers`.
    """

    xmin: int
    xmax: int
    taken_at: datetime
    lsn: int
    postmaster_start: datetime
    identity: SourceIdentity
    timeline_as_of: int
    text: str = ""
    in_recovery: bool = False


@dataclass(frozen=True, slots=True)
class SourceRelation:
    """A relation under a snapshot that its locks keep whole.

    `relation` has the columns in scope and `types` what they need; `columns` are all that the
    source has, and `probe_types` what a filter or an expression over them needs. `reach` is None
    where nothing is read but tables that are locked by name.
    """

    relation: Relation
    columns: tuple[Column, ...]
    types: tuple[UserType, ...]
    probe_types: tuple[UserType, ...]
    snapshot: Snapshot
    reach: Reach | None = None


_SNAPSHOT = """
SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint, clock_timestamp(),
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
             ELSE pg_current_wal_insert_lsn() END - '0/0'::pg_lsn)::bigint,
       pg_postmaster_start_time(), s::text,
       {system_identifier},
       (SELECT oid FROM pg_database WHERE datname = current_database()),
       CASE WHEN NOT pg_is_in_recovery()
            THEN ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
       (SELECT received_tli FROM pg_stat_wal_receiver),
       {checkpoint}
FROM pg_current_snapshot() AS s
"""
"""One statement, which has its snapshot before it reads a position: each is a round trip."""

_MAY_IDENTIFY = (
    "SELECT has_function_privilege('pg_control_system()', 'EXECUTE') "
    "AND has_function_privilege('pg_control_checkpoint()', 'EXECUTE')"
)


@contextlib.contextmanager
def taken(
    connection: Connection, tables: Sequence[Table], begin: Callable[[Phase], None] = lambda _: None
) -> Iterator[tuple[SourceRelation, ...]]:
    """Hold one snapshot of the tables' sources, locked before it was taken; released at the end.

    Starts over when the catalog changed between lock and snapshot, or a table that is read through
    something else before it could be locked too; raises SourceChanged if that happens three times,
    and at the end if what was read was not whole.
    """
    for _ in range(ATTEMPTS):
        begin("identify")
        with (
            named_when_shut_out(connection, tables),
            transaction(connection, _MAY_IDENTIFY) as cursor,
        ):
            ((allowed,),) = cursor.fetchall()
            before = require_sources(cursor, tables)
        begin("lock")
        settings = (*PINNED, *locks(before), IN_RECOVERY)
        with contextlib.ExitStack() as held:
            with named_when_shut_out(connection, tables):
                cursor = held.enter_context(transaction(connection, *settings, begin=READ_SNAPSHOT))
            in_recovery = is_in_recovery(cursor)
            for relation in before:
                if relation.kind == "v":
                    lock_view(cursor, relation.name)
            begin("snapshot")
            snapshot = _take(cursor, identify=allowed, in_recovery=in_recovery)
            after = require_sources(cursor, tables)
            if [each.layout for each in after] == [each.layout for each in before]:
                views = tuple(
                    _view(cursor, table, relation, snapshot)
                    for table, relation in zip(tables, after, strict=True)
                )
                further = any(view.reach for view in views)
                if not (further and changed(cursor)):
                    yield views
                    if further and _is_open(connection):
                        prove(cursor)
                    return
    names = ", ".join(str(table.source) for table in tables)
    raise errors.SourceChanged(f"{names} changed three times while being locked")


@contextlib.contextmanager
def taken_of_leaf(
    connection: Connection, table: Table, leaf: RelationName
) -> Iterator[tuple[Relation, Snapshot]]:
    """Hold a snapshot of one leaf of a table, locked before it was taken; released at the end.

    What the table is under that snapshot is for the caller to look at: it may have changed since the
    leaf was named.
    """
    lock = SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(identifiers.relation(leaf))
    with contextlib.ExitStack() as held:
        with named_when_shut_out(connection, [table]):
            with transaction(connection, _MAY_IDENTIFY) as cursor:
                ((allowed,),) = cursor.fetchall()
            settings = (*PINNED, lock, IN_RECOVERY)
            cursor = held.enter_context(transaction(connection, *settings, begin=READ_SNAPSHOT))
        snapshot = _take(cursor, identify=allowed, in_recovery=is_in_recovery(cursor))
        hand_over(cursor, [table.masking_key])
        yield require_source(cursor, table), snapshot


def _is_open(connection: Connection) -> bool:
    """Whether the transaction goes on: who reads may end it, after a proof of his own."""
    return connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_INTRANS


def now(connection: Connection) -> Snapshot:
    """This moment, of which nothing is read."""
    with transaction(connection, _MAY_IDENTIFY) as cursor:
        ((allowed,),) = cursor.fetchall()
    with transaction(connection, IN_RECOVERY, begin=READ_SNAPSHOT) as cursor:
        return _take(cursor, identify=allowed, in_recovery=is_in_recovery(cursor))


def _view(cursor: Cursor, table: Table, relation: Relation, snapshot: Snapshot) -> SourceRelation:
    chosen = scoped(cursor, table, relation)
    hand_over(cursor, [table.masking_key])
    types = read_types(cursor, (column.type_oid for column in chosen.columns))
    probed = relation.columns if table.where or table.expressions else ()
    probe_types = read_types(cursor, (column.type_oid for column in probed))
    further = None
    if reaches(table, relation):
        further = reach(cursor, table, chosen, own_names(table, chosen, types))
        for setting in further.settings:
            cursor.execute(setting)
    return SourceRelation(chosen, relation.columns, types, probe_types, snapshot, further)


def _take(cursor: Cursor, *, identify: bool, in_recovery: bool) -> Snapshot:
    system = "(SELECT system_identifier::text FROM pg_control_system())" if identify else "NULL"
    checkpoint = (
        "(SELECT ROW(timeline_id, (checkpoint_lsn - '0/0'::pg_lsn)::bigint)::text"
        " FROM pg_control_checkpoint())"
        if identify
        else "NULL"
    )
    # The first query of the transaction: it takes the snapshot.
    statement = _SNAPSHOT.format(system_identifier=system, checkpoint=checkpoint)
    xmin, xmax, at, lsn, started, text, *identified = row(cursor, statement)
    system_identifier, database, current, received, checkpointed = identified
    timeline, known_up_to = current or received, lsn
    if timeline is None and checkpointed:
        timeline, known_up_to = map(int, checkpointed.strip("()").split(","))
    identity = SourceIdentity(system_identifier, database, timeline)
    return Snapshot(xmin, xmax, at, lsn, started, identity, known_up_to, text, in_recovery)


IN_RECOVERY = "SHOW in_hot_standby"
"""Asks for what `is_in_recovery` reads. SHOW takes no snapshot, so it can be asked before the
snapshot is taken: a server that is promoted right after must still count as a standby."""


def is_in_recovery(cursor: Cursor) -> bool:
    """What the server has answered to IN_RECOVERY, the last statement that `cursor` executed."""
    ((answer,),) = cursor.fetchall()
    return bool(answer == "on")
