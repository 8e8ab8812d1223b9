"""Both ends of a table at one moment, for what is asked about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from psycopg2.sql import SQL, Composable

from sync_assets.engine import errors
from sync_assets.engine.compare.sides import awaited_by, live_rows, may_have_changed
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.lock import locked
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.session import PINNED, Cursor, row, transaction
from sync_assets.engine.postgres.time_outs import AS_IDLE_AS_ALLOWED
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.snapshot.give_way import MAX_BLOCKING, giving_way
from sync_assets.engine.snapshot.identity import require_same_source, require_two_tables
from sync_assets.engine.snapshot.scope import own_names, written
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.state import state
from sync_assets.engine.state.state import State
from sync_assets.engine.table import Table

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BothEnds:
    """Both ends at one moment: a snapshot of the source, the target kept from being synced."""

    table: Table
    view: SourceRelation
    known: State
    relation: Relation
    source: Cursor
    target: Cursor

    @property
    def from_source(self) -> Composable:
        """What the source is read by, in a FROM clause."""
        name = self.view.relation.name
        plain = self.view.relation.kind == "r" and not self.view.relation.reads_children
        only = self.table.only or plain
        return SQL("ONLY {}" if only else "{}").format(identifiers.relation(name))

    @property
    def from_target(self) -> Composable:
        """What the target is read by."""
        return identifiers.relation(self.table.target)

    @property
    def live(self) -> Composable:
        """The condition on target rows that are not marked as deleted."""
        return live_rows(self.table, self.view.relation, self.relation) or SQL("true")

    @property
    def already_synced(self) -> Composable:
        """The condition on source rows that the last run must have seen as they are."""
        awaited = awaited_by(self.view, self.known)
        return SQL("true") if awaited is None else SQL("NOT {}").format(awaited)

    @property
    def unsettled(self) -> bool:
        """Whether a row that differs may have changed since the last run."""
        return may_have_changed(self.view, self.known)

    @property
    def in_scope(self) -> Composable:
        """The table's own filter."""
        return written(self.table.where) if self.table.where else SQL("true")


def are_empty(ends: BothEnds) -> bool:
    """Whether neither end has a row."""
    statement = SQL("SELECT EXISTS (SELECT FROM {} WHERE {})")
    here = row(ends.source, statement.format(ends.from_source, ends.in_scope))
    there = row(ends.target, statement.format(ends.from_target, ends.live))
    return not here[0] and not there[0]


def on_both(
    source_url: DatabaseOrUrl,
    target_url: DatabaseOrUrl,
    table: Table,
    work: Callable[[BothEnds], Result],
) -> Result:
    """Do `work` on both ends, under the table's lock; raises SyncError."""
    sessions = Sessions(source_url, target_url)

    def looked() -> Result:
        with (
            sessions.connected("target") as target,
            # A sync between the two looks would bring rows that the first did not see.
            locked(target, [table.target]),
            sessions.connected("source") as source,
            snapshot.taken(source, [table]) as (view,),
            giving_way(sessions, MAX_BLOCKING),
            giving_way(sessions, MAX_BLOCKING, "target"),
            transaction(target, AS_IDLE_AS_ALLOWED, *PINNED) as there,
            source.cursor() as here,
        ):
            here.execute(AS_IDLE_AS_ALLOWED)
            known = state.read(there, table.target)
            relation = target_relation(there, table)
            require_two_tables(there, table, view, relation)
            if known is None:
                raise _not_synced(table)
            require_same_source(known, view.snapshot)
            for setting in own_names(table, view.relation, view.types):
                here.execute(setting)
            return work(BothEnds(table, view, known, relation, here, there))

    return sessions.translating(looked)


def target_relation(cursor: Cursor, table: Table) -> Relation:
    """The target's table; raises ConfigurationError where there is none."""
    relation = read_relation(cursor, table.target)
    if relation is None:
        raise _not_synced(table)
    return relation


def _not_synced(table: Table) -> errors.ConfigurationError:
    return errors.ConfigurationError(
        f"the target {table.target} was never synced", remedy="Sync the table, then check it."
    )
