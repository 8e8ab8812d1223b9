"""How a worker holds a leaf while it reads it, and lets go of it after."""

from __future__ import annotations

from psycopg2.sql import SQL

from sync_assets.engine.plan.plan import Chunk, Plan
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.session import Connection
from sync_assets.engine.postgres.time_outs import at_most


def leaf_of(chunk: Chunk) -> tuple[int, object]:
    """The table of the run and its leaf, which a worker keeps locked from chunk to chunk."""
    return chunk.member, chunk.leaf


def beat(connection: Connection) -> None:
    """Show the server that a session that waits inside its transaction is not forgotten."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT")


TAKEN = f"SELECT {at_most('tcp_user_timeout', 900_000)}"
"""By TCP the kernel gives up on a client that takes nothing; for so long, in milliseconds, a worker may
wait until the target has taken a file and there is room for the next."""

LEAVE = ("ROLLBACK TO chunk", "RELEASE chunk")
"""Let go of a leaf: a lock taken after a savepoint goes with it."""


def pages_of(chunk: Chunk) -> str:
    """Which rows a chunk reads, in words."""
    if chunk.leaf is None:
        return ""
    pages = f" from page {chunk.first} on" if chunk.first else ""
    pages = pages if chunk.end is None else f" in pages {chunk.first or 0} to {chunk.end - 1}"
    return f"{pages} of {chunk.leaf.name}" if pages else f" in {chunk.leaf.name}"


def locking(plan: Plan, chunk: Chunk, connection: Connection) -> tuple[str, ...]:
    """The statement that locks a chunk's leaf, if it is a table of its own.

    NOWAIT: behind somebody who waits for a stronger lock, this worker would wait for the leader's
    lock to go, which waits for this worker. PostgreSQL sees no deadlock there; the run would hang.
    """
    if chunk.leaf is None or chunk.leaf.kind != "r":
        return ()
    only = "ONLY " if plan.view.relation.has_versions else ""
    lock = SQL("LOCK TABLE " + only + "{} IN ACCESS SHARE MODE NOWAIT")
    return (lock.format(identifiers.relation(chunk.leaf.name)).as_string(connection),)
