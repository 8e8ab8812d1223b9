"""Begin a load by pieces, or find out whether one that was begun may go on."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sync_assets.engine.context import Run, Work
from sync_assets.engine.layout.evolve import lay_out
from sync_assets.engine.load import staging
from sync_assets.engine.load.staging import Staging
from sync_assets.engine.names import RelationName, staging_name
from sync_assets.engine.pause import wait_while
from sync_assets.engine.plan.batch_format import format_between
from sync_assets.engine.plan.changed_pages import probe_wal
from sync_assets.engine.plan.plan import KeySearch, Plan
from sync_assets.engine.plan.planner import plan_tables
from sync_assets.engine.plan.reads import (
    ALL_AROUND,
    configuration,
    known_leaf,
    why_mark_is_void,
)
from sync_assets.engine.postgres.catalog import read_relation, read_storage
from sync_assets.engine.postgres.relation import Leaf, Relation
from sync_assets.engine.postgres.session import Connection, Cursor, row, transaction
from sync_assets.engine.postgres.xid import XidWindow
from sync_assets.engine.run.outcome import state_seen
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.snapshot.flush import ensure_flushed
from sync_assets.engine.snapshot.give_way import giving_way
from sync_assets.engine.snapshot.identity import is_behind, is_other_source, require_same_source
from sync_assets.engine.snapshot.scope import texts
from sync_assets.engine.snapshot.snapshot import Snapshot
from sync_assets.engine.state import ledger
from sync_assets.engine.state.ledger import Piece
from sync_assets.engine.state.left_behind import give_up_loads, require_ours
from sync_assets.engine.state.shape import remembered_columns
from sync_assets.engine.state.state import State, StateLeaf
from sync_assets.engine.state.tables import prepare
from sync_assets.engine.table import SyncMode, Table
from sync_assets.engine.workers import choose_workers


@dataclass(frozen=True, slots=True)
class Load:
    """A load that has begun: `seen` is what its first snapshot saw, whose mark its pieces obey.

    `began` tells it from another load of the same table. `plan` is that of a whole first load, on a
    snapshot of this run; `events` tell how it came to go on, or to start over. What is loaded becomes
    the target, or is merged into one that `is_there`, of which `before` is the state.
    """

    plan: Plan
    seen: State
    began: datetime
    staging: Staging
    events: tuple[str, ...] = ()
    is_there: bool = False
    before: State | None = None

    @property
    def target(self) -> RelationName:
        """The target table."""
        return self.plan.table.target


def begin(run: Run, table: Table, target: Connection, known: State | None) -> Load | None:
    """The load that an earlier run has begun, or a new one; None for a table that has no pieces."""
    with contextlib.ExitStack() as left, run.sessions.connected("source") as source:
        wait_while(run, source, target)
        outlook = probe_wal(source, [table])
        with (
            snapshot.taken(source, [table], run.report.begin) as (view,),
            giving_way(run.sessions, run.max_blocking),
        ):
            work = Work(run, source, target, left)
            (found,) = plan_tables(work, [table], [view], {table.target: known}, outlook)
            if not is_divisible(found):
                return None
            plan, is_there = as_first_load(work, found), not found.layout.creates
            if is_there and not _may_create(target, table):
                return None
            # What the mark says of the source must outlive a crash of it.
            ensure_flushed(run.sessions, source, view.snapshot.lsn)
    prepare(target)
    with transaction(target) as cursor:
        begun, events = _going_on(cursor, plan, is_there=is_there)
    begun = begun or _begin_anew(run, plan, target)
    return Load(plan, *begun, staging.staging_for(plan), events, is_there, known)


def is_divisible(plan: Plan) -> bool:
    """Whether every row is read, tells by its own version whether it belongs to a piece, and has a key.

    The snapshot must also prove that it shows what an earlier one did, not only up to a checkpoint. What
    is read whole time and again is not: pieces take longer, and save nothing of a run's work for the next.
    """
    relation, table, now = plan.view.relation, plan.table, plan.view.snapshot
    unproven = table.mode is SyncMode.FULL_SYNC and any(texts(table))
    return (
        plan.full
        and (plan.layout.creates or table.mode is not SyncMode.FULL_SYNC)
        and plan.layout.key is not None
        and relation.has_versions
        and not relation.through_parent
        and plan.view.reach is None
        and all(leaf.kind == "r" for leaf in relation.leaves)
        and not unproven
        and now.timeline_as_of >= now.lsn
    )


_MAY_CREATE = """
SELECT pg_catalog.has_schema_privilege(n.oid, 'CREATE')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE puballtables)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_publication_namespace WHERE pnnspid = n.oid)
FROM pg_catalog.pg_namespace AS n WHERE n.nspname = %s
"""


def _may_create(target: Connection, table: Table) -> bool:
    """Whether a table may be made beside the target, as it need not for any other run.

    This role may have no right to. Or whatever is in that schema is published: subscribers, who have no
    such table, would stop at its first row.
    """
    with transaction(target) as cursor:
        return bool(row(cursor, _MAY_CREATE, (table.target.schema,))[0])


def as_first_load(work: Work, plan: Plan) -> Plan:
    """The plan of a first load of what a plan reads, into a table like the target if that is there."""
    table, view = plan.table, plan.view
    layout = dataclasses.replace(plan.layout, known_types=(), changes=())
    if not plan.layout.creates:
        layout = lay_out(table, view.relation, view.types, None, None)
        # What the target generates itself, it has no field for; the last step would miss its column.
        there = {field.name: field for field in plan.layout.fields}
        fields = [
            dataclasses.replace(
                there.get(field.name, field), not_null=field.name in layout.key_columns
            )
            for field in layout.fields
        ]
        known = plan.layout.known_types
        layout = dataclasses.replace(layout, fields=tuple(fields), known_types=known)
    return dataclasses.replace(
        plan,
        layout=layout,
        format=format_between(work.source, work.target, view.relation.columns, layout.fields),
        fingerprint=configuration(table, view, layout),
        keys=KeySearch(mapped=plan.keys.mapped),
    )


def _begin_anew(run: Run, plan: Plan, target: Connection) -> tuple[State, datetime]:
    give_up_loads(target, [plan.table.target])
    (room,) = staging.prepare_staging(target, [plan])
    with transaction(target) as cursor:
        storage = read_storage(cursor, room.name) or ""
        seen = state_seen(plan, None, plan.view.snapshot.xmin, storage)
        workers = choose_workers(run.workers, run.workers.max_workers)
        pieces = _cut(plan, run.limits.piece_bytes(workers))
        began = ledger.begin(cursor, plan.table, seen, pieces, run.run_id)
    return seen, began


def _cut(plan: Plan, size: int) -> Iterator[Piece]:
    """The pieces, of about so many bytes; pages that come later hold only rows that are newer."""
    for leaf in plan.view.relation.leaves:
        pages = max(1, size * leaf.pages // max(leaf.bytes, 1))
        for first in range(0, leaf.pages, pages):
            yield Piece(leaf.oid, first, min(first + pages, leaf.pages))


def _going_on(
    cursor: Cursor, plan: Plan, *, is_there: bool
) -> tuple[tuple[State, datetime] | None, tuple[str, ...]]:
    """What the begun load of a plan's target has seen, if it may go on, and what there is to tell."""
    target = plan.table.target
    found = ledger.recall(cursor, target)
    if found is None:
        return None, ()
    require_ours(cursor, [target])
    seen, began = found
    relation, now = plan.view.relation, plan.view.snapshot
    same = {leaf.oid for leaf in relation.leaves if is_as_it_was(seen, leaf, now)}
    changed = ledger.unfinished(cursor, target) - same
    hidden = read_relation(cursor, staging_name(target, temporary=False))
    why = why_anew(plan, seen, hidden)
    if not why and changed and len(changed) == len(plan.view.relation.leaves):
        why = f"{plan.table.source} was truncated or rewritten"
    if not why and hidden and not _is_as_needed(hidden, plan, is_there=is_there):
        why = f"the columns of {target} changed"
    if why:
        return None, (f"the load started over: {why}",)
    done = ledger.progress(cursor, target)
    events = (f"{done.pieces_loaded} of {done.pieces} pieces were loaded by earlier runs",)
    if not changed:
        return (seen, began), events
    kept = tuple(leaf for leaf in seen.leaves if leaf.oid not in changed)
    seen = dataclasses.replace(seen, leaves=kept)
    ledger.void(cursor, target, changed, seen)
    return (seen, began), (
        *events,
        f"{len(changed)} partitions changed meanwhile and are read whole",
    )


