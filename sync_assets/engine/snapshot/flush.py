"""Wait until the source's WAL is on disk past the snapshot, before a mark is kept.

A crash of the source would otherwise hand out the same transaction ids again, and the next run
would take their rows for known ones.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, wait
from functools import partial

import psycopg2

from sync_assets.engine import errors
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import Connection, row, rows
from sync_assets.engine.threads import in_thread

PATIENCE = 0.2
"""Seconds that the source gets to flush by itself: the WAL writer's default delay. The WAL writer
leaves less than a page, which waits for somebody's commit."""

PAUSE = 0.02
"""Seconds between two looks at what is flushed."""

AT_MOST = 10.0
"""Seconds that a transaction on the target, with its locks, waits for the source's disk."""

FLUSHING_VERSION = 170000

_POSITION = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN true "
    "ELSE pg_current_wal_flush_lsn() - '0/0'::pg_lsn >= %s END"
)


def is_flushed(source: Connection, lsn: int) -> bool:
    """Whether the WAL up to `lsn` is on disk now."""
    with source.cursor() as cursor:
        return bool(row(cursor, _POSITION, (lsn,))[0])


def ensure_flushed(
    sessions: Sessions, source: Connection, lsn: int, ended: threading.Event | None = None
) -> None:
    """Return once the WAL up to `lsn` is on disk, or nobody asks any more; raises SourceNotFlushed.

    `source` is the connection that took the snapshot: another may lead to another server.
    """
    ended = ended or threading.Event()
    for _ in range(round(PATIENCE / PAUSE)):
        if is_flushed(source, lsn) or ended.wait(PAUSE):
            return
        sessions.check()
    # Whatever goes wrong here, what counts is whether the WAL is flushed in the end.
    with contextlib.suppress(psycopg2.Error, errors.SyncError):
        _flush(sessions)
    sessions.check()
    if not is_flushed(source, lsn):
        raise errors.SourceNotFlushed("the source has not written its WAL to disk yet")


def _flush(sessions: Sessions) -> None:
    """Write an empty message: what is flushed for it is all that came before it."""
    with sessions.connected("source") as emitter, emitter.cursor() as cursor:
        if emitter.server_version >= FLUSHING_VERSION:
            rows(cursor, "SELECT pg_logical_emit_message(false, 'sync_assets', '', true)")
            return
        # A transactional message needs a commit record, and that COMMIT waits for the flush; for no
        # standby, which may never answer.
        cursor.execute("BEGIN; SET LOCAL synchronous_commit = local")
        rows(cursor, "SELECT pg_logical_emit_message(true, 'sync_assets', '')")
        cursor.execute("COMMIT")


class Flush:
    """A flush of the source's WAL that goes on beside other work, and that only a COMMIT waits for.

    `held` keeps the connection open, and is closed as soon as nobody needs it any more.
    """

    def __init__(
        self, sessions: Sessions, source: Connection, lsn: int, held: contextlib.ExitStack
    ) -> None:
        self._ended = threading.Event()
        self._proof: Future[None] | None = None
        if not is_flushed(source, lsn):
            work = partial(self._wait, sessions, source, lsn, held.pop_all())
            self._proof = in_thread(work, "flush")

    def ensure(self) -> None:
        """Return once the WAL is on disk; raises SourceNotFlushed, at the latest after `AT_MOST`."""
        if self._proof is None:
            return
        if not wait([self._proof], AT_MOST).done:
            raise errors.SourceNotFlushed("the source's disk has not answered in time")
        self._proof.result()

    def end(self) -> None:
        """Nobody waits for it any more."""
        self._ended.set()
        if self._proof is not None:
            wait([self._proof])

    def _wait(
        self, sessions: Sessions, source: Connection, lsn: int, held: contextlib.ExitStack
    ) -> None:
        with held:
            ensure_flushed(sessions, source, lsn, self._ended)
