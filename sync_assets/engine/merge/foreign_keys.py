"""Foreign keys between the target tables that change in one transaction.

A reader never sees them broken: he sees the tables before the commit or after it. The checks
inside the transaction are what needs an order, and where the role owns the tables they are put off
to its end instead, which also serves tables that reference each other in a circle.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg2
from psycopg2.sql import SQL, Identifier

from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.session import Cursor, rows


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key between two tables of a group; `acts` says that a delete does more than fail."""

    name: str
    child: RelationName
    parent: RelationName
    deferrable: bool
    acts: bool


_FOREIGN_KEYS = """
WITH named AS (
  SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE (n.nspname, c.relname) IN %s
)
SELECT k.conname, child.nspname, child.relname, parent.nspname, parent.relname,
       k.condeferrable, k.confdeltype <> 'a'
FROM pg_catalog.pg_constraint k
JOIN named child ON child.oid = k.conrelid JOIN named parent ON parent.oid = k.confrelid
WHERE k.contype = 'f' AND k.conparentid = 0
ORDER BY child.nspname, child.relname, k.conname
"""


def read_foreign_keys(cursor: Cursor, targets: Sequence[RelationName]) -> tuple[ForeignKey, ...]:
    """The foreign keys with both ends among `targets`."""
    names = tuple((target.schema, target.name) for target in targets)
    return tuple(
        ForeignKey(name, RelationName(*ends[:2]), RelationName(*ends[2:]), deferrable, acts)
        for name, *ends, deferrable, acts in rows(cursor, _FOREIGN_KEYS, (names,))
    )


@contextlib.contextmanager
def deferred(cursor: Cursor, keys: Sequence[ForeignKey]) -> Iterator[bool]:
    """Check foreign keys once, at the end of the block; yields False where that is not allowed.

    ALTER CONSTRAINT keeps other writers out, which the transaction does anyway, and no reader; it
    is undone before the commit, so nobody ever sees it.
    """
    if not keys:
        yield True
        return
    altered = [key for key in keys if not key.deferrable]
    if not _alter(cursor, altered, "DEFERRABLE INITIALLY DEFERRED"):
        yield False
        return
    cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    yield True
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    _alter(cursor, altered, "NOT DEFERRABLE")


def _alter(cursor: Cursor, keys: Sequence[ForeignKey], how: str) -> bool:
    if not keys:
        return True
    cursor.execute("SAVEPOINT foreign_keys")
    try:
        for key in keys:
            cursor.execute(
                SQL("ALTER TABLE {} ALTER CONSTRAINT {} {}").format(
                    identifiers.relation(key.child), Identifier(key.name), SQL(how)
                )
            )
    except psycopg2.errors.InsufficientPrivilege:
        cursor.execute("ROLLBACK TO foreign_keys; RELEASE foreign_keys")
        return False
    cursor.execute("RELEASE foreign_keys")
    return True


def parents_first(
    targets: Sequence[RelationName], keys: Sequence[ForeignKey]
) -> tuple[RelationName, ...]:
    """The targets so that each comes after those it references, as far as there is no circle."""
    ordered: list[RelationName] = []

    def place(target: RelationName, below: tuple[RelationName, ...]) -> None:
        if target in ordered or target in below:
            return
        for key in keys:
            if key.child == target:
                place(key.parent, (*below, target))
        ordered.append(target)

    for target in targets:
        place(target, ())
    return tuple(ordered)


def acts_within(ordered: Sequence[RelationName], keys: Sequence[ForeignKey]) -> bool:
    """Whether a delete acts on rows of a table that does not come after the parent.

    That is so in a circle and in a table that references itself: a cascade could take along rows
    that are already up to date.
    """
    place = {target: number for number, target in enumerate(ordered)}
    return any(key.acts and place[key.parent] >= place[key.child] for key in keys)
