"""The body of one target asset: look, run the engine, report, tell failures apart."""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import dagster as dg
from dagster._core.execution.context.invocation import DirectAssetExecutionContext

from sync_assets.assets import specs
from sync_assets.assets.launchpad import SyncConfig
from sync_assets.assets.lineage import data_version, last_version, observation, provenance
from sync_assets.assets.metadata import Around, metadata_of
from sync_assets.config.model import SyncedTable
from sync_assets.engine import DataCopyEngine, observe
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.describe import Described, describe
from sync_assets.engine.inspection.holders import watermark_age
from sync_assets.engine.names import RelationName
from sync_assets.engine.progress import Progress
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.table import Table, WorkerConfig
from sync_assets.runs.failures import failure_of, of_command, retry_of
from sync_assets.runs.in_flight import end_dead_runs, left_to
from sync_assets.runs.listener import current_listener
from sync_assets.runs.process import note_process
from sync_assets.runs.progress_log import ProgressLog
from sync_assets.runs.run_watch import stopped_with_run
from sync_assets.runs.shared_targets import Rivals, refuse_shared_target


def sync_asset(
    members: Sequence[SyncedTable],
    workers: WorkerConfig,
    observed: Collection[dg.AssetKey] = (),
    rivals: Rivals = MappingProxyType({}),
) -> dg.AssetsDefinition:
    """The asset that keeps one target table in step, or the several of a snapshot group.

    `observed` are the source assets that this code location observes, `rivals` the targets that
    it writes through several connections.
    """
    first = members[0]

    @dg.multi_asset(
        name=specs.op_of(first),
        specs=[specs.target_spec(synced) for synced in members],
        pool=specs.pool(first),
        required_resource_keys={first.source_connection, first.target_connection},
    )
    def sync(
        context: dg.AssetExecutionContext, config: SyncConfig
    ) -> Iterator[dg.MaterializeResult[None]]:
        attempt = _Attempt(context, config, members, observed, rivals)
        listener = current_listener()
        if attempt.is_left():
            return
        for synced in members:
            listener.started(synced)
        try:
            receipts, around = attempt.run(workers)
        except SyncError as error:
            for synced in members:
                listener.failed(synced, error)
            retry = attempt.retry_after(error)
            if retry:
                raise retry from failure_of(error)
            raise failure_of(error) from None
        for synced, receipt in zip(members, receipts, strict=True):
            listener.finished(synced, receipt)
        yield from attempt.results(receipts, around)

    return sync


@dataclass(frozen=True)
class _Attempt:
    """One attempt of a run at the tables of one op."""

    context: dg.AssetExecutionContext
    config: SyncConfig
    members: Sequence[SyncedTable]
    observed: Collection[dg.AssetKey]
    rivals: Rivals

    def is_left(self) -> bool:
        """Note who works, end who cannot any more, and say whether a later run has taken this over."""
        instance, run_id = self.context.instance, self.context.op_execution_context.run_id
        run = instance.get_run_by_id(run_id)
        if run is not None and not of_command(run):
            # A command notes its process, and ends those runs, before it begins its own.
            note_process(instance, run)
            end_dead_runs(instance)
        later = left_to(instance, run, specs.target_key(self.members[0])) if run else None
        if later:
            self.context.log.info("run %s was asked for this while it waited here", later)
        return later is not None

    def run(self, workers: WorkerConfig) -> tuple[Sequence[Receipt], Sequence[Around]]:
        """Look at the source, sync, and look again at what the sync could not say."""
        for synced in self.members:
            if synced.table.target in self.rivals:
                refuse_shared_target(synced, self._url(synced.target_connection), self.rivals)
        tables = [self.config.applied_to(synced) for synced in self.members]
        url = self._url(self.members[0].source_connection)
        relations = [synced.table.source for synced in self.members]
        # Seen before the snapshot: what changes later asks for another run.
        markers, described = observe(url, relations).markers, describe(url, relations)
        if not self.config.dry_run:
            self._tell(markers, described)
        receipts = self._receipts(tables, self.config.limits(workers))
        age = None
        # The rows are committed: what only decorates the receipt must not fail the run.
        with contextlib.suppress(SyncError):
            age = watermark_age(url, receipts[0].watermark)
        around = [Around(markers.get(each), described.get(each), age) for each in relations]
        return receipts, around

    def results(
        self, receipts: Sequence[Receipt], around: Sequence[Around]
    ) -> Iterator[dg.MaterializeResult[None]]:
        """What was committed; of a dry run, only what it would have been."""
        for synced, receipt, seen in zip(self.members, receipts, around, strict=True):
            key, metadata = specs.target_key(synced), metadata_of(synced, receipt, seen)
            if receipt.dry_run:
                self.context.log_event(dg.AssetObservation(key, metadata=metadata))
                continue
            event = self.context.instance.get_latest_materialization_event(key)
            before = event.asset_materialization if event else None
            known = seen.marker is not None and specs.source_key(synced) in self.observed
            if self._in_a_run:
                # What comes with the result is also written into the event of the op's output.
                self.context.add_asset_metadata(metadata, key)
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={} if self._in_a_run else metadata,
                data_version=data_version(before, receipt),
                tags=provenance(synced, seen.marker or "") if known else None,
            )

    def retry_after(self, error: SyncError) -> dg.RetryRequested | None:
        """The next attempt, if there is one."""
        op = self.context.op_execution_context
        return retry_of(error, self.context.instance.get_run_by_id(op.run_id), op.retry_number)

    @property
    def _in_a_run(self) -> bool:
        return not isinstance(self.context, DirectAssetExecutionContext)

    def _url(self, connection: str) -> str:
        url: str = getattr(self.context.resources, connection).connection_url()
        return url

    def _tell(
        self, markers: Mapping[RelationName, str], described: Mapping[RelationName, Described]
    ) -> None:
        """Tell Dagster of source versions that it does not know yet."""
        for synced in self.members:
            key, marker = specs.source_key(synced), markers.get(synced.table.source)
            news = marker and marker != last_version(self.context.instance, key)
            if marker and news and key in self.observed:
                event = observation(key, marker, described.get(synced.table.source))
                self.context.log_event(event)

    def _receipts(self, tables: Sequence[Table], workers: WorkerConfig) -> Sequence[Receipt]:
        context, listener, first = self.context, current_listener(), self.members[0]
        log = ProgressLog(context.log.info)
        by_name = {str(synced.table.target): synced for synced in self.members}

        def follow(progress: Progress) -> None:
            log.follow(progress)
            listener.progressed(by_name.get(progress.table, first), progress)

        run_id = context.op_execution_context.run_id
        engine = DataCopyEngine(
            self._url(first.source_connection),
            self._url(first.target_connection),
            workers=workers,
            on_progress=follow,
            run_id=run_id,
        )
        with log, stopped_with_run(context.instance, run_id, engine.cancel):
            return engine.sync_group(tables)
