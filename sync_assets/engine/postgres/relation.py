"""A relation as its catalog describes it: columns, keys, leaves (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sync_assets.engine.names import RelationName


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `type` as format_type() writes it, `collation` as SQL or None for the type's.

    `expression` is SQL that is computed on the source in its place.
    """

    number: int
    name: str
    type: str
    type_oid: int
    not_null: bool
    collation: str | None
    generated: bool
    identity_always: bool
    expression: str | None = None
    comment: str | None = None


RING_SHARE = 4
"""What is larger than this part of the cache, PostgreSQL scans through a small ring of buffers."""

ANY_SIZE = 1 << 62


@dataclass(frozen=True, slots=True)
class Key:
    """A unique index that identifies rows: whole, immediate, plain NOT NULL columns.

    `operators` are the index's own equality operators, ready for SQL: citext's equality, for one,
    lives in the extension's schema and is not what `=` finds under a pinned search_path.
    """

    columns: tuple[str, ...]
    operators: tuple[str, ...]
    primary: bool
    constraint: str | None = None


@dataclass(frozen=True, slots=True)
class LeafColumn:
    """A column where it is stored, which on a partition may be another place than on its parent.

    `missing` is the value, as text, of rows that are older than the column; `generation` the
    expression of a generated column.
    """

    number: int
    name: str
    missing: str | None = None
    generation: str | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """A relation that holds rows itself: the table, or one partition of it.

    `tablespace` is where it lies, its database's own where the catalog says 0: somebody may move
    the database. `cache` is its server's, shared_buffers, in pages.
    """

    oid: int
    name: RelationName
    kind: str
    access_method: str
    filenode: int
    tablespace: int
    unlogged: bool
    readable: bool
    fingerprint: str
    pages: int
    estimated_rows: float
    bytes: int
    columns: tuple[LeafColumn, ...] = ()
    cache: int = ANY_SIZE

    @property
    def is_large(self) -> bool:
        """Whether only a sequential scan of it leaves in the cache what others use.

        PostgreSQL reads it in a ring then, but not what it is asked for by pages or by an index.
        """
        return self.pages * RING_SHARE > self.cache

    def column(self, name: str) -> LeafColumn | None:
        """The column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the catalog shows it at one moment.

    `readable` says whether this role may SELECT from it. `has_children` is false where the tables
    that inherit from it are left out. `has_primary` says whether it has a primary key of any form;
    `partitioned_by` names the columns that tell its partitions, '' for an expression. `partition_of`
    is the table of many sources whose partition it is, where it was looked at as that.
    """

    oid: int
    name: RelationName
    kind: str
    has_children: bool
    readable: bool
    columns: tuple[Column, ...]
    keys: tuple[Key, ...]
    leaves: tuple[Leaf, ...]
    fingerprint: str
    comment: str | None = None
    has_primary: bool = False
    partitioned_by: tuple[str, ...] | None = None
    partition_of: RelationName | None = None

    @property
    def has_versions(self) -> bool:
        """Whether every row carries the xid that wrote it: a heap table, or partitions of that kind."""
        return self.kind == "p" or (self.kind == "r" and not self.reads_children)

    @property
    def reads_children(self) -> bool:
        """Whether its own rows are not all it shows: it is a parent of plain inheritance."""
        return self.kind == "r" and self.has_children

    @property
    def through_parent(self) -> bool:
        """Whether some partition can only be read through the parent, which this role may."""
        return self.kind == "p" and not all(leaf.readable for leaf in self.leaves)

    @property
    def defined_by(self) -> RelationName:
        """The table whose columns it has: its own, or that which it is a partition of."""
        return self.partition_of or self.name

    @property
    def storage(self) -> str:
        """What changes when it is replaced, truncated or rewritten."""
        return storage_of(self.oid, ((leaf.oid, leaf.filenode) for leaf in self.leaves))

    @property
    def layout(self) -> tuple[object, ...]:
        """What must stay the same from before the lock until after the snapshot."""
        leaves = tuple((leaf.oid, leaf.filenode, leaf.fingerprint) for leaf in self.leaves)
        return (self.oid, self.fingerprint, leaves)

    def column(self, name: str) -> Column | None:
        """The column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


def storage_of(oid: int, leaves: Iterable[tuple[int, ...]]) -> str:
    """Where the rows of these leaves lie, by oid and filenode; moves when one is rewritten."""
    return repr((oid, list(leaves)))
