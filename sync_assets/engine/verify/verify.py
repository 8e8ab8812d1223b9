"""Verify tables: sync, compare both ends on the same snapshot, repair what is wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Sequence

from sync_assets.engine.compare.checksum import Rows
from sync_assets.engine.compare.comparison import Comparison
from sync_assets.engine.compare.scan import End
from sync_assets.engine.compare.sides import awaited_by, may_have_changed, rows_of_source
from sync_assets.engine.compare.tally import Tally
from sync_assets.engine.context import Run, Work
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.load import staging
from sync_assets.engine.pause import wait_while
from sync_assets.engine.plan.changed_pages import WalSources, probe_wal
from sync_assets.engine.plan.planner import plan_tables
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.lock import locked
from sync_assets.engine.postgres.session import Connection, transaction
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.publish import publish
from sync_assets.engine.run.stage import fill
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.snapshot.flush import ensure_flushed
from sync_assets.engine.snapshot.give_way import giving_way, idling
from sync_assets.engine.snapshot.identity import require_two_tables
from sync_assets.engine.snapshot.scope import own_names
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.state.state import State, peek, states_of
from sync_assets.engine.table import Table
from sync_assets.engine.verification import Verification
from sync_assets.engine.verify.repair import Wrong, repair_rows
from sync_assets.engine.verify.verdict import after_sync, since_last_run


def verify_tables(
    run: Run, tables: Sequence[Table], *, sync: bool, repair: bool, examples: int
) -> tuple[Verification, ...]:
    """Sync, unless told not to, and compare on the same snapshot; raises SyncError."""
    if any(table.rows is not None for table in tables):
        raise ConfigurationError("verify compares every row", remedy="Leave rows out.")
    targets = [table.target for table in tables]
    with (
        run.sessions.connected("target") as target,
        locked(target, targets),
        run.sessions.connected("source") as source,
    ):
        wait_while(run, source, target)
        outlook = probe_wal(source, tables)
        held = _Held(run, source, target, outlook)
        with (
            snapshot.taken(source, tables, run.report.begin) as views,
            giving_way(run.sessions, run.max_blocking),
        ):
            idling(run.sessions, source)
            receipts = held.synced(tables, views) if sync else [None] * len(tables)
            return tuple(
                held.verified(*each, repair=repair, examples=examples)
                for each in zip(tables, views, receipts, strict=True)
            )


@dataclasses.dataclass(frozen=True, slots=True)
class _Held:
    """A run's connections: `source` holds the snapshot, `target` the locks of the tables."""

    run: Run
    source: Connection
    target: Connection
    outlook: WalSources

    def synced(
        self, tables: Sequence[Table], views: Sequence[SourceRelation]
    ) -> tuple[Receipt, ...]:
        """One run on the snapshot, which outlives it."""
        run, source, target = self.run, self.source, self.target
        held_from = time.monotonic()
        with transaction(target) as cursor:
            known = states_of(cursor, tables)
        with contextlib.ExitStack() as cleanup:
            work = Work(run, source, target, cleanup)
            plans = plan_tables(work, tables, views, known, self.outlook)
            group = fill(work, plans, held_from, hold=True)
            ensure_flushed(run.sessions, source, views[0].snapshot.lsn)
            receipts = publish(run, target, group, known)
        for staged in group:
            # A repair uses the name again, in the same session.
            staging.drop_staging(target, staged.staging)
        return receipts

    def verified(
        self,
        table: Table,
        view: SourceRelation,
        receipt: Receipt | None,
        *,
        repair: bool,
        examples: int,
    ) -> Verification:
        """Compare one table, and repair it."""
        known = None if receipt else self._known(table, view)
        rows = rows_of_source(table, view, None if receipt else awaited_by(view, known))
        own = own_names(table, view.relation, view.types)
        alone = view.snapshot.in_recovery
        source = End("source", rows, self.source, alone, own, view.reach, table.masking_key)
        comparison = Comparison(self.run, table, source)
        judge = (
            after_sync(table)
            if receipt
            else since_last_run(
                table,
                known,
                view.snapshot,
                comparison.settled,
                unsettled=known is not None and may_have_changed(view, known),
            )
        )
        tally = Tally(judge, rows.key, examples)
        comparison.compare(tally)
        repaired, last = None, tally
        if repair and tally.verdicts["wrong"]:
            repaired = self._repaired(table, view, rows, comparison, tally)
            last = Tally(judge, rows.key, 0)
            comparison.compare_again(last)
        return Verification(
            source=str(table.source),
            target=str(table.target),
            equal=not last.verdicts.total(),
            faultless=not last.verdicts["wrong"],
            synced=receipt is not None,
            snapshot_at=view.snapshot.taken_at.isoformat(),
            rows_source=comparison.rows_source,
            rows_target=comparison.rows_target,
            **tally.counts(),
            examples=tally.examples,
            seconds=self.run.report.total(),
            receipt=receipt,
            repaired=repaired,
            rows_left=last.verdicts["wrong"] if repaired else None,
        )

    def _known(self, table: Table, view: SourceRelation) -> State | None:
        """What the target remembers of a table that is not synced for the occasion."""
        with transaction(self.target) as cursor:
            require_two_tables(cursor, table, view, read_relation(cursor, table.target))
        return peek(self.target, [table])[table.target]

    def _repaired(
        self, table: Table, view: SourceRelation, rows: Rows, comparison: Comparison, tally: Tally
    ) -> Receipt:
        self.run.report.begin("repair")
        wrong = Wrong(
            tally.verdicts["wrong"],
            tally.wrong_hashes,
            rows,
            comparison.rows_source,
        )
        return repair_rows(self.run, table, view, self.source, self.target, wrong)
