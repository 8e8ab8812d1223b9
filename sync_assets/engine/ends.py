"""Both ends of a table at one moment, for what is asked about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine import errors, snapshot, state
from sync_assets.engine.blocking import MAX_BLOCKING, giving_way
from sync_assets.engine.catalog import Cursor, Relation, read_relation
from sync_assets.engine.lock import locked
from sync_assets.engine.scope import own_names, written
from sync_assets.engine.session import (
    CATALOG_NAMES,
    PINNED,
    Connection,
    Sessions,
    transaction,
)
from sync_assets.engine.snapshot import SourceView
from sync_assets.engine.state import Known
from sync_assets.engine.table import Table
from sync_assets.engine.time_outs import AS_IDLE_AS_ALLOWED
from sync_assets.engine.xid import XidWindow

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends at one moment: a snapshot of the source, the target kept from being synced."""

    table: Table
    view: SourceView
    known: Known
    relation: Relation
    source: Cursor
    target: Cursor

    @property
    def from_source(self) -> Composable:
        """What the source is read by, in a FROM clause."""
        name = self.view.relation.name
        plain = self.view.relation.kind == "r" and not self.view.relation.reads_children
        only = self.table.only or plain
        return SQL("ONLY {}" if only else "{}").format(Identifier(name.schema, name.name))

    @property
    def from_target(self) -> Composable:
        """What the target is read by."""
        return Identifier(self.table.target.schema, self.table.target.name)

    @property
    def live(self) -> Composable:
        """The condition on target rows that are not marked as deleted."""
        marked = self.relation.column(self.table.deleted_column)
        ours = marked is not None and self.view.relation.column(marked.name) is None
        return SQL("{} IS NULL").format(Identifier(marked.name)) if marked and ours else SQL("true")

    @property
    def settled(self) -> Composable:
        """The condition on source rows that the last sync must have seen as they are."""
        relation, xmax = self.view.relation, self.view.snapshot.xmax
        if not relation.has_versions or any(leaf.kind != "r" for leaf in relation.leaves):
            return SQL("true")
        if xmax < self.known.watermark:
            raise errors.SourceBehind("the source shows an older state than the last run saw")
        window = XidWindow(self.known.watermark, xmax)
        if not self.known.leaves:
            return SQL("false")
        oids = SQL(", ").join(Literal(leaf.oid) for leaf in self.known.leaves)
        # A partition that was attached since brings rows with old versions.
        return SQL("(NOT {} AND tableoid IN ({}))").format(SQL(window.predicate()), oids)

    @property
    def in_scope(self) -> Composable:
        """The table's own filter."""
        return written(self.table.where) if self.table.where else SQL("true")


def on_both(
    source_url: str, target_url: str, table: Table, work: Callable[[Ends], Result]
) -> Result:
    """Do `work` on both ends, under the table's lock; raises SyncError."""
    sessions = Sessions(source_url, target_url, "sync_assets")

    def looked() -> Result:
        with (
            sessions.connected("target") as target,
            # A sync between the two looks would bring rows that the first did not see.
            locked(target, [table.target]),
            sessions.connected("source") as source,
            snapshot.taken(source, [table]) as (view,),
            giving_way(sessions, MAX_BLOCKING),
            giving_way(sessions, MAX_BLOCKING, "target"),
        ):
            return _with_cursors(table, view, source, target, work)

    return sessions.translating(looked)


def _with_cursors(
    table: Table,
    view: SourceView,
    source: Connection,
    target: Connection,
    work: Callable[[Ends], Result],
) -> Result:
    with (
        transaction(target, CATALOG_NAMES, AS_IDLE_AS_ALLOWED, *PINNED) as there,
        source.cursor() as here,
    ):
        here.execute(AS_IDLE_AS_ALLOWED)
        known = state.read(there, table.target)
        relation = target_relation(there, table)
        if known is None:
            raise _not_synced(table)
        for setting in own_names(table, view.relation.columns, view.types):
            here.execute(setting)
        return work(Ends(table, view, known, relation, here, there))


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
