"""One snapshot, read by several sessions of its server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.driver_errors import Side
from sync_assets.engine.postgres.session import (
    PINNED,
    READ_SNAPSHOT,
    Connection,
    row,
    transaction,
)
from sync_assets.engine.threads import TaskGroup


def readers(workers: int, *, in_recovery: bool) -> int:
    """How many of `workers` connections may read on one snapshot: on a standby only its own.

    Recovery keeps the ids of running subtransactions in a short list; once that has overflowed, a
    snapshot is exported without any running id (`ExportSnapshot` in PostgreSQL's snapmgr.c). With
    wal_level = logical a single savepoint is enough. A session that imports such a snapshot takes
    every open transaction for an aborted one, and marks its rows so on the pages that all share:
    it reads rows that are not committed, or misses rows that are, and so does everybody after it.
    """
    return 1 if in_recovery else workers


_SEEN = (
    "pg_catalog.pg_current_snapshot()::text, pg_catalog.pg_postmaster_start_time(),"
    " pg_catalog.inet_server_addr()::text"
)
"""What tells a snapshot of one server from any other, in a SELECT."""


def read_beside(
    group: TaskGroup,
    sessions: Sessions,
    side: Side,
    leader: Connection,
    further: int,
    read: Callable[[Connection], None],
) -> list[Future[None]]:
    """Let so many further sessions `read` inside of the leader's snapshot, each a task of the group.

    The snapshot is handed on for as long as the leader's transaction is open.
    """
    if further < 1:
        return []
    with leader.cursor() as cursor:
        name, *seen = row(cursor, f"SELECT pg_catalog.pg_export_snapshot(), {_SEEN}")

    def work() -> None:
        with _joined(sessions, side, str(name), tuple(seen)) as connection:
            if connection is not None:
                read(connection)

    return [group.start(work) for _ in range(further)]


@contextlib.contextmanager
def _joined(
    sessions: Sessions, side: Side, name: str, seen: tuple[object, ...]
) -> Iterator[Connection | None]:
    """A further session inside of a shared snapshot; None where none is to be had.

    One connection fewer is slower, never wrong: so only a cancelled run is an error. Behind a
    pooler or a load balancer the session may be on another server, where the name means nothing
    or, worse, something else: hence the comparison of what is seen.
    """
    with contextlib.ExitStack() as stack:
        connection = None
        try:
            opened = stack.enter_context(sessions.connected(side))
            cursor = stack.enter_context(transaction(opened, *PINNED, begin=READ_SNAPSHOT))
            cursor.execute("SET TRANSACTION SNAPSHOT %s", (name,))
            if row(cursor, f"SELECT {_SEEN}") == seen:
                connection = opened
        except Exception:  # noqa: BLE001 - whatever it was, the others read on
            sessions.check()
        yield connection
