"""Notice when this run keeps somebody waiting for a lock, and give way, even with a frozen client.

ACCESS SHARE is the weakest lock, but an ALTER TABLE waits for it, and everybody else then waits
behind the ALTER TABLE. A process that is stopped in the middle of a COPY looks after nothing, and
a server process that cannot write to its client hears of no time-out. So the server watches by
itself, in one more session of ours, and ends the others from there.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator

import psycopg2
import psycopg2.errors
from psycopg2.sql import SQL, Composable, Literal

from sync_assets.engine import errors
from sync_assets.engine.postgres.connection import Sessions, Watching
from sync_assets.engine.postgres.driver_errors import Side
from sync_assets.engine.postgres.session import Connection, row, rows
from sync_assets.engine.postgres.time_outs import AS_IDLE_AS_ALLOWED

MAX_BLOCKING = 60.0
"""Seconds."""

LOOKS = 4
"""How often it is looked for within that time."""

AT_FIRST = 0.5
"""Seconds that a short run takes, and needs no watch for unless it is hurried."""

PATIENCE = 5.0
"""Seconds; a run whose watch cannot connect goes on without."""

_SAID = "sync_assets: "

_SETTINGS = """
SET search_path = pg_catalog; SET statement_timeout = 0;
SET default_transaction_isolation = 'read committed';
SELECT pg_backend_pid() FROM (SELECT count(pid) FROM pg_locks WHERE false) AS may_be_read
"""
"""The watch alone lifts a time-out: it reads no table, and would leave the run unwatched."""

_AT_WORK = """
SELECT FROM pg_catalog.pg_locks
WHERE pid OPERATOR(pg_catalog.=) %s AND locktype OPERATOR(pg_catalog.=) 'virtualxid'
"""
"""Whether a session is inside a statement, outside of any block; it may be between two looks."""

_LOOK = """
SELECT format('server process %s of the {side} (%s, %s) has waited %s s for a lock on %s '
         'that this run holds', a.pid, coalesce(a.usename, '?'),
         coalesce(nullif(a.application_name, ''), 'unnamed'),
         round(extract(epoch FROM clock_timestamp() - l.waitstart)),
         coalesce(l.relation::regclass::text, l.locktype)) AS said,
       pg_blocking_pids(l.pid) || {ours}::int[] AS pids
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE NOT l.granted AND l.waitstart < clock_timestamp() - {longest} * interval '1 second'
  AND pg_blocking_pids(l.pid) && {ours}::int[]
ORDER BY l.waitstart LIMIT 1
"""

_END = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = ANY ({pids}) AND pid <> pg_backend_pid() AND usename = session_user
  AND (pid = ANY ({ours}::int[]) OR application_name = current_setting('application_name'))
"""
"""What else of ours is in the way came later within this run, or is another one's, as long there."""

_WATCH = """
/* sync_assets: ends this run's sessions once somebody has waited for their locks for too long */
DECLARE
  waiting record;
BEGIN
  WHILE EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY ({ours}::int[])) LOOP
    FOR nap IN 1..{naps} LOOP
      PERFORM pg_sleep({seconds});
      COMMIT;
    END LOOP;
    {look} INTO waiting;
    IF FOUND THEN
      RAISE INFO '{said}%', waiting.said;
      PERFORM * FROM ({end}) AS ended;
      RETURN;
    END IF;
    COMMIT;
  END LOOP;
END
"""
"""Each look has a transaction of its own, as has each nap: an older one would hold back VACUUM, and see no
change."""

NAP = 1.0
"""Seconds that the watch sleeps at once, at most: a session that sleeps holds a snapshot."""


@contextlib.contextmanager
def giving_way(sessions: Sessions, longest: float, side: Side = "source") -> Iterator[None]:
    """Let go of one side once somebody there has waited for us for `longest` s: BlockingOthers.

    Within another such block of the same run it adds nothing. It connects only when the block has
    lasted for a moment, or is told to `hurry`, so that a short run costs nothing.
    """
    if side in sessions.watches:
        yield
        return
    watch = _Watch(sessions, longest, side)
    sessions.watches[side] = watch.watching
    try:
        with watch.on():
            yield
    finally:
        del sessions.watches[side]


