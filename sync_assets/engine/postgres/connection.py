"""Connections to both databases: opened, made to speak alike, cancelled and closed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from sync_assets.engine import errors
from sync_assets.engine.postgres.access.connect import connect, greet
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.access.tunnels import tunnel_of
from sync_assets.engine.postgres.driver_errors import (
    Greeting,
    Side,
    classify,
    disk_failure,
)
from sync_assets.engine.postgres.session import (
    Connection,
    Cursor,
    Result,
    transaction,
)

IDLE = psycopg2.extensions.TRANSACTION_STATUS_IDLE


@dataclass(slots=True)
class Watching:
    """A watch over one side: set `due` to hurry it; it sets `on` when it begins, or cannot.

    Its server process is `pid` while it is the server that watches.
    """

    due: threading.Event = field(default_factory=threading.Event)
    on: threading.Event = field(default_factory=threading.Event)
    pid: int | None = None


class Lender:
    """Connections that are kept between their uses while a block of it lasts, and closed after it.

    Outside of one, none is kept. Each is lent to one at a time.
    """

    def __init__(self) -> None:
        self._kept: dict[Side, list[Connection]] = {"source": [], "target": []}
        self._lock = threading.Lock()
        self.lends = False

    def __enter__(self) -> Lender:
        self.lends = True
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.lends = False
            kept = [held for those in self._kept.values() for held in those]
            self._kept = {"source": [], "target": []}
        for held in kept:
            held.close()

    def lend(self, side: Side) -> tuple[Connection, Greeting] | None:
        """One that was given back, with nothing of its last use; None where none is alive."""
        while True:
            with self._lock:
                if not self._kept[side]:
                    return None
                connection = self._kept[side].pop()
            try:
                with connection.cursor() as cursor:
                    cursor.execute("DISCARD ALL")
                return connection, greet(connection, side)
            except psycopg2.Error:
                connection.close()

    def give_back(self, side: Side, connection: Connection) -> bool:
        """Keep a connection that is at rest; False where it is to be closed."""
        with self._lock:
            if self.lends:
                self._kept[side].append(connection)
            return self.lends


class Sessions:
    """The connections of one run, so that all of them can be cancelled at once."""

    def __init__(
        self, source_url: DatabaseOrUrl, target_url: DatabaseOrUrl, lender: Lender | None = None
    ) -> None:
        self._urls: dict[Side, DatabaseOrUrl] = {"source": source_url, "target": target_url}
        self._open: dict[Connection, Greeting] = {}
        self._met: dict[Connection, Greeting] = {}
        self._lock = threading.Lock()
        self._lender = lender or Lender()
        self.cancelled = False
        self.watches: dict[Side, Watching] = {}
        """The sides that `snapshot.give_way` watches over."""

    @contextlib.contextmanager
    def connected(self, side: Side) -> Iterator[Connection]:
        """Open an autocommit connection to one side; close it at the end, whatever it is doing."""
        connection, greeting = self._lender.lend(side) or connect(self._urls[side], side)
        with self._lock:
            self._open[connection] = self._met[connection] = greeting
        at_rest = False
        try:
            self.check()
            yield connection
            # One that something went wrong on may still be told to cancel what it has left behind.
            at_rest = connection.info.transaction_status == IDLE
        finally:
            with self._lock:
                del self._open[connection]
            if not (at_rest and self._lender.give_back(side, connection)):
                connection.close()

    @contextlib.contextmanager
    def lending(self) -> Iterator[None]:
        """Within it, a connection that is given back in order is lent again, as good as new."""
        if self._lender.lends:
            yield
            return
        with self._lender:
            yield

    def pids(self, side: Side) -> list[int]:
        """The server processes of the connections to one side."""
        with self._lock:
            return [its.pid for its in self._open.values() if its.side == side]

    def _greeting_of(self, error: psycopg2.Error) -> Greeting | None:
        """Of the session that an error came from, where the driver still knows."""
        return self._met.get(error.cursor.connection) if error.cursor is not None else None

    def translating(self, work: Callable[[], Result]) -> Result:
        """Do `work`, with what the driver and the disk raise turned into SyncError."""
        failure: errors.SyncError | None
        try:
            return work()
        except psycopg2.Error as error:
            trace = error.__traceback__
            failure = self.explained(error)
            if self.cancelled:
                failure = errors.Cancelled("the run was cancelled")
        except OSError as error:
            trace = error.__traceback__
            failure = disk_failure(error)
            if failure is None:
                raise
        # Out here, so that the driver's own error, whose text may carry values, is not chained
        # to it; a context manager could not help chaining it. Where it was raised is no secret.
        raise failure.with_traceback(trace)

    def explained(self, error: psycopg2.Error, place: str = "") -> errors.SyncError:
        """The SyncError for what happened, at a place among the rows where that is known."""
        failure = classify(error, self._greeting_of(error), place)
        if isinstance(failure, errors.ConnectionLost):
            return self._lost_tunnel() or failure
        return failure

    def _lost_tunnel(self) -> errors.SyncError | None:
        """What ended a tunnel that connections of this run went through, if one has ended."""
        through = {tunnel_of(held): its.side for held, its in list(self._met.items())}
        return next(
            filter(None, (each.death(side) for each, side in through.items() if each)), None
        )

    def check(self) -> None:
        """Raise Cancelled once somebody has asked for it."""
        if self.cancelled:
            raise errors.Cancelled("the run was cancelled")

    def cancel(self) -> None:
        """Cancel this run, and what the servers are doing for it."""
        self.cancelled = True
        self.cancel_statements()

    def cancel_statements(self, side: Side | None = None) -> None:
        """Cancel what the servers are doing now, on both sides or on one."""
        with self._lock:
            chosen = [held for held, its in self._open.items() if side in (None, its.side)]
        for connection in chosen:
            with contextlib.suppress(psycopg2.Error):
                connection.cancel()


Server = DatabaseOrUrl | Sessions
"""A server by one of its databases, or the sessions that are to be used with it."""


def sessions_of(server: Server) -> Sessions:
    """Sessions with the server of a database, or those that it was given."""
    return server if isinstance(server, Sessions) else Sessions(server, server)


def ask(server: Server, question: Callable[[Cursor], Result], side: Side = "source") -> Result:
    """The answer to what is asked of one server in one transaction; raises SyncError."""
    sessions = sessions_of(server)

    def answer() -> Result:
        with sessions.connected(side) as connection, transaction(connection) as cursor:
            return question(cursor)

    return sessions.translating(answer)
