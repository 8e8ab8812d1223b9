"""Notice when this run keeps somebody on the source waiting for a lock, and give way.

ACCESS SHARE is the weakest lock, but an ALTER TABLE waits for it, and everybody else then waits
behind the ALTER TABLE.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import psycopg2

from sync_assets.engine import errors
from sync_assets.engine.session import Sessions, rows

MAX_BLOCKING = 60.0
"""Seconds."""

LOOKS = 4
"""How often it is looked for within that time."""

_WAITING = """
SELECT a.pid, coalesce(a.usename, '?'), coalesce(nullif(a.application_name, ''), 'unnamed'),
       l.relation::regclass::text, extract(epoch FROM clock_timestamp() - l.waitstart)
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE NOT l.granted AND l.waitstart < clock_timestamp() - %s * interval '1 second'
  AND pg_catalog.pg_blocking_pids(l.pid) && %s::int[]
ORDER BY l.waitstart LIMIT 1
"""


@contextlib.contextmanager
def giving_way(
    sessions: Sessions, longest: float, give_up: Callable[[BaseException], None]
) -> Iterator[None]:
    """Call `give_up` with BlockingOthers once a source session has waited for us for `longest` s.

    It connects only when the block has lasted for a while, so that a short run costs nothing.
    """
    left = threading.Event()

    def watch() -> None:
        pause = longest / LOOKS
        if left.wait(pause):
            return
        # Whoever watches must not be what fails the run.
        tried = contextlib.suppress(psycopg2.Error, errors.SyncError)
        with tried, sessions.connected("source") as connection, connection.cursor() as cursor:
            while not left.wait(pause):
                waiting = rows(cursor, _WAITING, (longest, sessions.pids("source")))
                if waiting:
                    give_up(_blocking(*waiting[0]))
                    return

    thread = threading.Thread(target=watch, name="blocking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


def _blocking(
    pid: int, role: str, application: str, relation: str, seconds: float
) -> errors.BlockingOthers:
    return errors.BlockingOthers(
        f"server process {pid} of the source ({role}, {application}) has waited {seconds:.0f} s "
        f"for a lock on {relation} that this run holds"
    )
