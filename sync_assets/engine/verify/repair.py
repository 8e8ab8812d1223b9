"""Sync the rows that a comparison found wrong once more, and no others.

The export, load and merge are those of a run, filtered by the hash of the key. The mark stays where
it is, since the other rows were not read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
import uuid
from collections.abc import Sequence

from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine import errors
from sync_assets.engine.compare.checksum import Rows, has_key_hash
from sync_assets.engine.context import Run, Work
from sync_assets.engine.load.staging import Staged
from sync_assets.engine.merge import deletes, interference, merge, merge_statements
from sync_assets.engine.merge.merge import Merged
from sync_assets.engine.merge.still_there import still_there
from sync_assets.engine.merge.violations import explained
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.plan.planner import plan_tables
from sync_assets.engine.postgres import session
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.lock import require_locks
from sync_assets.engine.postgres.session import Connection, Cursor, transaction
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.outcome import make_receipt
from sync_assets.engine.run.sync import fill, publish
from sync_assets.engine.snapshot.scope import written
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.state import advance
from sync_assets.engine.state.state import State, states_of
from sync_assets.engine.table import LateCommits, SyncMode, Table
from sync_assets.engine.verify.verdict import keeps_rows


@dataclasses.dataclass(frozen=True, slots=True)
class Wrong:
    """What to repair: the rows whose key's hash begins with one of `hashes`.

    `count` of them are wrong; the ends have `rows_source` and `rows_target` rows in all.
    """

    count: int
    hashes: Sequence[str]
    rows: Rows
    rows_source: int
    rows_target: int

    def on_source(self) -> Composable:
        """The condition on the source's rows."""
        return has_key_hash(self.rows.identity, self.hashes)

    def on_target(self) -> Composable:
        """The condition on the target's, where the key's columns are always plain ones."""
        key = [self.rows.alike(name, Identifier(name)) for name in self.rows.key]
        return has_key_hash(key, self.hashes)


def repair_rows(
    run: Run,
    table: Table,
    view: SourceRelation,
    source: Connection,
    target: Connection,
    wrong: Wrong,
) -> Receipt:
    """Repair on the snapshot that `source` holds, under the table's lock; raises SyncError."""
    with transaction(target) as cursor:
        states = states_of(cursor, [table])
    known = states[table.target]
    if known is None:
        raise errors.ConfigurationError(
            f"{table.target} was never synced", remedy="Sync it; there is nothing to repair yet."
        )
    # A receipt of its own, beside that of the sync that may have gone before.
    run = dataclasses.replace(run, run_id=str(uuid.uuid4()))
    narrow = _narrowed(table, source, wrong) if wrong.rows.key else table
    with contextlib.ExitStack() as cleanup:
        work = Work(run, source, target, cleanup)
        (plan,) = plan_tables(work, [narrow], [view], states)
        _require_followed(plan)
        (staged,) = fill(work, [plan], time.monotonic(), hold=True)
        if wrong.rows.key:
            published = functools.partial(_publish, run, table, target, staged, known, wrong)
            return explained(run.sessions, target, [table.target], published)
        # Rows without a key are told apart by the whole of them, so all of them were read.
        (receipt,) = publish(run, target, [staged], states)
    return receipt


def _require_followed(plan: Plan) -> None:
    """A column that changes is written in every row, and here only the wrong ones are sent."""
    changes = "; ".join(each.says for each in plan.layout.alterations)
    if changes:
        raise errors.SchemaConflict(
            f"the target {plan.table.target} must follow its source first: {changes}",
            remedy="Sync the table first, or repair it without --no-sync.",
        )


def _narrowed(table: Table, source: Connection, wrong: Wrong) -> Table:
    """The table, read whole but for rows that are not wrong."""
    condition = wrong.on_source()
    if table.where is not None:
        condition = SQL("{} AND {}").format(written(table.where), condition)
    return dataclasses.replace(
        table,
        mode=SyncMode.FULL_SYNC,
        cursor=None,
        lookback=None,
        late_commits=LateCommits.XID,
        where=condition.as_string(source),
    )


def _publish(
    run: Run, table: Table, target: Connection, staged: Staged, known: State, wrong: Wrong
) -> Receipt:
    plan = staged.plan
    run.sessions.check()
    with transaction(target, merge.INDEXED) as cursor:
        require_locks(cursor, [table.target])
        merge.lock_target(cursor, plan, None)
        deleted = 0 if keeps_rows(table) else _remove(cursor, plan, staged, wrong)
        actors, deferrable = interference.read_surroundings(cursor, [table.target])
        interference.check_each_statement(cursor, deferrable)
        # The plan reads the wrong rows alone, and what is in their way may be a right one.
        whole = dataclasses.replace(plan, table=table)
        written = merge.merge_rows(
            cursor,
            plan,
            staged.staging,
            lambda _, *keys: still_there(run.sessions, whole, *keys),
            removes=not keeps_rows(table),
        )
        inserted, deleted = written.inserted, deleted + written.removed
        if actors:
            _require_repaired(cursor, staged, wrong, removes=not keeps_rows(table))
        published = read_relation(cursor, table.target)
        merged = Merged(inserted, written.updated, deleted, events=written.events)
        receipt = dataclasses.replace(
            make_receipt(run, staged, merged, known, published),
            mode=table.mode.value,
            reason=f"repair of {wrong.count} rows",
            watermark=known.watermark,
            source_max_xmin=known.source_max_xmin,
            cursor_mark=known.cursor_mark,
            rows_in_target=wrong.rows_target + inserted - deleted,
        )
        after = dataclasses.replace(
            known,
            version=known.version + 1,
            rows_in_target=receipt.rows_in_target,
        )
        advance.advance(cursor, table.target, table.source, known, after, receipt)
        run.sessions.check()
    return receipt


def _require_repaired(cursor: Cursor, staged: Staged, wrong: Wrong, *, removes: bool) -> None:
    plan, key = staged.plan, staged.plan.layout.key
    if key is None:
        return
    keys, within = staged.staging.all_keys, wrong.on_target()
    left = merge_statements.count_missing(plan, key, keys, within) if removes else None
    unlike = interference.unlike(plan, staged.staging, staged.done)
    interference.require_written(cursor, plan, unlike, left)


def _remove(cursor: Cursor, plan: Plan, staged: Staged, wrong: Wrong) -> int:
    """Delete or mark the wrong rows that the source does not have; raises DeleteGuard."""
    key = plan.layout.key
    if key is None:
        raise AssertionError(f"{plan.table.target} is repaired by a key that it does not have")
    keys, within = staged.staging.all_keys, wrong.on_target()
    with session.pinned(cursor):
        cursor.execute(merge_statements.remove_others(plan, key, keys, within))
        deleted = cursor.rowcount
    deletes.guard(cursor, plan, deleted, wrong.rows_source)
    return deleted
