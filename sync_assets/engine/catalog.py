"""Read a relation's shape from pg_catalog: columns, keys, leaves, and the types it needs.

Run with `search_path = pg_catalog`, so that every other type comes out with its schema.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sync_assets.engine import errors
from sync_assets.engine.session import Cursor, rows
from sync_assets.engine.table import RelationName, SyncMode, Table, quoted


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
    `partitioned_by` names the columns that tell its partitions, '' for an expression.
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
    def storage(self) -> str:
        """What changes when it is replaced, truncated or rewritten."""
        return _storage(self.oid, ((leaf.oid, leaf.filenode) for leaf in self.leaves))

    @property
    def layout(self) -> tuple[object, ...]:
        """What must stay the same from before the lock until after the snapshot."""
        leaves = tuple((leaf.oid, leaf.filenode, leaf.fingerprint) for leaf in self.leaves)
        return (self.oid, self.fingerprint, leaves)

    def column(self, name: str) -> Column | None:
        """The column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


# From 18 on a column counts as NOT NULL though the rows that are there were never looked at. A
# domain's NOT NULL is not asked: a column of such a type may hold NULL (the manual, CREATE DOMAIN).
_NOT_NULL = """a.attnotnull AND NOT EXISTS (
  SELECT FROM pg_constraint n WHERE n.conrelid = a.attrelid AND n.contype = 'n'
    AND NOT n.convalidated AND n.conkey = ARRAY[a.attnum])"""

_COLUMNS = f"""
SELECT json_agg(json_build_array(
         a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.atttypid::bigint,
         {_NOT_NULL},
         CASE WHEN a.attcollation <> t.typcollation
              THEN (SELECT format('%%I.%%I', cn.nspname, co.collname)
                    FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace
                    WHERE co.oid = a.attcollation) END,
         a.attgenerated <> '', a.attidentity = 'a', NULL, col_description(a.attrelid, a.attnum)
       ) ORDER BY a.attnum)
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
"""  # noqa: S608 - constants only

# A key WITHOUT OVERLAPS (18) excludes by the overlap of its last column, a range that is never
# empty: rows whose other columns and range are equal would overlap.
_KEYS = f"""
SELECT json_agg(json_build_array(columns, operators, indisprimary, conname)
                ORDER BY indisprimary DESC, indnkeyatts, relname)
FROM (
  SELECT array_agg(a.attname::text ORDER BY k.ord) AS columns,
         array_agg(format('OPERATOR(%%I.%%s)', opn.nspname, op.oprname) ORDER BY k.ord) AS operators,
         i.indisprimary, i.indnkeyatts, ic.relname, con.conname::text AS conname
  FROM pg_index i
  JOIN pg_class ic ON ic.oid = i.indexrelid
  JOIN pg_am am ON am.oid = ic.relam AND (am.amname = 'btree' OR i.indisexclusion)
  LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.contype IN ('p', 'u')
  CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[], con.conexclop)
       WITH ORDINALITY AS k (attnum, opclass, excludes, ord)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
  JOIN pg_operator op ON op.oid = CASE
       WHEN NOT i.indisexclusion THEN (
         SELECT ao.amopopr FROM pg_opclass oc JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily
           AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
         WHERE oc.oid = k.opclass AND ao.amopstrategy = 3)
       WHEN k.ord < i.indnkeyatts THEN k.excludes
       ELSE '=(anyrange,anyrange)'::regoperator END
  JOIN pg_namespace opn ON opn.oid = op.oprnamespace
  WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
    AND i.indpred IS NULL AND i.indexprs IS NULL AND k.ord <= i.indnkeyatts
  GROUP BY ic.relname, i.indexrelid, i.indisprimary, i.indnkeyatts, con.conname
  HAVING bool_and({_NOT_NULL}) AND count(*) = i.indnkeyatts
) AS usable
"""  # noqa: S608 - constants only

_LEAF_OIDS = """
  SELECT relid::oid AS oid FROM pg_partition_tree(c.oid) WHERE isleaf
  UNION
  SELECT c.oid WHERE c.relkind <> 'p'
"""

