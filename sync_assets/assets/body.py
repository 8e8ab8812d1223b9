"""The body of one target asset: look, run the engine, report, tell failures apart."""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from types import MappingProxyType

import dagster as dg
from dagster._core.execution.context.invocation import DirectAssetExecutionContext

from sync_assets.assets import specs
from sync_assets.assets.ahead.same_process import remember, work_ahead
from sync_assets.assets.launchpad import SyncConfig
from sync_assets.assets.lineage import (
    data_version,
    last_marker,
    last_version,
    observation,
    provenance,
)
from sync_assets.assets.metadata import loading, metadata_of
from sync_assets.assets.wholes import materialized
from sync_assets.assets.work import Done, SyncOp, Work
from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import Cancelled, SyncError
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.workers import WorkerConfig
from sync_assets.runs.failures import failure_of, of_command, retry_of
from sync_assets.runs.in_flight import end_dead_runs, left_to
from sync_assets.runs.listener import Listener, current_listener
from sync_assets.runs.process import is_first_here, note_process
from sync_assets.runs.run_watch import stopped_with_run
from sync_assets.runs.shared_targets import Rivals
from sync_assets.runs.tracing import traced

Results = Iterator[dg.MaterializeResult[None]]


@dataclass(frozen=True, slots=True)
class Seams:
    """What a component may say otherwise: what Dagster shows of a target, and what its op does."""

    spec: Callable[[SyncedTable], dg.AssetSpec] = specs.target_spec
    execute: "Callable[[dg.AssetExecutionContext, Sync], Results]" = lambda _, sync: sync.results()


def sync_asset(
    members: Sequence[SyncedTable],
    workers: WorkerConfig,
    observed: Collection[dg.AssetKey] = (),
    rivals: Rivals = MappingProxyType({}),
    seams: Seams = Seams(),
) -> dg.AssetsDefinition:
    """The asset that keeps one target table in step, or the several of a snapshot group.

    `observed` are the source assets that this code location observes, `rivals` the targets that
    it writes through several connections.
    """
    first, op = members[0], SyncOp(members, workers, rivals)
    shown = [seams.spec(synced) for synced in members]

    @dg.multi_asset(
        name=specs.op_of(first),
        specs=[specs.plainly(spec) for spec in shown],
        pool=specs.pool(first),
        op_tags={name: tag for each in members for name, tag in each.op_tags.items()},
        required_resource_keys={first.source_connection, first.target_connection},
    )
    def sync(context: dg.AssetExecutionContext, config: SyncConfig) -> Results:
        yield from seams.execute(context, Sync(context, config, op, observed))

    keys = [key for spec in shown for key in (spec.key, *(dep.asset_key for dep in spec.deps))]
    return remember(specs.with_true_keys(sync, keys), op)


