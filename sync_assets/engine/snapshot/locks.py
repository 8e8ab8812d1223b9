"""The locks that keep a snapshot's tables whole, and who holds them where they cannot be had."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import psycopg2.errors
from psycopg2 import sql

from sync_assets.engine import errors
from sync_assets.engine.names import RelationName, parts_of
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.catalog import BELOW, KEEPS_OUT
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.session import (
    Connection,
    Cursor,
    Statement,
    rows,
    transaction,
)
from sync_assets.engine.table import Table


@contextlib.contextmanager
def named_when_shut_out(connection: Connection, tables: Sequence[Table]) -> Iterator[None]:
    """Say, where a source table cannot be locked, which it is and who keeps every reader out of it.

    Raises LockTimeout, or what the driver raised where nobody does any more.
    """
    failure = None
    try:
        yield
    except psycopg2.errors.LockNotAvailable:
        with transaction(connection) as cursor:
            failure = _shut_out(cursor, tables)
        if failure is None:
            raise
    if failure is not None:
        raise failure


def locks(relations: Sequence[Relation]) -> Iterator[Statement]:
    """What locks all tables that are read by name."""
    names: set[RelationName] = set()
    with_children: set[RelationName] = set()
    for relation in relations:
        if relation.reads_children or relation.through_parent:
            # The rights to the parent are enough to lock what is below it.
            with_children.add(relation.name)
        elif relation.kind in "rp":
            leaves = (leaf.name for leaf in relation.leaves if leaf.kind == "r")
            names |= {relation.name, *leaves}
    wanted = [
        sql.SQL(text).format(identifiers.relation(name))
        for text, chosen in (("ONLY {}", names), ("{}", with_children))
        for name in sorted(chosen)
    ]
    if wanted:
        statement = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE")
        yield statement.format(sql.SQL(", ").join(wanted))


_WHO = f"""
SELECT wanted.schema, wanted.name, l.granted, l.pid, a.usename, nullif(a.application_name, ''),
  round(extract(epoch FROM clock_timestamp() - a.xact_start))
FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
CROSS JOIN LATERAL ({BELOW}) AS part
JOIN pg_locks l ON l.relation = part.oid AND {KEEPS_OUT}
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
ORDER BY l.granted DESC, a.xact_start LIMIT 1
"""  # noqa: S608 - constants only


def _shut_out(cursor: Cursor, tables: Sequence[Table]) -> errors.LockTimeout | None:
    targets = {table.source: table.target for table in tables}
    found = rows(cursor, _WHO, parts_of(targets))
    if not found:
        return None
    ((schema, name, granted, pid, role, application, seconds),) = found
    source = RelationName(schema, name)
    who = f"server process {pid} of the source ({role or '?'}, {application or 'unnamed'})"
    who = who if pid else "a prepared transaction of the source"
    since = "" if seconds is None else f", whose transaction began {seconds:,.0f} s ago,"
    return errors.LockTimeout(
        f"{who}{since} {'holds' if granted else 'waits for'} a lock on {source} that keeps every"
        " reader out",
        table=str(targets[source]),
    )
