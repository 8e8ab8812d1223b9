"""The end of a load by pieces: key, what changed meanwhile, and the transaction that publishes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from psycopg2.sql import SQL, Identifier

from sync_assets.engine import errors
from sync_assets.engine.context import Run
from sync_assets.engine.export.batches import Exported
from sync_assets.engine.layout.evolve import lay_out
from sync_assets.engine.layout.layout import Layout
from sync_assets.engine.load import staging, staging_statements
from sync_assets.engine.load.newest import newest
from sync_assets.engine.load.staging import Staged, Staging
from sync_assets.engine.merge.collisions import StillThere
from sync_assets.engine.merge.publish import publish_rows
from sync_assets.engine.plan.key_buckets import hash_alike
from sync_assets.engine.plan.plan import How, KeySearch, Plan
from sync_assets.engine.plan.reads import configuration
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.partitions import read_partitioned
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.session import (
    PINNED,
    UNFLUSHED,
    Connection,
    Cursor,
    pinned,
    row,
    transaction,
)
from sync_assets.engine.postgres.xid import RING
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.first_load.begin import Load
from sync_assets.engine.run.first_load.moved import Moved
from sync_assets.engine.run.outcome import make_receipt
from sync_assets.engine.run.publish import Written, published
from sync_assets.engine.run.stage import stage
from sync_assets.engine.state import ledger
from sync_assets.engine.state.state import State
from sync_assets.engine.table import (
    ChangedBlocks,
    Deletes,
    LateCommits,
    OnSchemaChange,
    SyncMode,
    Table,
)


def complete(run: Run, load: Load, moved: Moved, target: Connection) -> Receipt:
    """Bring what is loaded to one snapshot, and publish it."""
    table, hidden = load.plan.table, load.staging.name
    run.report.begin("load", "building the key")
    _add_key(target, load)
    run.report.spent("key")
    count, seen = moved.loaded.rows, _furthest(target, load)
    last = dataclasses.replace(
        table,
        target=hidden,
        mode=SyncMode.XMIN_INCREMENTAL if table.mode is SyncMode.FULL_SYNC else table.mode,
        # A piece leaves out what has changed: no cursor need show that.
        late_commits=LateCommits.XID,
        # Only what the source has shall be there, however much went while it was loaded.
        deletes=Deletes.HARD,
        max_delete_ratio=1.0,
        allow_empty=True,
        confirm_deletes=None,
        accept_source=False,
        full_refresh=False,
        on_schema_change=OnSchemaChange.EVOLVE,
        changed_blocks=_changed_blocks(table, seen),
        partition_of=None,
    )
    known = {hidden: seen}
    with contextlib.ExitStack() as cleanup:
        look = partial(_counted_first, target, count)
        (staged,), flush = stage(run, [last], target, known, cleanup, look)
        # Before it: what alters a target takes a lock that no reader shall wait for longer than need be.
        flush.ensure()
        end = _End(load, moved, count, staged)
        (receipt,) = published(run, target, [table.target], end.write, None, end.receipt)
    run.report.begin("clean up")
    return receipt


def _changed_blocks(table: Table, seen: State) -> ChangedBlocks:
    """Whether the last step may read changed pages alone.

    A row that is 2^32 transactions older than one since the mark looks as new as that: a piece has left
    it out, though no WAL names its page.
    """
    if table.changed_blocks is ChangedBlocks.OFF or seen.snapshot_xmax >= RING:
        return ChangedBlocks.OFF
    return ChangedBlocks.AUTO


def _furthest(target: Connection, load: Load) -> State:
    """What the load has seen, up to its latest piece, or a run that went between: no last step may lack it."""
    with transaction(target) as cursor:
        found = ledger.recall(cursor, load.target)
    seen, before = found[0] if found else load.seen, load.before
    if before is None or load.plan.table.accept_source:
        return seen
    furthest = max(seen.snapshot_xmax, before.snapshot_xmax)
    return dataclasses.replace(seen, lsn=max(seen.lsn, before.lsn), snapshot_xmax=furthest)


def _add_key(target: Connection, load: Load) -> None:
    """Give the loaded rows their key, unless an earlier run has."""
    plan, name = load.plan, load.staging.name
    table, constraint = identifiers.relation(name), staging.constraint_name(name.name)
    there = "SELECT to_regclass(format('%%I.%%I', %s, %s)) IS NOT NULL"
    with transaction(target, UNFLUSHED, *PINNED) as cursor:
        if plan.layout.key and not row(cursor, there, (name.schema, constraint))[0]:
            cursor.execute(staging_statements.add_key(plan.layout.key, table, constraint))
        cursor.execute(staging_statements.analyze_briefly(table, plan.layout.key))


def _counted_first(target: Connection, count: int, plan: Plan) -> Plan:
    """The plan of the last step: keys are compared only where the rows, counted, say that some are gone."""
    if not plan.compares_keys:
        return plan
    if plan.window.is_empty and all(read.how is not How.WHOLE for read in plan.reads):
        # No transaction has ended since the load began, and no crash has emptied an unlogged leaf:
        # nothing has deleted a row.
        table = dataclasses.replace(plan.table, deletes=Deletes.IGNORE)
        return dataclasses.replace(plan, table=table, keys=KeySearch())
    alike = hash_alike(target, plan)
    keys = KeySearch(later=alike, in_target=count if alike else None)
    return dataclasses.replace(plan, keys=keys)


@dataclass(frozen=True, slots=True)
class _End:
    """A load whose pieces are all loaded: `count` rows are in its hidden table."""

    load: Load
    moved: Moved
    count: int
    staged: Staged

    def write(self, cursor: Cursor, there: StillThere) -> Iterator[Written]:
        """Bring what changed since the pieces were read into the hidden table, and that to the target."""
        load, hidden = self.load, self.load.staging.name
        storage = {hidden: load.seen.target_storage}
        last = publish_rows(cursor, [self.staged], storage, there)[hidden]
        whole = self._whole(cursor, self.count + last.inserted - last.deleted)
        if load.is_there:
            # Rows in the order of a key may be anywhere: let none be looked for by it.
            drop = SQL("ALTER TABLE {} DROP CONSTRAINT {}")
            name = Identifier(staging.constraint_name(hidden.name))
            cursor.execute(drop.format(whole.staging.identifier, name))
        merged = publish_rows(cursor, [whole], {}, there)[load.target]
        if load.is_there:
            cursor.execute(SQL("DROP TABLE {}").format(whole.staging.identifier))
        ledger.abandon(cursor, [load.target])
        yield Written(whole, merged, load.before)

    def _whole(self, cursor: Cursor, rows: int) -> Staged:
        """The hidden table as the rows of a whole pass."""
        load, view = self.load, self.staged.plan.view
        table, room = load.plan.table, Staging(load.staging.rows, temporary=load.is_there)
        room.rows.made = True
        with pinned(cursor):
            samples = newest(cursor, self.staged.plan, room.identifier)
        there = read_relation(cursor, table.target) if load.is_there else None
        whole = read_partitioned(cursor, [table.whole]).get(table.whole)
        layout = lay_out(table, view.relation, view.types, there, load.before, whole)
        if load.is_there and (there is None or not _types(layout) <= _types(load.plan.layout)):
            raise errors.ConcurrentRun(
                f"{table.source} or {table.target} got other columns or was dropped during the run",
                remedy="Run it again.",
            )
        plan = dataclasses.replace(
            self.staged.plan,
            table=table,
            layout=layout,
            full=True,
            reason=f"{load.plan.reason}; {self.moved.loaded.pieces} pieces",
            # As it was for the first piece: what has changed since is for the next run to see.
            fingerprint=configuration(table, load.plan.view, layout),
            keys=KeySearch(mapped=load.plan.keys.mapped),
        )
        done = dataclasses.replace(self.staged.done, rows=rows)
        return dataclasses.replace(self.staged, plan=plan, staging=room, done=done, newest=samples)

    def receipt(self, run: Run, written: Written, now: Relation | None) -> Receipt:
        """The receipt of all runs that have worked on the load."""
        moved, whole, merged = self.moved, written.staged, written.merged
        told = []
        if moved.interrupted:
            told.append(f"{moved.interrupted} pieces were interrupted by the source and read again")
        longest = run.limits.max_snapshot_age
        if whole.snapshot_seconds > longest:
            held = f"the last step held its snapshot for {whole.snapshot_seconds:,.0f} s"
            told.append(f"{held}, above max_snapshot_age {longest:g} s")
        receipt = make_receipt(run, whole, merged, written.before, now)
        seconds = dict(receipt.seconds)
        seconds["snapshot"] = round(max(whole.snapshot_seconds, moved.snapshot_seconds), 3)
        read = _all_done(moved, self.staged)
        return dataclasses.replace(
            receipt,
            rows_exported=read.rows,
            rows_unchanged=read.rows - merged.inserted - merged.updated,
            bytes=read.bytes,
            chunks=read.chunks,
            workers=max(whole.workers, moved.workers),
            events=(*self.load.events, *told, *receipt.events),
            seconds=seconds,
        )


def _types(layout: Layout) -> set[tuple[str, str]]:
    return {(field.name, field.type) for field in layout.fields}


def _all_done(moved: Moved, staged: Staged) -> Exported:
    """What all runs of the load have exported together."""
    pieces, last = moved.loaded, staged.done
    return Exported(
        chunks=pieces.pieces + last.chunks,
        chunks_done=pieces.pieces_loaded + last.chunks_done,
        rows=pieces.rows + last.rows,
        keys=last.keys,
        bytes=pieces.bytes + last.bytes,
    )
