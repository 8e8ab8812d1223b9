"""Sync the rows that a comparison found wrong once more, and no others.

It is a run over a part of the table, which the hash of the key tells. The mark stays where it is, since
the other rows were not read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Sequence

from psycopg2.sql import Composable, Identifier

from sync_assets.engine import errors
from sync_assets.engine.compare.checksum import Rows, has_key_hash
from sync_assets.engine.context import Run, Work
from sync_assets.engine.plan.plan import Part
from sync_assets.engine.plan.planner import plan_rows_of, plan_tables
from sync_assets.engine.postgres.session import Connection, transaction
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.publish import publish
from sync_assets.engine.run.stage import fill
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.state.state import states_of
from sync_assets.engine.table import Table


@dataclasses.dataclass(frozen=True, slots=True)
class Wrong:
    """What to repair: the rows whose key's hash begins with one of `hashes`.

    `count` of them are wrong; the source has `rows_source` rows in all.
    """

    count: int
    hashes: Sequence[str]
    rows: Rows
    rows_source: int

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
    if states[table.target] is None:
        raise errors.ConfigurationError(
            f"{table.target} was never synced", remedy="Sync it; there is nothing to repair yet."
        )
    # A receipt of its own, beside that of the sync that may have gone before.
    run = dataclasses.replace(run, run_id=str(uuid.uuid4()))
    with contextlib.ExitStack() as cleanup:
        work = Work(run, source, target, cleanup)
        if wrong.rows.key:
            narrow = dataclasses.replace(table, rows=wrong.on_source().as_string(source))
            part = Part(wrong.on_target(), wrong.rows_source)
            reason = f"repair of {wrong.count} rows"
            plan = plan_rows_of(work, narrow, view, states, part, reason)
        else:
            # Rows without a key are told apart by the whole of them, so all of them are read.
            (plan,) = plan_tables(work, [table], [view], states)
        (staged,) = fill(work, [plan], time.monotonic(), hold=True)
        (receipt,) = publish(run, target, [staged], states)
    return receipt
