"""The body of one target asset: connect, run the engine, report, tell failures apart."""

import dataclasses
import threading
import time

import dagster as dg

from sync_assets import specs
from sync_assets.config import SyncedTable
from sync_assets.engine import DataCopyEngine
from sync_assets.engine.errors import SyncError
from sync_assets.engine.progress import Progress
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.table import Table, WorkerConfig
from sync_assets.failures import failure_of, retry_of
from sync_assets.listener import current_listener
from sync_assets.metadata import metadata_of
from sync_assets.run_watch import stopped_with_run

LOG_SECONDS = 10.0


class SyncConfig(dg.Config):
    """What a person may ask for in one run."""

    full_refresh: bool = False
    accept_source: bool = False
    confirm_deletes: int | None = None
    dry_run: bool = False

    def applied_to(self, table: Table) -> Table:
        """The table as this run treats it."""
        return dataclasses.replace(
            table,
            full_refresh=self.full_refresh,
            accept_source=self.accept_source,
            confirm_deletes=self.confirm_deletes,
            dry_run=self.dry_run,
        )


def sync_asset(synced: SyncedTable, workers: WorkerConfig) -> dg.AssetsDefinition:
    """The asset that keeps one target table in step with its source."""
    spec = specs.target_spec(synced)

    @dg.multi_asset(
        name=specs.op_name(spec.key),
        specs=[spec],
        pool=specs.pool(synced),
        required_resource_keys={synced.source_connection, synced.target_connection},
    )
    def sync(context: dg.AssetExecutionContext, config: SyncConfig) -> dg.MaterializeResult[None]:
        table, listener = config.applied_to(synced.table), current_listener()
        try:
            receipt = _synced(context, synced, table, workers)
        except SyncError as error:
            listener.failed(table, error)
            retry = _retry_of(context, error)
            if retry:
                raise retry from failure_of(error)
            raise failure_of(error) from None
        listener.finished(table, receipt)
        return dg.MaterializeResult(metadata=metadata_of(receipt))

    return sync


def _retry_of(context: dg.AssetExecutionContext, error: SyncError) -> dg.RetryRequested | None:
    op = context.op_execution_context
    return retry_of(error, context.instance.get_run_by_id(op.run_id), op.retry_number)


def _synced(
    context: dg.AssetExecutionContext, synced: SyncedTable, table: Table, workers: WorkerConfig
) -> Receipt:
    listener, log = current_listener(), _ProgressLog(context)

    def follow(progress: Progress) -> None:
        log.follow(progress)
        listener.progressed(table, progress)

    listener.started(table)
    engine = DataCopyEngine(
        getattr(context.resources, synced.source_connection).connection_url(),
        getattr(context.resources, synced.target_connection).connection_url(),
        workers=workers,
        on_progress=follow,
        run_id=context.op_execution_context.run_id,
    )
    with stopped_with_run(context.instance, context.op_execution_context.run_id, engine.cancel):
        return engine.sync(table)


class _ProgressLog:
    """The engine's steps in the run's log: each phase once, and a sign of life now and then."""

    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self._log = context.log
        self._phases: set[str] = set()
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def follow(self, progress: Progress) -> None:
        now = time.monotonic()
        with self._lock:
            if progress.phase in self._phases and now - self._last < LOG_SECONDS:
                return
            self._phases.add(progress.phase)
            self._last = now
        chunks = f", {progress.chunks_done} of {progress.chunks} chunks" if progress.chunks else ""
        rows = f": {progress.rows:,} rows{chunks}" if progress.rows or chunks else ""
        self._log.info(f"{progress.table}: {progress.phase}{rows}")
