"""Hold up whoever reads until the bytes are due, and keep the session alive meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from psycopg2.extensions import TRANSACTION_STATUS_ACTIVE

from sync_assets.engine import errors
from sync_assets.engine.export.leaf_access import beat
from sync_assets.engine.limits import Throttle
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import Connection

STEP = 0.2
"""Seconds after which one who is held up hears of the end."""

LONGEST = 300.0
"""Seconds of one wait, so that the server does not give up on a client that takes nothing (`TAKEN`): the
rest of a longer one, after a very large value, is waited for with the next bytes."""


def keep_pace(
    throttle: Throttle,
    count: int,
    sessions: Sessions,
    connection: Connection,
    stopped: threading.Event,
) -> None:
    """Return once these bytes, which `connection` has brought, are due; raises Cancelled.

    In the middle of a COPY the server waits until we take more; after one its session would be
    idle in its transaction.
    """
    end = min(throttle.take(count), time.monotonic() + LONGEST)
    while (left := end - time.monotonic()) > 0:
        if stopped.wait(min(left, STEP)):
            raise errors.Cancelled("the export was given up")
        sessions.check()
        if connection.info.transaction_status != TRANSACTION_STATUS_ACTIVE:
            beat(connection)


@contextlib.contextmanager
def in_turn(
    turn: threading.Semaphore, sessions: Sessions, connection: Connection, stopped: threading.Event
) -> Iterator[None]:
    """Read in here, once it is the turn of `connection`, which is in a transaction; raises Cancelled."""
    while not turn.acquire(timeout=STEP):
        if stopped.is_set():
            raise errors.Cancelled("the export was given up")
        sessions.check()
        beat(connection)
    try:
        yield
    finally:
        turn.release()