_LEAVES = f"""
SELECT json_agg(json_build_array(
         l.oid::bigint, n.nspname, l.relname, l.relkind, coalesce(am.amname, ''),
         coalesce(pg_relation_filenode(l.oid), 0)::bigint,
         coalesce(nullif(l.reltablespace, 0),
           (SELECT dattablespace FROM pg_database WHERE datname = current_database()))::bigint,
         l.relpersistence = 'u', has_table_privilege(l.oid, 'SELECT'),
         (SELECT md5(string_agg(concat_ws(' ', a.attnum, quote_ident(a.attname),
                   format_type(a.atttypid, a.atttypmod), a.attgenerated,
                   CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END),
                 ',' ORDER BY a.attnum))
          FROM pg_attribute a
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          WHERE a.attrelid = l.oid AND a.attnum > 0 AND NOT a.attisdropped),
         CASE WHEN l.relkind IN ('r', 'm')
              THEN pg_relation_size(l.oid, 'main') / current_setting('block_size')::bigint
              ELSE 0 END,
         l.reltuples, CASE WHEN l.relkind IN ('r', 'm') THEN pg_table_size(l.oid) ELSE 0 END,
         pg_size_bytes(current_setting('shared_buffers')) / current_setting('block_size')::bigint,
         -- An array of one: its only element's text, which array_to_string() does not quote.
         (SELECT json_agg(json_build_array(a.attnum, a.attname,
                   CASE WHEN a.atthasmissing THEN array_to_string(a.attmissingval, '') END,
                   CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END)
                 ORDER BY a.attnum)
          FROM pg_attribute a
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          WHERE a.attrelid = l.oid AND a.attnum > 0 AND NOT a.attisdropped)
       ) ORDER BY l.oid)
FROM ({_LEAF_OIDS}) AS leaf JOIN pg_class l ON l.oid = leaf.oid
JOIN pg_namespace n ON n.oid = l.relnamespace
LEFT JOIN pg_am am ON am.oid = l.relam
"""  # noqa: S608 - constants only

_RELATION = f"""
SELECT c.oid, c.relkind, EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid),
       has_table_privilege(c.oid, 'SELECT'), obj_description(c.oid, 'pg_class'),
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary),
       (SELECT array_agg(coalesce(a.attname::text, '') ORDER BY k.ord)
        FROM pg_partitioned_table p
        CROSS JOIN unnest(p.partattrs::int2[]) WITH ORDINALITY AS k (attnum, ord)
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
        WHERE p.partrelid = c.oid),
       ({_COLUMNS}), ({_KEYS}), ({_LEAVES})
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""  # noqa: S608 - constants only
"""One statement, since each is a round trip."""

_STORAGE = f"""
SELECT c.oid::bigint, (SELECT json_agg(json_build_array(
         leaf.oid::bigint, coalesce(pg_relation_filenode(leaf.oid), 0)::bigint) ORDER BY leaf.oid)
       FROM ({_LEAF_OIDS}) AS leaf)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""  # noqa: S608 - constants only

_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
    "I": "an index",
    "c": "a composite type",
    "t": "a TOAST table",
}


def read_relation(cursor: Cursor, name: RelationName) -> Relation | None:
    """The relation of that name as this transaction sees the catalog, or None."""
    found = rows(cursor, _RELATION, (name.schema, name.name))
    if not found:
        return None
    oid, kind, has_children, readable, comment, primary, parts, columns, keys, leaves = found[0]
    fields = tuple(Column(*values) for values in columns or ())
    return Relation(
        oid,
        name,
        kind,
        has_children,
        readable,
        fields,
        tuple(Key(tuple(names), tuple(by), *rest) for names, by, *rest in keys or ()),
        tuple(_leaf(*values) for values in leaves or ()),
        _fingerprint(fields),
        comment,
        primary,
        tuple(parts) if parts else None,
    )


def read_storage(cursor: Cursor, name: RelationName) -> str | None:
    """The `storage` of the relation of that name, or None: much cheaper than all of its shape."""
    found = rows(cursor, _STORAGE, (name.schema, name.name))
    return _storage(found[0][0], map(tuple, found[0][1] or ())) if found else None


def _storage(oid: int, leaves: Iterable[tuple[int, ...]]) -> str:
    return repr((oid, list(leaves)))


def _leaf(oid: int, schema: str, name: str, *values: Any) -> Leaf:
    *facts, cache, stored = values
    columns = tuple(LeafColumn(*each) for each in stored or ())
    leaf = Leaf(oid, RelationName(schema, name), *facts)
    return dataclasses.replace(leaf, columns=columns, cache=cache)


def _fingerprint(columns: Iterable[Column]) -> str:
    text = repr([(c.number, c.name, c.type, c.type_oid, c.collation) for c in columns])
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


_SIMILAR = """
SELECT format('%%s.%%s', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND lower(c.relname) = lower(%s) AND n.nspname !~ '^pg_toast'
ORDER BY lower(n.nspname) <> lower(%s), 1 LIMIT 3
"""


