"""Read both ends at once, each by several connections that share one snapshot of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from psycopg2.sql import SQL, Composable

from sync_assets.engine import errors
from sync_assets.engine.compare.checksum import Piece, Rows, pieces, whole
from sync_assets.engine.computed.masking import hand_over
from sync_assets.engine.computed.masks import MaskKey
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.driver_errors import Side
from sync_assets.engine.postgres.session import (
    CATALOG_NAMES,
    SCANNED,
    Connection,
)
from sync_assets.engine.snapshot.indirect_reads import Reach, prove
from sync_assets.engine.snapshot.shared import read_beside, readers
from sync_assets.engine.threads import TaskGroup

SETTINGS = (
    # All buckets of a piece fit, and so do the rows that are listed in the usual case.
    "SET LOCAL work_mem = '32MB'",
)
LINES_AT_ONCE = 500
"""Lines of a listing that are handed on together, as a block."""

BLOCKS = 8
"""Blocks that a listing may be ahead of its reader."""

Statement = Callable[[Rows, Piece], Composable]
Take = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class End:
    """One end of a comparison: its rows, and the connection whose transaction holds its snapshot.

    A snapshot taken `in_recovery`, on a standby, is not shared with other connections. `settings`
    are those its rows are read under, besides the pinned ones. `reach` says that they come from more
    than tables that are locked by name. `masking` is the key of their masks, if they need one.
    """

    side: Side
    rows: Rows
    leader: Connection
    in_recovery: bool
    settings: tuple[str, ...] = ()
    reach: Reach | None = None
    masking: MaskKey | None = None

    def copy(self, connection: Connection, statement: Composable, take: Take, piece: Piece) -> None:
        """Give each line of a COPY of this end to `take`, under its settings."""
        further = self.reach.settings if self.reach else ()
        settings = (*self.settings, *further)
        copy(connection, statement, take, piece, settings, keep=self.reach is not None)


class Scan:
    """One end, read piece by piece; `take` gets each line, `done` is called after each piece.

    The connection that holds the snapshot reads too; every further one imports the snapshot, and
    simply does not take part where it can't.
    """

    def __init__(
        self,
        sessions: Sessions,
        end: End,
        workers: int,
        statement: Statement,
        take: Take,
        done: Callable[[], None],
    ) -> None:
        self._sessions, self._end, self._statement = sessions, end, statement
        self._take, self._done = take, done
        self._pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        self.pieces = 0
        for piece in pieces(end.rows.relation, workers):
            self._pieces.put(piece)
            self.pieces += 1
        self._workers = readers(min(workers, self.pieces), in_recovery=end.in_recovery)

    def start(self, group: TaskGroup) -> None:
        """Let its connections read, each a task of the group."""
        side, leader = self._end.side, self._end.leader
        read = partial(self._read, group.stopped)
        read_beside(group, self._sessions, side, leader, self._workers - 1, read)
        group.start(partial(read, leader))

    def _read(self, stopped: threading.Event, connection: Connection) -> None:
        if self._end.masking is not None:
            with connection.cursor() as cursor:
                hand_over(cursor, [self._end.masking])
        while not stopped.is_set():
            self._sessions.check()
            try:
                piece = self._pieces.get_nowait()
            except queue.Empty:
                break
            statement = self._statement(self._end.rows, piece)
            self._end.copy(connection, statement, self._take, piece)
            self._done()
        # Who holds the snapshot proves it at its end.
        if self._end.reach and connection is not self._end.leader:
            with connection.cursor() as cursor:
                prove(cursor)


def copy(
    connection: Connection,
    statement: Composable,
    take: Take,
    piece: Piece,
    settings: Sequence[str],
    *,
    keep: bool = False,
) -> None:
    """Give each line of a COPY to `take`; raises what the server says, and what `take` raises.

    `keep` says that the locks stay until they have proven what was read.
    """
    lock = SQL("LOCK TABLE {}{} IN ACCESS SHARE MODE NOWAIT").format(
        SQL("ONLY " if piece.only else ""), identifiers.relation(piece.name)
    )
    first = [
        "SAVEPOINT piece",
        *SETTINGS,
        *(SCANNED if piece.scanned and not keep else ()),
        *settings,
    ]
    if piece.only:
        # Who waits for a stronger lock must not make this worker wait behind him.
        first.append(lock.as_string(connection))
    with connection.cursor() as cursor:
        cursor.execute("; ".join(first))
        cursor.copy_expert(statement, _Lines(take))
        cursor.execute(
            f"RELEASE piece; {CATALOG_NAMES}" if keep else "ROLLBACK TO piece; RELEASE piece"
        )


class _Lines:
    """A file for COPY to write to; the server sends a message for each row, and so one a call."""

    def __init__(self, take: Take) -> None:
        self._take = take

    def write(self, line: bytes) -> int:
        self._take(line)
        return len(line)

    def read(self, _size: int = -1) -> bytes:
        # psycopg2 wants the method to exist.
        return b""


def streamed(
    group: TaskGroup, sessions: Sessions, end: End, statement: Composable
) -> Iterator[bytes]:
    """The lines of a COPY of one end, a task of the group; the server waits for who reads them."""
    stream = _Stream(end, statement, group.stopped)
    return stream.lines(sessions, group.start(stream.run))


class _Stream:
    """A COPY in a thread of its own, and the few lines that it is ahead."""

    def __init__(self, end: End, statement: Composable, stopped: threading.Event) -> None:
        self._end, self._statement, self._stopped = end, statement, stopped
        self._block: list[bytes] = []
        self._blocks: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(BLOCKS)

    def run(self) -> None:
        end = self._end
        try:
            piece = whole(end.rows.relation)
            end.copy(end.leader, self._statement, self._take, piece)
            self._put(self._block)
        finally:
            self._blocks.put(None)

    def lines(self, sessions: Sessions, running: Future[None]) -> Iterator[bytes]:
        for block in iter(self._blocks.get, None):
            self._room.release()
            # A cancel may have come when no statement was there to be cancelled.
            sessions.check()
            yield from block
        running.result()

    def _take(self, line: bytes) -> None:
        self._block.append(line)
        if len(self._block) == LINES_AT_ONCE:
            self._put(self._block)
            self._block = []

    def _put(self, block: list[bytes]) -> None:
        while not self._room.acquire(timeout=0.2):
            if self._stopped.is_set():
                raise errors.Cancelled("the other end could not be read")
        self._blocks.put(block)