def why_anew(plan: Plan, seen: State, hidden: Relation | None) -> str | None:
    """Why what is loaded is of no use, or None; raises SourceBehind."""
    now = plan.view.snapshot
    if hidden is None:
        return "what was loaded is gone from the target"
    if is_other_source(seen, now):
        return "the source is another database"
    if plan.table.accept_source and is_behind(seen, now):
        return "another source was accepted"
    require_same_source(seen, now)
    void = why_mark_is_void(plan.table, plan.view, seen, hidden, plan.fingerprint)
    if XidWindow(seen.watermark, now.xmax).covers_ring:
        void = ALL_AROUND
    if void is not None:
        return void.removeprefix("full pass: ")
    shape = remembered_columns(plan.view.relation, plan.view.types, plan.layout.key_columns, None)
    return None if shape == seen.columns else f"the columns of {plan.table.source} changed"


def _is_as_needed(hidden: Relation, plan: Plan, *, is_there: bool) -> bool:
    """Whether the hidden table can be merged into the target, or become it: its columns are those.

    One that was made for a target that was there then has that one's types, and no NOT NULL.
    """
    for field in plan.layout.fields:
        column = hidden.column(field.name)
        if column is None or column.type != field.type:
            return False
        # A constraint that the source has given up, the last step gives up, too.
        strict = column.not_null or not field.not_null
        if not is_there and not (strict and column.collation == field.collation):
            return False
    return True


def is_unmoved(leaf: Leaf, before: StateLeaf) -> bool:
    """Whether the pages of a leaf hold what they held: nothing has rewritten or truncated it."""
    return known_leaf(leaf) == before


def is_as_it_was(seen: State, leaf: Leaf, now: Snapshot) -> bool:
    """Whether the pages of a leaf are still those that the load began with."""
    before = next((each for each in seen.leaves if each.oid == leaf.oid), None)
    if before is None or not is_unmoved(leaf, before):
        return False
    return not leaf.unlogged or seen.postmaster_start == now.postmaster_start
