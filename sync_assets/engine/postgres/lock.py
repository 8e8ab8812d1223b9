"""One writer for each target table: a session-level advisory lock in the target database."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import psycopg2
import psycopg2.errors
from psycopg2.sql import SQL, Identifier

from sync_assets.engine import errors
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.session import Connection, Cursor, row, rows, transaction
from sync_assets.engine.postgres.time_outs import at_most, number_at_most

PATIENCE = 5_000
"""Milliseconds: a server needs a moment to see that a run was killed, and a living one is soon told."""


_KEEPALIVES = (
    number_at_most("tcp_keepalives_idle", 30),
    number_at_most("tcp_keepalives_interval", 10),
    number_at_most("tcp_keepalives_count", 3),
)
"""The server's own, in seconds and tries: the lock of a machine that vanished is free in a minute."""


def advisory_key(target: RelationName) -> int:
    """The 64-bit advisory lock that stands for a target table, whether it exists or not."""
    text = f"sync_assets {target.schema}\0{target.name}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


@contextlib.contextmanager
def locked(connection: Connection, targets: Iterable[RelationName]) -> Iterator[None]:
    """Be the only run on these target tables for as long as this session lives.

    All or none: raises ConcurrentRun naming the session that holds one.
    """
    try:
        _lock(connection, sorted(set(targets)))
        yield
    finally:
        if not connection.closed:
            with contextlib.suppress(psycopg2.Error), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock_all()")


def _lock(connection: Connection, targets: Sequence[RelationName]) -> None:
    patience = f"SELECT {at_most('lock_timeout', PATIENCE)}, {', '.join(_KEEPALIVES)}"
    # In one order everywhere, so that two groups never wait for each other. Numbers need no
    # parameter: all of it is one round trip.
    locks = (f"SELECT pg_advisory_lock({advisory_key(target)})" for target in targets)
    try:
        with transaction(connection, patience, *locks):
            pass
    except psycopg2.errors.LockNotAvailable:
        with connection.cursor() as cursor:
            target, holder = _held_by_another(cursor, targets)
        busy = errors.ConcurrentRun(f"another run works on {target}{holder}", table=str(target))
        raise busy from None


def _held_by_another(cursor: Cursor, targets: Sequence[RelationName]) -> tuple[RelationName, str]:
    """The first target that another session holds the lock of, and which session that is."""
    keys = {advisory_key(target): target for target in targets}
    found = rows(cursor, _HOLDERS + " AND l.pid <> pg_backend_pid()", {"keys": list(keys)})
    held = {keys[key]: f" ({_session(*session)})" for key, *session in found}
    first = min(held, default=targets[0])
    return first, held.get(first, "")


def lock_ddl(cursor: Cursor) -> None:
    """Until this transaction ends, let no other run create schemas, types or our state.

    CREATE … IF NOT EXISTS still fails when two sessions create the same thing at once.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (advisory_key(_DDL),))


_DDL = RelationName("sync_assets", "state")

TRIES = 25
_BRIEFLY = 300
"""Milliseconds: less than the second after which PostgreSQL looks for a circle, and ends who is in it."""


def lock_with_partitions(cursor: Cursor, table: RelationName) -> None:
    """Lock a table and its partitions for this session alone, and hold none while waiting for another.

    Whoever reads a partition first and the table then would wait for us, and we for them. Where others
    never leave a gap, it is waited for as for any lock in the end.
    """
    lock = SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(
        Identifier(table.schema, table.name)
    )
    (before,) = row(cursor, "SELECT current_setting('lock_timeout')")
    for _ in range(TRIES):
        cursor.execute(f"SAVEPOINT lock; SELECT {at_most('lock_timeout', _BRIEFLY)}")
        try:
            cursor.execute(lock)
        except psycopg2.errors.LockNotAvailable:
            # Those that came meanwhile go first.
            cursor.execute("ROLLBACK TO lock; RELEASE lock; SELECT pg_sleep(0.1)")
        else:
            cursor.execute("RELEASE lock; SELECT set_config('lock_timeout', %s, true)", (before,))
            return
    cursor.execute(lock)


_LOCKS = """
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
JOIN unnest(%(keys)s::bigint[]) AS key
  ON l.classid::bigint = (key >> 32) & 4294967295 AND l.objid::bigint = key & 4294967295
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_HOLDERS = f"SELECT key, l.pid, a.application_name, a.client_addr::text {_LOCKS}"


def _session(pid: int, application: str | None, address: str | None) -> str:
    return f"server process {pid}, {application or 'unnamed'}, from {address or 'this host'}"


def strangers(cursor: Cursor, targets: Iterable[RelationName]) -> dict[RelationName, str]:
    """The targets whose lock a session holds that does not call itself one of ours, and which."""
    keys = {advisory_key(target): target for target in targets}
    found = rows(
        cursor,
        _HOLDERS + " AND a.application_name IS DISTINCT FROM 'sync_assets'",
        {"keys": list(keys)},
    )
    return {keys[key]: _session(*session) for key, *session in found}


@dataclass(frozen=True, slots=True)
class Holding:
    """A session of ours that holds a target's lock, and for how many seconds it has done nothing."""

    who: str
    idle: float


_OURS = f"""
SELECT key, coalesce(extract(epoch FROM clock_timestamp() - a.state_change)::float8, 0),
  l.pid, a.application_name, a.client_addr::text
{_LOCKS} AND a.application_name = 'sync_assets' AND a.state <> 'active'
"""  # noqa: S608 - constants only


def idle_holders(cursor: Cursor, targets: Iterable[RelationName]) -> dict[RelationName, Holding]:
    """The targets whose lock a session of ours holds that waits for its client, and which."""
    keys = {advisory_key(target): target for target in targets}
    found = rows(cursor, _OURS, {"keys": list(keys)})
    return {keys[key]: Holding(_session(*session), idle) for key, idle, *session in found}


def end_idle(cursor: Cursor, targets: Iterable[RelationName], seconds: float) -> None:
    """End the sessions of ours that hold these targets' locks and have done nothing for so long."""
    keys = [advisory_key(target) for target in targets]
    idle = "a.state_change < clock_timestamp() - make_interval(secs => %(seconds)s)"
    cursor.execute(
        f"SELECT pg_terminate_backend(pid) FROM ({_OURS} AND {idle}) AS idle (key, for_, pid)",  # noqa: S608 - constants only
        {"keys": keys, "seconds": seconds},
    )


def held_among(cursor: Cursor, targets: Iterable[RelationName]) -> frozenset[RelationName]:
    """The targets whose lock any session holds."""
    keys = {advisory_key(target): target for target in targets}
    return frozenset(keys[key] for key, *_ in rows(cursor, _HOLDERS, {"keys": list(keys)}))


def require_locks(cursor: Cursor, targets: Sequence[RelationName]) -> None:
    """Check that this very session holds the locks; a pooler may have swapped it underneath."""
    keys = {advisory_key(target): target for target in targets}
    statement = "SELECT key " + _LOCKS + " AND l.pid = pg_backend_pid()"
    held = {key for (key,) in rows(cursor, statement, {"keys": list(keys)})}
    for key, target in keys.items():
        if key not in held:
            raise errors.ConcurrentRun(
                f"the lock on {target} is not held by this session",
                remedy="Connect to the target directly or through a pooler in session mode.",
            )
