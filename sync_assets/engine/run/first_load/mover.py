"""Move one piece of a first load after the other, each read under a short snapshot of its own.

A worker takes a piece that nobody works on from the ledger, reads it into batch files, lets go of the
source, and loads the files in the transaction that marks the piece as loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import psycopg2.errors

from sync_assets.engine import errors
from sync_assets.engine.context import Run
from sync_assets.engine.export.batches import Batch, BatchFile, DiskBudget
from sync_assets.engine.export.copy_chunk import copy_chunk
from sync_assets.engine.export.copy_piece import copy_piece
from sync_assets.engine.export.leaf_access import TAKEN
from sync_assets.engine.export.pace import keep_pace
from sync_assets.engine.load.copy_in import copy_in
from sync_assets.engine.pause import wait_while
from sync_assets.engine.plan.plan import Chunk, How, Plan
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.relation import Leaf, Relation
from sync_assets.engine.postgres.session import PINNED, UNFLUSHED, Connection, Cursor, transaction
from sync_assets.engine.postgres.time_outs import AS_IDLE_AS_ALLOWED
from sync_assets.engine.postgres.xid import XidWindow
from sync_assets.engine.progress import Progress
from sync_assets.engine.run.first_load import begin
from sync_assets.engine.run.first_load.begin import Load
from sync_assets.engine.run.first_load.moved import Moved, Read
from sync_assets.engine.snapshot.flush import ensure_flushed
from sync_assets.engine.snapshot.give_way import hurry
from sync_assets.engine.snapshot.identity import is_other_history, require_same_source
from sync_assets.engine.snapshot.scope import own_names
from sync_assets.engine.snapshot.snapshot import Snapshot, taken_of_leaf
from sync_assets.engine.state import ledger
from sync_assets.engine.state.ledger import Piece

TRIES = 5
"""How often a standby interrupts a worker, one time after the other, before the run gives up."""


class LeafChanged(Exception):
    """A leaf of the source is no longer what the load began with: what is left is to be told anew."""


@dataclass(slots=True)
class Mover:
    """A worker with a connection of its own to the target; sessions of the source go round in `sources`.

    `another` opens one in place of a session that the source has ended. Each reads in its `turn`.
    """

    run: Run
    load: Load
    sources: queue.SimpleQueue[Connection]
    another: Callable[[], Connection]
    turn: Callable[[Connection], contextlib.AbstractContextManager[None]]
    target: Connection
    folder: Path
    number: int
    moved: Moved
    budget: DiskBudget
    stopped: threading.Event
    _files: Iterator[int] = field(default_factory=itertools.count)
    _interrupted: int = 0

    def work(self) -> None:
        """Move pieces as long as there are any."""
        while not self.stopped.is_set():
            self.run.sessions.check()
            if self.budget.wait_for_room(self.stopped.is_set, 1.0) and not self._move_next():
                return

    def _move_next(self) -> bool:
        """Move one piece; False where none is left that nobody works on."""
        piece: Piece | None = None
        read = Read()
        with contextlib.ExitStack() as files, contextlib.ExitStack() as reading:
            source = reading.enter_context(self._source())
            wait_while(self.run, source, self.target)
            try:
                with transaction(self.target, UNFLUSHED, *PINNED, AS_IDLE_AS_ALLOWED) as cursor:
                    at = self.moved.place
                    onwards = (at.leaf, at.page) if at else None
                    piece = ledger.claim(cursor, self.load.target, self.load.began, onwards)
                    if piece is None:
                        return False
                    self._read(source, piece, read, files)
                    reading.close()
                    self._load(cursor, piece, read)
            except psycopg2.errors.QueryCanceled:
                late = read.began is not None and read.held > self._longest / 2
                if not late or self.run.sessions.cancelled:
                    raise
                self._count_interrupted()
                self._cut_smaller(piece)
            except psycopg2.OperationalError as error:
                # A standby needed what the snapshot still saw, or locked: it costs this piece, and
                # the session where that was between two statements.
                conflict = isinstance(error, psycopg2.errors.SerializationFailure)
                if not (conflict or self._ended_by_replay(source)) or not self._goes_on():
                    raise
            else:
                self._interrupted = 0
                self._told(piece, read)
        return True

    @property
    def _longest(self) -> float:
        return self.run.limits.max_snapshot_age

    def _goes_on(self) -> bool:
        """Whether this worker tries again after the source has interrupted it."""
        self._interrupted += 1
        if self._interrupted > TRIES or self.stopped.is_set() or self.run.sessions.cancelled:
            return False
        self._count_interrupted()
        return True

    def _count_interrupted(self) -> None:
        with self.moved.lock:
            self.moved.interrupted += 1

    @contextlib.contextmanager
    def _source(self) -> Iterator[Connection]:
        """A session of the source that nobody reads with; it comes back only in order."""
        while True:
            try:
                source = self.sources.get(timeout=1.0)
                break
            except queue.Empty:
                self.run.sessions.check()
                if self.stopped.is_set():
                    raise errors.Cancelled("the load was given up") from None
        try:
            yield source
        finally:
            if not source.closed:
                self.sources.put(source)
            elif self._ended_by_replay(source) and not self.stopped.is_set():
                self.sources.put(self.another())

    def _ended_by_replay(self, source: Connection) -> bool:
        """Whether a session is gone that a standby may have ended."""
        return bool(source.closed) and self.load.plan.view.snapshot.in_recovery

    def _read(
        self, source: Connection, piece: Piece, read: Read, files: contextlib.ExitStack
    ) -> None:
        leaf = self._leaf(piece)
        hurry(self.run.sessions, source)

        def written(count: int) -> None:
            self.budget.change(count)
            read.bytes += count
            if self.run.throttle is not None:
                keep_pace(self.run.throttle, count, self.run.sessions, source, self.stopped)

        def opening(ending: str) -> BatchFile:
            return BatchFile(
                self.folder / f"{self.number:04d}-{next(self._files):08d}.{ending}", written
            )

        def complete(batch: Batch) -> None:
            read.batches.append(batch)
            read.rows += batch.rows
            files.callback(self._discard, batch)

        read.began = time.monotonic()
        try:
            with taken_of_leaf(source, self.load.plan.table, leaf.name) as (relation, read.seen):
                plan = self._plan(relation, leaf, read.seen)
                names = own_names(plan.table, plan.view.relation, plan.view.types)
                with source.cursor() as cursor:
                    cursor.execute("; ".join((TAKEN, *names)))
                with self.turn(source):
                    last = self.moved.place
                    self.moved.place = copy_piece(
                        source,
                        Chunk(0, 0, leaf, How.OLDER, piece.first, piece.end),
                        lambda part: copy_chunk(
                            self.run.sessions, source, plan, part, opening, complete
                        ),
                        forget=read.forget,
                        last=last if last and last.leaf == leaf.oid else None,
                    )
        except psycopg2.errors.UndefinedTable:
            raise LeafChanged from None
        finally:
            read.held = time.monotonic() - read.began
        # A row that was gone for this piece must not come back by a crash: no other step reads it.
        ensure_flushed(self.run.sessions, source, read.seen.lsn)

    def _leaf(self, piece: Piece) -> Leaf:
        leaves = self.load.plan.view.relation.leaves
        leaf = next((leaf for leaf in leaves if leaf.oid == piece.leaf), None)
        if leaf is None:
            raise LeafChanged
        return leaf

    def _plan(self, relation: Relation, leaf: Leaf, now: Snapshot) -> Plan:
        """The plan of a piece under its snapshot; raises where that is of something else.

        An older state of the source would lack rows that no later step reads.
        """
        plan, seen = self.load.plan, self.load.seen
        there = next((each for each in relation.leaves if each.oid == leaf.oid), None)
        if (
            there is None
            or not begin.is_as_it_was(seen, there, now)
            or relation.fingerprint != plan.view.relation.fingerprint
            or is_other_history(seen, now)
        ):
            raise LeafChanged
        require_same_source(seen, now)
        window = XidWindow(seen.watermark, now.xmax)
        view = dataclasses.replace(plan.view, snapshot=now)
        return dataclasses.replace(plan, window=window, view=view)

    def _load(self, cursor: Cursor, piece: Piece, read: Read) -> None:
        table = identifiers.relation(self.load.staging.name)
        for batch in read.batches:
            self.run.sessions.check()
            if batch.rows:
                copy_in(cursor, self.load.plan, table, batch)
        if read.seen is not None:
            target, seen = self.load.target, read.seen
            ledger.loaded(cursor, target, piece, read.rows, read.bytes, seen)

    def _discard(self, batch: Batch) -> None:
        batch.discard()
        self.budget.change(-batch.bytes)

    def _told(self, piece: Piece, read: Read) -> None:
        """Count a piece, and say how far the load is; cut the next ones smaller where it took long."""
        if read.held > self._longest / 2:
            self._cut_smaller(piece)
        with transaction(self.target) as cursor:
            loaded = ledger.progress(cursor, self.load.target)
        with self.moved.lock:
            self.moved.pieces += 1
            self.moved.rows += read.rows
            self.moved.bytes += read.bytes
            self.moved.snapshot_seconds = max(self.moved.snapshot_seconds, read.held)
            step = Progress(
                str(self.load.target),
                "load",
                self.moved.rows,
                self.moved.bytes,
                loaded.pieces_loaded,
                loaded.pieces,
                loaded.pieces_loaded - self.moved.pieces,
                self.run.limits.pace,
            )
        self.run.report.moved(step)

    def _cut_smaller(self, piece: Piece | None) -> None:
        if piece is None or piece.end - piece.first == 1:
            raise errors.ServerCancelled(
                "one page took longer to read than a snapshot may be held",
                remedy="Raise max_snapshot_age.",
            )
        with transaction(self.target) as cursor:
            ledger.split(cursor, self.load.target, piece.leaf, (piece.end - piece.first) // 2)