@dataclass(frozen=True)
class Sync:
    """One attempt of a run at the tables of one op: a table, or those of a snapshot group."""

    context: dg.AssetExecutionContext
    config: SyncConfig
    op: SyncOp
    observed: Collection[dg.AssetKey]

    @property
    def members(self) -> Sequence[SyncedTable]:
        """The tables."""
        return self.op.members

    @property
    def _run_id(self) -> str:
        return self.context.op_execution_context.run_id

    @property
    def _listener(self) -> Listener:
        return traced(current_listener(), self._run_id)

    def results(self) -> Results:
        """Sync the tables, and say of each what was committed.

        Raises dg.Failure with the error of the engine, or dg.RetryRequested where that may pass.
        """
        listener = self._listener
        if self._is_left():
            return
        try:
            done = self._run()
        except SyncError as error:
            for synced in self.members:
                listener.failed(synced, error)
                if error.loaded:
                    seen = loading(specs.target_key(synced), error.loaded)
                    self.context.log_event(seen)
            retry = self._retry_after(error)
            if retry:
                raise retry from failure_of(error)
            raise failure_of(error) from None
        for synced, receipt in zip(self.members, done.receipts, strict=True):
            listener.finished(synced, receipt)
        yield from self._committed(done)

    def _is_left(self) -> bool:
        """Note who works, end who cannot any more, and say whether a later run has taken this over."""
        if not self._in_a_run:
            return False
        instance, run = self.context.instance, self.context.run
        # A command notes its process, and ends those runs, before it begins its own.
        if not of_command(run) and is_first_here(run.run_id):
            note_process(instance, instance.get_run_by_id(run.run_id) or run)
            end_dead_runs(instance)
        later = left_to(instance, run, [specs.target_key(self.members[0])])
        for each in later.values():
            self.context.log.info("run %s was asked for this while it waited here", each)
        return bool(later)

    def _run(self) -> Done:
        """Do the work, or wait for what was begun ahead; tell Dagster what was seen on the source."""
        source, target = self.op.ends
        urls = (self._database(source), self._database(target))
        done = self._done_ahead(urls) if self._in_a_run else None
        if done is None:
            done = Work(self.op, self.config, urls, self._run_id).followed(
                self.context.log.info,
                lambda engine: self._watched(engine.cancel),
                self._listener,
            )
        if not self.config.dry_run:
            self._tell(done)
        return done

    def _done_ahead(self, urls: tuple[DatabaseOrUrl, DatabaseOrUrl]) -> Done | None:
        ahead = work_ahead(self.context.op_execution_context, self.op, urls)
        begun = ahead.take(self.op.name) if ahead else None
        if ahead is None or begun is None:
            return None
        begun.log_into(self.context.log.info)
        try:
            with suppress(CancelledError):
                return begun.done.result()
        except (Cancelled, dg.DagsterExecutionInterruptedError):
            ahead.end()
            raise
        return None

    def _watched(self, cancel: Callable[[], None]) -> AbstractContextManager[None]:
        """A block that ends, with its work cancelled, once the run is stopped."""
        return stopped_with_run(self.context.instance, self._run_id, cancel)

    def _committed(self, done: Done) -> Results:
        """What was committed; of a dry run, only what it would have been."""
        for synced, receipt, around in zip(self.members, done.receipts, done.around, strict=True):
            key, seen = specs.target_key(synced), around
            if self.config.rows is not None:
                # All other rows are still those of the sync before.
                seen = replace(around, marker=last_marker(self.context.instance, key))
            metadata = metadata_of(synced, receipt, seen)
            if receipt.dry_run:
                self.context.log_event(dg.AssetObservation(key, metadata=metadata))
                continue
            for event in materialized(synced):
                self.context.log_event(event)
            known = seen.marker is not None and specs.source_key(synced) in self.observed
            if self._in_a_run:
                # What comes with the result is also written into the event of the op's output.
                self.context.add_asset_metadata(metadata, key)
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={} if self._in_a_run else metadata,
                data_version=data_version(self.context.instance, key, receipt),
                tags=provenance(synced, seen.marker or "") if known else None,
            )

    def _retry_after(self, error: SyncError) -> dg.RetryRequested | None:
        """The next attempt, if there is one."""
        op = self.context.op_execution_context
        return retry_of(error, self.context.instance.get_run_by_id(op.run_id), op.retry_number)

    @property
    def _in_a_run(self) -> bool:
        return not isinstance(self.context, DirectAssetExecutionContext)

    def _database(self, connection: str) -> DatabaseOrUrl:
        database: DatabaseOrUrl = getattr(self.context.resources, connection).database()
        return database

    def _tell(self, done: Done) -> None:
        """Tell Dagster of source versions that it does not know yet."""
        for synced, seen in zip(self.members, done.around, strict=True):
            key, marker = specs.source_key(synced), seen.marker
            if (
                key in self.observed
                and marker
                and marker != last_version(self.context.instance, key)
            ):
                # Outside of the run, whose own events are stored twice.
                event = observation(key, marker, seen.described)
                self.context.instance.report_runless_asset_event(event)
