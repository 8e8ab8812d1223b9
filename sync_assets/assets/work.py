"""What the op of one table, or of a snapshot group, does on the servers: look, sync, look again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sync_assets.assets import specs
from sync_assets.assets.launchpad import SyncConfig
from sync_assets.assets.metadata import Around
from sync_assets.config.model import SyncedTable
from sync_assets.engine import DataCopyEngine, observe
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.describe import describe
from sync_assets.engine.inspection.holders import WatermarkAge, watermark_age
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.connection import Server
from sync_assets.engine.progress import OnProgress, Progress
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.table import Table
from sync_assets.engine.workers import WorkerConfig
from sync_assets.runs.listener import Listener
from sync_assets.runs.progress_log import ProgressLog
from sync_assets.runs.shared_targets import Rivals, refuse_shared_target

Watched = Callable[[DataCopyEngine], contextlib.AbstractContextManager[None]]
"""What the engine works within: whoever wants to stop it is told of it."""


@dataclass(frozen=True, slots=True)
class Done:
    """The receipts of an op's tables in their order, and what was seen on the source around them."""

    receipts: Sequence[Receipt]
    around: Sequence[Around]


@dataclass(frozen=True, slots=True)
class SyncOp:
    """What an op was made of: the table, or the several of a snapshot group."""

    members: Sequence[SyncedTable]
    workers: WorkerConfig
    rivals: Rivals

    @property
    def name(self) -> str:
        """What Dagster calls it."""
        return specs.op_of(self.members[0])

    @property
    def ends(self) -> tuple[str, str]:
        """The names of its connections."""
        return self.members[0].source_connection, self.members[0].target_connection


@dataclass(frozen=True, slots=True)
class Work:
    """One op's work in one run."""

    op: SyncOp
    config: SyncConfig
    urls: tuple[DatabaseOrUrl, DatabaseOrUrl]
    run_id: str

    @property
    def members(self) -> Sequence[SyncedTable]:
        """The tables."""
        return self.op.members

    def followed(
        self, write: Callable[[str], object], watched: Watched, listener: Listener
    ) -> Done:
        """Do it with a log, and a listener who hears of each table; raises SyncError."""
        by_name = {str(synced.table.target): synced for synced in self.members}
        for synced in self.members:
            listener.started(synced)
        with ProgressLog(write) as log:

            def follow(progress: Progress) -> None:
                log.follow(progress)
                listener.progressed(by_name.get(progress.table, self.members[0]), progress)

            return self._done(follow, watched)

    def _done(self, on_progress: OnProgress, watched: Watched) -> Done:
        _, target = self.urls
        for synced in self.members:
            if synced.table.target in self.op.rivals:
                refuse_shared_target(synced, target, self.op.rivals)
        relations = [synced.table.source for synced in self.members]
        engine = self.engine(on_progress)
        with engine.lending(), watched(engine):
            seen = engine.ask(partial(seen_before, relations=relations))
            receipts = engine.sync_group(self.tables)
            age = engine.ask(partial(age_of, watermark=receipts[0].watermark))
        return Done(receipts, [seen[each].aged(age) for each in relations])

    def engine(self, on_progress: OnProgress) -> DataCopyEngine:
        """The engine for it, and for whatever has the same ends, limits and run."""
        return DataCopyEngine(
            *self.urls,
            workers=self.workers,
            on_progress=on_progress,
            run_id=self.run_id,
            limits=self.members[0].limits,
        )

    @property
    def workers(self) -> WorkerConfig:
        """The workers as this run may use them; raises ConfigurationError."""
        return self.config.limits(self.op.workers)

    @property
    def tables(self) -> Sequence[Table]:
        """What the engine is asked for, in the order of the members."""
        return [self.config.applied_to(synced) for synced in self.members]


def seen_before(source: Server, relations: Sequence[RelationName]) -> Mapping[RelationName, Around]:
    """What is seen of each relation before the snapshot: what changes later asks for another run."""
    markers, described = observe(source, relations).markers, describe(source, relations)
    return {each: Around(markers.get(each), described.get(each)) for each in relations}


def age_of(source: Server, watermark: int) -> WatermarkAge | None:
    """The age of a mark, where it can be told.

    The rows are committed by then: what only decorates the receipt must not fail the run.
    """
    with contextlib.suppress(SyncError):
        return watermark_age(source, watermark)
    return None
