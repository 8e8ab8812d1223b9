"""What a read reaches beyond the tables that are locked by name, and the proof that it was whole.

Below a view, in a sub-select or in a function there are tables that somebody may rewrite or
truncate after the snapshot and before they are read, and then the snapshot sees no row of them
(the manual, "Caveats" of chapter 13). A session's own locks tell what it has read: each of these
relations must still be what the snapshot says it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg2.errors
from psycopg2.sql import SQL

from sync_assets.engine import errors
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.session import CATALOG_NAMES, Cursor, row, rows
from sync_assets.engine.snapshot.scope import computed, condition, written
from sync_assets.engine.table import SyncMode, Table

ALONE = "SET LOCAL max_parallel_workers_per_gather = 0"
"""A lock that a function takes in a parallel worker is gone, with its proof, when that ends."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How a relation is read that reaches further: under `settings`, from another server too."""

    settings: tuple[str, ...] = ()
    remote: bool = False


def reaches(table: Table, relation: Relation) -> bool:
    """Whether what is read may be more than heap tables that are locked by name.

    Outside full_sync, filter and expressions are proven to depend on the row alone; what was
    asked of one run is not.
    """
    proven = table.rows is None and table.mode is not SyncMode.FULL_SYNC
    return not relation.has_versions or (any(computed(table)) and not proven)


def lock_view(cursor: Cursor, name: RelationName) -> None:
    """Lock a view and all tables below it before there is a snapshot, so that changes are awaited.

    Whoever may read it need not have the rights for that: its owner may hold grants of columns.
    Then the proof has to do, as it does for materialized views, which cannot be locked.
    """
    lock = SQL("SAVEPOINT view; LOCK TABLE {} IN ACCESS SHARE MODE; RELEASE view")
    # Nor is there always room for the locks of all partitions, of which a view may read a few.
    with contextlib.suppress(psycopg2.errors.InsufficientPrivilege, psycopg2.errors.OutOfMemory):
        cursor.execute(lock.format(identifiers.relation(name)))
        return
    cursor.execute("ROLLBACK TO view; RELEASE view")


_HOW = """
SELECT EXISTS (
  SELECT FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
  WHERE p.oid >= 16384 AND p.proparallel = 's' AND l.lanname NOT IN ('internal', 'c')
    AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass
                    AND d.objid = p.oid AND d.deptype = 'e')),
  EXISTS (
  SELECT FROM pg_locks AS held JOIN pg_class AS c ON c.oid = held.relation
  WHERE held.pid = pg_backend_pid() AND held.locktype = 'relation' AND held.database <> 0
    AND c.relkind = 'f')
"""
"""Whether a parallel worker may run a function of the users' own; whether a foreign table is read."""


def reach(cursor: Cursor, table: Table, relation: Relation, names: Sequence[str]) -> Reach:
    """Take every lock that reading will take and planning knows of; say how it is to be read.

    `names` are the settings under which filter and expressions find what they name.
    """
    values = [written(column.expression) for column in relation.columns if column.expression]
    # A partition's pages are read by its own name, under a lock that is held already.
    statement = SQL("EXPLAIN (COSTS OFF) SELECT {} FROM {}{} WHERE {}").format(
        SQL(", ").join([SQL("*"), *values]),
        SQL("ONLY " if relation.has_versions else ""),
        identifiers.relation(relation.name),
        condition(table),
    )
    cursor.execute(SQL("; ").join([*map(SQL, names), statement, SQL(CATALOG_NAMES)]))
    parallel, remote = row(cursor, _HOW)
    return Reach((ALONE,) if parallel else (), remote)


# pg_class is read under the snapshot; the functions look at what is there now. A partition that
# came or went is as good as rows that did, and an index that is new loses none.
_CHANGED = """
SELECT DISTINCT (pg_identify_object('pg_class'::regclass, held.relation, 0)).identity
FROM pg_locks AS held LEFT JOIN pg_class AS c ON c.oid = held.relation
WHERE held.pid = pg_backend_pid() AND held.locktype = 'relation' AND held.database <> 0 AND CASE
  WHEN c.oid IS NULL
  THEN (pg_identify_object('pg_class'::regclass, held.relation, 0)).type <> 'index'
  WHEN c.relkind IN ('r', 'm') AND c.relfilenode <> 0
    AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid) THEN true
  WHEN c.relkind = 'p' AND EXISTS (
    SELECT inhrelid FROM pg_inherits WHERE inhparent = c.oid AND NOT inhdetachpending
    EXCEPT SELECT relid FROM pg_partition_tree(c.oid)) THEN true
  ELSE EXISTS (
    SELECT FROM pg_partition_ancestors(c.oid) WITH ORDINALITY AS parent (oid, place)
    WHERE place = 2 AND NOT EXISTS (
      SELECT FROM pg_inherits WHERE inhrelid = c.oid AND inhparent = parent.oid))
END
ORDER BY 1
"""


def changed(cursor: Cursor) -> list[str]:
    """What this session holds locked and is not any more what its snapshot says it is."""
    cursor.execute(CATALOG_NAMES)
    return [name for (name,) in rows(cursor, _CHANGED)]


def prove(cursor: Cursor) -> None:
    """Raise SourceChanged if what was read was not whole; to be asked before the locks are let go."""
    names = changed(cursor)
    if names:
        raise errors.SourceChanged(
            f"{', '.join(names)} was rewritten, truncated or replaced after the snapshot and before "
            "it was read",
            remedy="Nothing was published: run it again.",
        )
