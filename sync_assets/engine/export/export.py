"""COPY the chunks of a plan to batch files, several workers on one snapshot."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path

from sync_assets.engine import errors
from sync_assets.engine.computed.masking import hand_over
from sync_assets.engine.export import copy_statements
from sync_assets.engine.export.batches import Batch, BatchFile, DiskBudget, Exported
from sync_assets.engine.export.copy_chunk import copy_chunk
from sync_assets.engine.export.leaf_access import (
    LEAVE,
    TAKEN,
    beat,
    leaf_of,
    locking,
)
from sync_assets.engine.export.pace import keep_pace
from sync_assets.engine.limits import Throttle
from sync_assets.engine.plan.chunks import noted_chunks
from sync_assets.engine.plan.plan import Chunk, Plan
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import Connection
from sync_assets.engine.snapshot.give_way import hurry, idling
from sync_assets.engine.snapshot.indirect_reads import prove
from sync_assets.engine.snapshot.scope import own_names
from sync_assets.engine.snapshot.shared import read_beside, readers
from sync_assets.engine.threads import TaskGroup

LARGE = 1 << 17
"""Bytes of a relation that may be more than a socket takes while nobody reads at its other end."""

BEAT = 1.0
"""Seconds that a session is idle in its transaction, where it can be helped."""


class Export:
    """One running export of a group of tables: chunks go in, batch files come out.

    The connection that took the snapshot reads too; every further worker imports the snapshot,
    and simply does not take part where it can't, so the worst case is one connection that reads
    everything. On a standby that is always so.
    """

    def __init__(  # noqa: PLR0913 - some of a run and some of its work, for `steps` without either
        self,
        sessions: Sessions,
        plans: Sequence[Plan],
        chunks: Sequence[Chunk],
        folder: Path,
        on_bytes: Callable[[int, Exported], None],
        max_disk: int,
        *,
        hold: bool = False,
        throttle: Throttle | None = None,
    ) -> None:
        self.done = [Exported() for _ in plans]
        for chunk in chunks:
            self.done[chunk.member].chunks += 1
        self.workers = 0
        self.ended = 0.0
        self._sessions, self._plans, self._folder = sessions, plans, folder
        self._on_bytes, self._hold = on_bytes, hold
        self._budget = DiskBudget(max_disk)
        self._throttle = throttle
        self._large = any(
            each.leaf is None
            or each.leaf.bytes > LARGE
            # What it shows is not what its own file holds.
            or not plans[each.member].view.relation.has_versions
            for each in chunks
        )
        self._chunks: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
        for chunk in chunks:
            self._chunks.put(chunk)
        self._finished: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._readers = TaskGroup(self._let_go)
        self._stopped = self._readers.stopped
        self._lock = threading.Lock()

    def batches(self, leader: Connection, workers: int) -> Generator[Batch, None, None]:
        """Yield each batch once it is complete; the caller discards it. Raises what a worker did.

        `leader` is inside the transaction of the plans' snapshot.
        """
        workers = readers(workers, in_recovery=self._plans[0].view.snapshot.in_recovery)
        with self._readers:
            others = read_beside(
                self._readers, self._sessions, "source", leader, workers - 1, self._read
            )
            self._readers.start(partial(self._lead, leader, others))
            yield from iter(self._finished.get, None)

    def discard(self, batch: Batch) -> None:
        """Remove a batch's file and let the export use its room."""
        batch.discard()
        self._budget.change(-batch.bytes)

    def give_up(self) -> None:
        """Let go of the source at once; whoever collects hears of it after what is ready."""
        self._readers.fail(errors.Cancelled("the export was given up"))

    def _let_go(self) -> None:
        self._finished.put(None)
        self._sessions.cancel_statements("source")

    def _lead(self, leader: Connection, others: Sequence[Future[None]]) -> None:
        """Read, then keep the locks until the last reader is done, and release the snapshot.

        With `hold` the caller commits, and reads on in the same snapshot.
        """
        self._read(leader)
        while wait(others, BEAT).not_done:
            beat(leader)
        if self._hold:
            idling(self._sessions, leader)
        else:
            with leader.cursor() as cursor:
                cursor.execute("COMMIT")
        self.ended = time.monotonic()
        self._finished.put(None)

    def _read(self, connection: Connection) -> None:
        """Read chunks as long as there are any; the receipt counts who does."""
        with self._lock:
            self.workers += 1
        with connection.cursor() as cursor:
            hand_over(cursor, (plan.table.masking_key for plan in self._plans))
        if self._large:
            hurry(self._sessions, connection)
        before = None
        while not self._stopped.is_set():
            while not self._budget.wait_for_room(self._stopped.is_set, BEAT):
                beat(connection)
            self._sessions.check()
            try:
                chunk = self._chunks.get_nowait()
            except queue.Empty:
                break
            self._move_on(connection, before, chunk)
            before = chunk
            self._read_chunk(connection, chunk)
            with self._lock:
                self.done[chunk.member].chunks_done += 1
        self._prove(connection, self._plans)
        if before and self._hold:
            with connection.cursor() as cursor:
                cursor.execute("; ".join(LEAVE))

    def _prove(self, connection: Connection, plans: Sequence[Plan]) -> None:
        """Make sure that what was read through something else was whole, while it is locked."""
        if any(plan.view.reach for plan in plans):
            with connection.cursor() as cursor:
                prove(cursor)

    def _move_on(self, connection: Connection, before: Chunk | None, chunk: Chunk) -> None:
        """Lock the chunk's leaf in this session too, and no other.

        A lock on every leaf of a large table, held by every worker, would be more than the server
        has room for.
        """
        plan = self._plans[chunk.member]
        by = copy_statements.reading(plan, chunk)
        if (
            before
            and leaf_of(before) == leaf_of(chunk)
            and copy_statements.reading(self._plans[before.member], before) == by
        ):
            return
        lock = locking(plan, chunk, connection)
        if before and before.member == chunk.member and plan.view.reach:
            # Its locks are all kept for the proof, which is made once.
            statements = lock
        else:
            if before:
                self._prove(connection, [self._plans[before.member]])
            names = own_names(plan.table, plan.view.relation, plan.view.types)
            # What is read besides the leaf may need the indexes that a scan does without.
            further = plan.view.reach.settings if plan.view.reach else by
            leave = LEAVE if before else ()
            statements = (*leave, "SAVEPOINT chunk", TAKEN, *names, *further, *lock)
        if statements:
            with connection.cursor() as cursor:
                cursor.execute("; ".join(statements))

    def _read_chunk(self, connection: Connection, chunk: Chunk) -> None:
        pages: set[int] = set()
        self._copy(connection, chunk, pages)
        if chunk.notes and chunk.leaf is not None and pages:
            for noted in noted_chunks(chunk, chunk.leaf, pages):
                self._copy(connection, noted, pages)

    def _copy(self, connection: Connection, chunk: Chunk, pages: set[int]) -> None:
        """Read a chunk into batch files; each is handed on once it is full."""
        plan, done = self._plans[chunk.member], self.done[chunk.member]

        def written(count: int) -> None:
            self._budget.change(count)
            with self._lock:
                done.bytes += count
            self._on_bytes(chunk.member, done)
            if self._throttle is not None:
                keep_pace(self._throttle, count, self._sessions, connection, self._stopped)

        def opening(ending: str) -> BatchFile:
            self._wait_for_room()
            name = f"{chunk.number:08d}-{next(self._numbers):08d}.{ending}"
            return BatchFile(self._folder / name, written)

        with errors.about(plan.table.target):
            copy_chunk(self._sessions, connection, plan, chunk, opening, self._hand_on, pages=pages)

    def _hand_on(self, batch: Batch) -> None:
        """Let a batch be loaded."""
        done = self.done[batch.member]
        with self._lock:
            done.keys += batch.rows if batch.keys_only else 0
            done.rows += 0 if batch.keys_only else batch.rows
        if batch.rows:
            self._finished.put(batch)
        else:
            self.discard(batch)

    def _wait_for_room(self) -> None:
        """Hold up a COPY while there are too many batches; raises once all is to end."""
        while not self._budget.wait_for_room(self._stopped.is_set, BEAT):
            self._sessions.check()
        self._sessions.check()
        if self._stopped.is_set():
            raise errors.Cancelled("the export was given up")
