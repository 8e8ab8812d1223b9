"""`DataCopyEngine`: copy tables from one PostgreSQL database into another, without Dagster."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sync_assets.engine import errors
from sync_assets.engine.context import MAX_BATCH_DISK, Run
from sync_assets.engine.limits import NO_LIMITS, Limits, throttle_of
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.connection import Lender, Server, Sessions
from sync_assets.engine.progress import OnProgress, Reporter, ignore_progress
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.sync import different_targets, sync_tables
from sync_assets.engine.snapshot.give_way import MAX_BLOCKING
from sync_assets.engine.table import SyncMode, Table, table_of
from sync_assets.engine.threads import interruptible
from sync_assets.engine.verification import EXAMPLES, Verification
from sync_assets.engine.workers import WorkerConfig

if TYPE_CHECKING:
    from sync_assets.engine.merge.merge import Merged
    from sync_assets.engine.run.forecast import Forecast
    from sync_assets.engine.run.steps import ExportedFiles, TempTable
    from sync_assets.engine.run.together import OnOutcome

Result = TypeVar("Result")


class DataCopyEngine:
    """Copies tables between two databases, each a libpq URL, a DSN or a `Database`.

    ::

        engine = DataCopyEngine("postgresql://…/shop", "postgresql://…/analytics")
        receipt = engine.copy_table_data("public.orders", "replica.orders", "xmin_incremental")
        print(receipt.rows_inserted, receipt.max_xmin)

    `workers` is a WorkerConfig or a number of workers. `on_progress` is called from the run's
    threads. A run whose lock keeps another session of the source waiting for `max_blocking` seconds
    gives up; `limits` bound what it takes from there. `run_id` names the run in its receipt: the same
    run asked for again returns what it did. Every method raises SyncError, and turns none into a number.

    The steps can also be called one by one; they move data, and never advance the mark that the
    next run starts from. Only `sync` and the `copy_table_data` methods do.
    """

    def __init__(  # noqa: PLR0913 - options of the face, each by its name
        self,
        source_url: DatabaseOrUrl,
        target_url: DatabaseOrUrl,
        *,
        workers: WorkerConfig | int | None = None,
        on_progress: OnProgress = ignore_progress,
        run_id: str | None = None,
        batch_dir: Path | str | None = None,
        max_batch_disk: int = MAX_BATCH_DISK,
        max_blocking: float = MAX_BLOCKING,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self._ends = source_url, target_url
        self.workers = WorkerConfig.of(workers)
        self._on_progress = on_progress
        self._run_id = run_id
        self._new_run = partial(
            Run,
            batch_dir=Path(batch_dir) if batch_dir else None,
            max_batch_disk=max_batch_disk,
            max_blocking=max_blocking,
            limits=limits,
            throttle=throttle_of(source_url, limits),
        )
        self._active: set[Sessions] = set()
        self._lender = Lender()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.workers}>"

    def copy_table_data(
        self,
        source_table: str,
        target_table: str,
        sync_mode: str | SyncMode = SyncMode.FULL_SYNC,
        **options: Any,
    ) -> Receipt:
        """Bring `target_table` up to date; `options` are fields of `Table`, such as `key`."""
        return self.sync(table_of(source_table, target_table, SyncMode.parse(sync_mode), options))

    def copy_table_data_with_xmin(
        self, source_table: str, target_table: str, **options: Any
    ) -> Receipt:
        """`copy_table_data` in the mode `xmin_incremental`; raises what that raises."""
        return self.copy_table_data(
            source_table, target_table, SyncMode.XMIN_INCREMENTAL, **options
        )

    def sync(self, table: Table) -> Receipt:
        """Run the whole protocol for one table."""
        (receipt,) = self.sync_group([table])
        return receipt

    def sync_group(self, tables: Sequence[Table]) -> tuple[Receipt, ...]:
        """Run the protocol for tables that belong together; receipts in the order of `tables`.

        They are read on one snapshot of the source and published in one transaction of the
        target, all or none.
        """

        def work(sessions: Sessions, report: Reporter) -> tuple[Receipt, ...]:
            return sync_tables(self._run(sessions, report), tables)

        return self._guarded(different_targets(tables), work)

    def sync_each(
        self, tables: Sequence[Table], on_outcome: OnOutcome[Receipt] | None = None
    ) -> tuple[Receipt | errors.SyncError, ...]:
        """Run the protocol for many tables, each for itself; outcomes in the order of `tables`.

        Small tables travel together, over the same connections. An outcome is a Receipt or the
        SyncError of that table, which takes no other along; Cancelled alone is raised. `on_outcome`
        hears of each as soon as it is known.
        """
        from sync_assets.engine.run.each import sync_each

        return self._each(tables, sync_each, on_outcome)

    def join_first_load(self, table: Table) -> int:
        """Load free pieces of a table that a run elsewhere loads, and publishes; return how many."""
        from sync_assets.engine.run.first_load.join import join

        def work(sessions: Sessions, report: Reporter) -> int:
            return join(self._run(sessions, report), table)

        return self._guarded([str(table.target)], work)

    def verify(
        self, table: Table, *, sync: bool = True, repair: bool = False, examples: int = EXAMPLES
    ) -> Verification:
        """Compare both ends of a table exactly, on one snapshot of the source.

        The table is synced first, on the same snapshot, unless `sync` is false. `repair` syncs the
        rows that are wrong once more. At most `examples` rows are named, by their keys.
        """
        (seen,) = self.verify_group([table], sync=sync, repair=repair, examples=examples)
        return seen

    def verify_group(
        self,
        tables: Sequence[Table],
        *,
        sync: bool = True,
        repair: bool = False,
        examples: int = EXAMPLES,
    ) -> tuple[Verification, ...]:
        """Verify tables that belong together, on one snapshot and in the order of `tables`."""
        from sync_assets.engine.verify.verify import verify_tables

        names = different_targets(tables)

        def work(sessions: Sessions, report: Reporter) -> tuple[Verification, ...]:
            run = self._run(sessions, report)
            return verify_tables(run, tables, sync=sync, repair=repair, examples=examples)

        return self._guarded(names, work)

    def plan(self, table: Table) -> Forecast:
        """Say what the next run of a table would do; changes nothing and reads no row."""
        from sync_assets.engine.run.forecast import forecast

        def work(sessions: Sessions, report: Reporter) -> Forecast:
            return forecast(self._run(sessions, report), table)

        return self._guarded([str(table.target)], work)

    def plan_each(self, tables: Sequence[Table]) -> tuple[Forecast | errors.SyncError, ...]:
        """`plan` for many tables over one connection at either end, in their order.

        It reads of small tables whether any row has changed. In place of the forecast of a table
        that a run could not sync is the SyncError of that run.
        """
        from sync_assets.engine.run.forecast import forecast_each

        return self._each(tables, forecast_each)

    def lending(self) -> AbstractContextManager[object]:
        """A block within which connections are used again by whatever else is asked of this engine."""
        return self._lender

    def ask(self, question: Callable[[Server], Result]) -> Result:
        """The answer to a question about the source, as `observe` is one; raises SyncError."""
        with self._cancellable(self._sessions()) as sessions:
            return question(sessions)

    def cancel(self) -> None:
        """Cancel what runs now, from any thread; it ends with Cancelled."""
        for sessions in tuple(self._active):
            sessions.cancel()

    def get_source_max_xmin(self, source_table: str) -> int | None:
        """The highest 64-bit xid among a table's rows; None for an empty table.

        Information, not a mark: a transaction that is still open may hold a lower one.
        """
        from sync_assets.engine.run.steps import max_xmin_of

        name = RelationName.parse(source_table)
        return self._guarded([str(name)], lambda sessions, _: max_xmin_of(sessions, name))

    def export_to_csv_with_xmin(
        self, source_table: str, target_table: str | None = None, *, since: int = 0, **options: Any
    ) -> ExportedFiles:
        """Export rows whose xid is `since` or newer to CSV files, all rows by default.

        Each line is the row's columns followed by its 64-bit xid.
        """
        from sync_assets.engine.run.steps import export_files

        target = target_table or source_table
        table = table_of(source_table, target, SyncMode.XMIN_INCREMENTAL, options)
        return self._guarded(
            [str(table.source)],
            lambda sessions, report: export_files(self._run(sessions, report), table, since),
        )

    def import_csv_to_temp_table(self, exported: ExportedFiles) -> TempTable:
        """Load exported files into a staging table beside their target."""
        from sync_assets.engine.run.steps import TempTable

        sessions = self._sessions()
        temp = TempTable(sessions, exported)
        return self._guarded([str(exported.table.target)], lambda *_: temp.load(), sessions)

    def execute_merge_with_xmin(self, temp: TempTable) -> Merged:
        """Merge a staging table into its target, in one transaction; return the rows written."""
        return self._guarded([str(temp.table.target)], lambda *_: temp.merge(), temp.sessions)

    def cleanup_temp_files(self, exported: ExportedFiles) -> None:
        """Remove exported files and their folder."""
        exported.remove()

    def cleanup_temp_table(self, temp: TempTable) -> None:
        """Drop a staging table and close the session that held it."""
        self._guarded([str(temp.table.target)], lambda *_: temp.drop(), temp.sessions)

    def _each(
        self,
        tables: Sequence[Table],
        do: Callable[[Run, Sequence[Table], OnOutcome[Result]], None],
        on_outcome: OnOutcome[Result] | None = None,
    ) -> tuple[Result | errors.SyncError, ...]:
        outcomes: dict[Table, Result | errors.SyncError] = {}

        def ended(table: Table, outcome: Result | errors.SyncError) -> None:
            outcomes[table] = outcome
            if on_outcome is not None:
                on_outcome(table, outcome)

        def work(sessions: Sessions, report: Reporter) -> None:
            do(self._run(sessions, report), tables, ended)

        self._guarded(different_targets(tables), work)
        return tuple(outcomes[table] for table in tables)

    def _run(self, sessions: Sessions, report: Reporter) -> Run:
        run_id = self._run_id or str(uuid.uuid4())
        return self._new_run(sessions, report, self.workers, run_id=run_id)

    def _sessions(self) -> Sessions:
        return Sessions(*self._ends, self._lender)

    def _guarded(
        self,
        places: Sequence[str],
        work: Callable[[Sessions, Reporter], Result],
        sessions: Sessions | None = None,
    ) -> Result:
        """Run `work` off this thread, with every error turned into a located SyncError."""
        used = sessions or self._sessions()
        report = Reporter(tuple(places), self._on_progress)
        try:
            with self._cancellable(used):
                call = partial(work, used, report)
                return used.translating(lambda: interruptible(call, used.cancel))
        except errors.SyncError as error:
            error.located(table=report.place, phase=report.phase)
            raise

    @contextmanager
    def _cancellable(self, sessions: Sessions) -> Iterator[Sessions]:
        self._active.add(sessions)
        try:
            yield sessions
        finally:
            self._active.discard(sessions)
