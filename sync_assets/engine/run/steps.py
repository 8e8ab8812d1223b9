"""The seed's steps, for callers who want them one by one: they move data, never the mark."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sync_assets.engine import errors
from sync_assets.engine.context import Run, Work
from sync_assets.engine.export import copy_statements
from sync_assets.engine.export.batches import Batch, Exported, batch_folder
from sync_assets.engine.export.export import Export
from sync_assets.engine.load import staging
from sync_assets.engine.load.staging import Staged
from sync_assets.engine.merge.merge import INDEXED, Merged
from sync_assets.engine.merge.publish import publish_rows
from sync_assets.engine.merge.still_there import still_there
from sync_assets.engine.merge.violations import explained
from sync_assets.engine.names import RelationName
from sync_assets.engine.pause import wait_while
from sync_assets.engine.plan.chunks import chunks, useful_workers
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.plan.planner import plan_rows_since
from sync_assets.engine.postgres import catalog
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.lock import locked, require_locks
from sync_assets.engine.postgres.session import Connection, row, transaction
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.snapshot.give_way import MAX_BLOCKING, giving_way
from sync_assets.engine.snapshot.identity import require_two_tables
from sync_assets.engine.state.left_behind import give_up_loads
from sync_assets.engine.state.state import peek
from sync_assets.engine.table import Table
from sync_assets.engine.workers import choose_workers


@dataclass(frozen=True, slots=True)
class ExportedFiles:
    """Batch files on disk, in the order of their chunks; `remove` them when done."""

    plan: Plan
    batches: tuple[Batch, ...]
    done: Exported
    _folder: contextlib.ExitStack

    @property
    def table(self) -> Table:
        """The table they were exported for."""
        return self.plan.table

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the files are."""
        return tuple(batch.path for batch in self.batches)

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return self.done.rows

    def remove(self) -> None:
        """Remove files and folder."""
        self._folder.close()


def max_xmin_of(sessions: Sessions, name: RelationName) -> int | None:
    """The highest 64-bit xid among the rows that a new snapshot of the relation sees."""
    with (
        sessions.connected("source") as source,
        snapshot.taken(source, [Table(name, name)]) as (view,),
        giving_way(sessions, MAX_BLOCKING),
        source.cursor() as cursor,
    ):
        (highest,) = row(cursor, copy_statements.max_xmin(name, view.snapshot.xmax))
    return None if highest is None else int(highest)


def export_files(run: Run, table: Table, since: int) -> ExportedFiles:
    """Export the rows whose xid is `since` or newer; 0 exports all."""
    with contextlib.ExitStack() as kept, contextlib.ExitStack() as held:
        folder = kept.enter_context(batch_folder(run.batch_dir))
        source = held.enter_context(run.sessions.connected("source"))
        wait_while(run, source)
        with (
            snapshot.taken(source, [table], run.report.begin) as (view,),
            giving_way(run.sessions, run.max_blocking),
        ):
            with run.sessions.connected("target") as target:
                known = peek(target, [table])
                work = Work(run, source, target, kept)
                plan = plan_rows_since(work, table, view, known, since)
            run.report.begin("export")
            found, done = _export(run, plan, source, folder)
        return ExportedFiles(plan, tuple(found), done, kept.pop_all())


def _export(run: Run, plan: Plan, source: Connection, folder: Path) -> tuple[list[Batch], Exported]:
    workers = choose_workers(run.workers, run.workers.max_workers)
    cut = list(chunks([plan], workers, run.workers.batch_size))
    # Nothing is loaded meanwhile, so the files may take all the room there is.
    export = Export(
        run.sessions, [plan], cut, folder, lambda *_: None, sys.maxsize, throttle=run.throttle
    )
    batches = export.batches(source, min(workers, useful_workers(cut)))
    return sorted(batches, key=lambda batch: batch.path), export.done[0]


class TempTable:
    """A staging table filled from exported files, in a target session of its own."""

    def __init__(self, sessions: Sessions, exported: ExportedFiles) -> None:
        self.sessions = sessions
        self.table = exported.table
        self._exported = exported
        self._staging = staging.staging_for(exported.plan)
        self._stack = contextlib.ExitStack()
        self._target: Connection | None = None

    @property
    def rows(self) -> int:
        """Rows in the staging table."""
        return self._exported.rows

    @property
    def name(self) -> str:
        """The staging table's qualified name."""
        return str(self._staging.name)

    def load(self) -> TempTable:
        """Create and fill the staging table, under the target's lock."""
        plan = self._exported.plan
        with self._closed_on_failure():
            self._target = self._stack.enter_context(self.sessions.connected("target"))
            self._stack.enter_context(locked(self._target, [plan.table.target]))
            # It may be another target than the one that was asked about for the export.
            with transaction(self._target) as cursor:
                there = catalog.read_relation(cursor, plan.table.target)
                require_two_tables(cursor, plan.table, plan.view, there)
            give_up_loads(self._target, [plan.table.target])
            (self._staging,) = staging.prepare_staging(self._target, [plan])
            for batch in self._exported.batches:
                staging.load_batch(self._target, self._staging, plan, batch)
            staging.finish(self._target, [self._staging], [plan])
        return self

    def merge(self) -> Merged:
        """Publish the staged rows in one transaction."""
        return explained(self.sessions, self._session, [self.table.target], self._merge)

    def _merge(self) -> Merged:
        with transaction(self._session, INDEXED) as cursor:
            require_locks(cursor, [self.table.target])
            staged = Staged(self._exported.plan, self._staging, self._exported.done, (), 0, 0.0)
            look = functools.partial(still_there, self.sessions)
            return publish_rows(cursor, [staged], {}, look)[self.table.target]

    def drop(self) -> None:
        """Drop the staging table, unless it has become the target, and close the session."""
        try:
            staging.drop_staging(self._session, self._staging)
        finally:
            self._stack.close()

    @property
    def _session(self) -> Connection:
        if self._target is None or self._target.closed:
            raise errors.ConfigurationError(
                f"the staging table {self.name} is gone",
                remedy="Import the exported files again.",
            )
        return self._target

    @contextlib.contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._stack.close()
            raise