def require_source(cursor: Cursor, table: Table) -> Relation:
    """The source relation, checked to be one that can be read the way its mode reads.

    Raises NoSuchRelation, UnsupportedRelation or PrivilegeError.
    """
    name = table.source
    relation = read_relation(cursor, name)
    if relation is None:
        similar = [found for (found,) in rows(cursor, _SIMILAR, (name.name, name.schema))]
        hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
        raise errors.NoSuchRelation(
            f"the source has no table {name}", remedy=errors.NoSuchRelation("").remedy + hint
        )
    if table.only:
        relation = dataclasses.replace(relation, has_children=False)
    _require_kind(relation, table.mode)
    role = cursor.connection.info.user
    if not relation.readable and not _reads_by_leaf(relation):
        raise _privilege(relation.name, role)
    for leaf in relation.leaves:
        if leaf.kind not in "rf" and relation.kind == "p":
            raise errors.UnsupportedRelation(f"{leaf.name} is {_KINDS.get(leaf.kind, 'no table')}")
        if leaf.kind == "r" and leaf.access_method != "heap":
            raise errors.UnsupportedRelation(
                f"{leaf.name} is stored by the access method {leaf.access_method!r}; "
                "only heap tables keep a row version"
            )
        if not leaf.readable and not relation.readable:
            raise _privilege(leaf.name, role)
    return relation


def _reads_by_leaf(relation: Relation) -> bool:
    return relation.kind == "p" and all(leaf.readable for leaf in relation.leaves)


def _require_kind(relation: Relation, mode: SyncMode) -> None:
    if relation.kind not in "rpvmf":
        raise errors.UnsupportedRelation(
            f"{relation.name} is {_KINDS.get(relation.kind, 'no table')}, which holds no rows to sync"
        )
    if relation.has_versions:
        return
    if relation.reads_children and mode is not SyncMode.FULL_SYNC:
        raise errors.UnsupportedRelation(
            f"{relation.name} has tables that inherit from it, whose rows it would show as its own",
            remedy="Set only: true to leave them out, or sync_mode: full_sync to read all of them; "
            "or sync the tables that inherit, each by its own name.",
        )
    if mode is SyncMode.XMIN_INCREMENTAL:
        raise errors.UnsupportedRelation(
            f"{relation.name} is {_KINDS[relation.kind]}; its rows carry no version to sync by",
            remedy="Set sync_mode: full_sync, or incremental_sync with a cursor.",
        )


def _privilege(name: RelationName, role: str) -> errors.PrivilegeError:
    return errors.PrivilegeError(
        f"the role {role} may not read {name} on the source",
        remedy=f"Run on the source: GRANT SELECT ON {name.as_sql} TO {quoted(role)}.",
    )


EQUAL, AT_LEAST = 3, 4
"""Strategies of a btree: the manual, "Index Method Strategies"."""


def operator_of(cursor: Cursor, type_oid: int, strategy: int) -> str:
    """A type's own operator, ready for SQL: that of its btree's default operator class.

    Extensions have theirs in their own schemas. PostgreSQL's own classes serve whole kinds of
    types, such as arrays; so does the operator of the usual name.
    """
    found = rows(
        cursor,
        "SELECT format('OPERATOR(%%I.%%s)', n.nspname, o.oprname) FROM pg_type t"
        " JOIN pg_opclass c ON c.opcintype = coalesce(nullif(t.typbasetype, 0), t.oid)"
        " AND c.opcdefault JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'"
        " JOIN pg_amop a ON a.amopfamily = c.opcfamily AND a.amopstrategy = %s"
        " AND a.amoplefttype = c.opcintype AND a.amoprighttype = c.opcintype"
        " JOIN pg_operator o ON o.oid = a.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace"
        " WHERE t.oid = %s",
        (strategy, type_oid),
    )
    return str(found[0][0]) if found else f"OPERATOR(pg_catalog.{_SYMBOLS[strategy]})"


def equality_of(cursor: Cursor, relation: Relation, key: Key) -> Sequence[str]:
    """The key's own operators, or those of its columns' types where no index has any."""
    columns = (relation.column(name) for name in key.columns)
    return key.operators or [
        operator_of(cursor, column.type_oid if column else 0, EQUAL) for column in columns
    ]


_SYMBOLS = {EQUAL: "=", AT_LEAST: ">="}

_OF_GRAMMAR = re.compile(
    r"(bigint|bit|boolean|character|double precision|integer|interval|numeric|real|smallint|time"
    r"|timestamp)\b"
)
"""Names of types that are keywords, and so stand for PostgreSQL's own under any search_path."""


def anywhere(type_: str) -> str:
    """A type as format_type() writes it, for a statement under the role's own search_path."""
    plain = re.fullmatch(r'("\w+"|[a-z]\w*)(\[\])*', type_)
    return f"pg_catalog.{type_}" if plain and not _OF_GRAMMAR.match(type_) else type_


def formatted_types(cursor: Cursor, oids: Iterable[int]) -> dict[int, str]:
    """The name of each type without a modifier, as SQL."""
    # -1 and not NULL: `character` without a length would mean one character.
    found = rows(
        cursor,
        "SELECT oid, format_type(oid, -1) FROM unnest(%s::oid[]) AS oid",
        (sorted(set(oids)),),
    )
    return dict(found)