def hurry(sessions: Sessions, connection: Connection, side: Side = "source") -> None:
    """Return once the server watches: what is read next may be more than fits on the way to us.

    The server is asked over `connection`: a client may be stopped between asking for the watch
    and sending it.
    """
    watching = sessions.watches.get(side)
    if watching is None:
        return
    watching.due.set()
    end = time.monotonic() + PATIENCE
    watching.on.wait(PATIENCE)
    with connection.cursor() as cursor:
        while watching.pid is not None and time.monotonic() < end:
            cursor.execute(_AT_WORK, (watching.pid,))
            if cursor.rowcount:
                break


def idling(sessions: Sessions, connection: Connection, side: Side = "source") -> None:
    """Let a session that holds a snapshot be idle while others work: now that it is watched."""
    hurry(sessions, connection, side)
    with connection.cursor() as cursor:
        cursor.execute(AS_IDLE_AS_ALLOWED)


class _Watch:
    """One session on the server that watches the others, and the thread that waits for it."""

    def __init__(self, sessions: Sessions, longest: float, side: Side) -> None:
        self.watching = Watching()
        self._sessions, self._longest, self._side = sessions, longest, side
        self._pause = longest / LOOKS
        self._left = threading.Event()
        self._session: Connection | None = None
        self._blocked: str | None = None

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Watch over a block; what broke in it because it gave way becomes BlockingOthers."""
        thread = threading.Thread(target=self._run, name=f"watch {self._side}", daemon=True)
        thread.start()
        try:
            yield
        except (psycopg2.Error, errors.SyncError):
            self._end(thread)
            if self._blocked is None:
                raise
        finally:
            self._end(thread)
        if self._blocked is not None:
            # Out here, so that what its sessions' end looked like is not chained to it.
            raise errors.BlockingOthers(self._blocked)

    def _end(self, thread: threading.Thread) -> None:
        self._left.set()
        self.watching.due.set()
        while thread.is_alive():
            if self._session is not None:
                with contextlib.suppress(psycopg2.Error):
                    self._session.cancel()
            thread.join(0.2)

    def _run(self) -> None:
        self.watching.due.wait(min(AT_FIRST, self._pause))
        while not self._left.is_set() and self._blocked is None:
            # Whoever watches must not be what fails the run; what failed may work a little later.
            with (
                contextlib.suppress(psycopg2.Error, errors.SyncError),
                self._sessions.connected(self._side) as connection,
            ):
                self._session = connection
                self._watch(connection)
            self.watching.on.set()
            if self._blocked is None:
                self._left.wait(self._pause)
        while self._blocked is not None and not self._left.wait(0.2):
            # Whatever the run waits for meanwhile. Again and again: a cancel that finds no
            # statement running has no effect.
            self._sessions.cancel_statements()

    def _watch(self, connection: Connection) -> None:
        with connection.cursor() as cursor:
            (own,) = row(cursor, _SETTINGS)
        ours = Literal([pid for pid in self._sessions.pids(self._side) if pid != own])
        parts: dict[str, Composable] = {"longest": Literal(self._longest), "side": SQL(self._side)}
        look = SQL(_LOOK).format(ours=ours, **parts)
        try:
            self._by_server(connection, look, ours, own)
        except psycopg2.OperationalError:
            raise
        except psycopg2.Error:
            # No PL/pgSQL, or not for this role.
            self._by_client(connection, look, ours)

    def _by_server(
        self, connection: Connection, look: Composable, ours: Composable, own: int
    ) -> None:
        end = SQL(_END).format(pids=SQL("waiting.pids"), ours=ours)
        naps = math.ceil(self._pause / NAP)
        body = SQL(_WATCH).format(
            ours=ours,
            naps=Literal(naps),
            seconds=Literal(self._pause / naps),
            look=look,
            end=end,
            said=SQL(_SAID),
        )
        watch = SQL("DO {}").format(Literal(body.as_string(connection))).as_string(connection)
        try:
            with connection.cursor() as cursor:
                self.watching.pid = own
                self.watching.on.set()
                if not self._left.is_set():
                    cursor.execute(watch)
        finally:
            self.watching.pid = None
            for notice in connection.notices:
                _, found, said = notice.partition(_SAID)
                self._blocked = said.strip() if found else self._blocked

    def _by_client(self, connection: Connection, look: Composable, ours: Composable) -> None:
        with connection.cursor() as cursor:
            while not self._left.wait(self._pause):
                for said, pids in rows(cursor, look):
                    self._blocked = said
                    cursor.execute(SQL(_END).format(pids=Literal(pids), ours=ours))
                    return
