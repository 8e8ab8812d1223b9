"""Read a relation's shape from pg_catalog: columns, keys, leaves, and the types it needs.

Run with `search_path = pg_catalog`, so that every other type comes out with its schema.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any

from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.relation import Column, Key, Leaf, LeafColumn, Relation, storage_of
from sync_assets.engine.postgres.session import Cursor, rows

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
_EQUALITY = """
SELECT format('OPERATOR(%%I.%%s)', opn.nspname, op.oprname)
FROM pg_operator op JOIN pg_namespace opn ON opn.oid = op.oprnamespace
WHERE op.oid = CASE WHEN NOT i.indisexclusion THEN (
    SELECT ao.amopopr FROM pg_opclass oc JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily
      AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
    WHERE oc.oid = k.opclass AND ao.amopstrategy = 3)
  WHEN k.ord < i.indnkeyatts THEN k.excludes ELSE '=(anyrange,anyrange)'::regoperator END
"""

# Queries of their own where a join would do: planning, which weighs every order of joins, is what lasts.
_KEYS = f"""
SELECT json_agg(json_build_array(columns, operators, indisprimary, conname)
                ORDER BY indisprimary DESC, indnkeyatts, relname)
FROM (
  SELECT array_agg(a.attname::text ORDER BY k.ord) AS columns,
         array_agg(({_EQUALITY}) ORDER BY k.ord) AS operators,
         i.indisprimary, i.indnkeyatts, ic.relname, con.conname::text AS conname
  FROM pg_index i
  JOIN pg_class ic ON ic.oid = i.indexrelid
  LEFT JOIN pg_constraint con ON con.conrelid = i.indrelid  -- has an index; conindid has none
    AND con.conindid = i.indexrelid AND con.contype IN ('p', 'u')
  CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[], con.conexclop)
       WITH ORDINALITY AS k (attnum, opclass, excludes, ord)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
  WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
    AND i.indpred IS NULL AND i.indexprs IS NULL AND k.ord <= i.indnkeyatts
    AND (i.indisexclusion OR (SELECT am.amname FROM pg_am am WHERE am.oid = ic.relam) = 'btree')
  GROUP BY ic.relname, i.indexrelid, i.indisprimary, i.indnkeyatts, con.conname
  HAVING bool_and({_NOT_NULL}) AND count(*) = i.indnkeyatts
) AS usable
WHERE array_position(operators, NULL) IS NULL
"""  # noqa: S608 - constants only

_LEAF_OIDS = """
  SELECT relid::oid AS oid FROM pg_partition_tree(c.oid) WHERE isleaf
  UNION
  SELECT c.oid WHERE c.relkind <> 'p'
"""

BELOW = """
  WITH RECURSIVE tree AS (
    SELECT c.oid AS oid
    UNION SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid)
  SELECT oid FROM tree
"""
"""The relation `c` and all that are below it, of which none is locked."""

KEEPS_OUT = """
  l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""What holds of a lock `l` that keeps every reader out, or will: what is waited for stands before us."""

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
FROM ({_LEAF_OIDS}) AS leaf
-- Looked up one by one: a partition tree is taken for 500 leaves, so all of pg_class would be read.
CROSS JOIN LATERAL (SELECT * FROM pg_class l WHERE l.oid = leaf.oid OFFSET 0) AS l
JOIN pg_namespace n ON n.oid = l.relnamespace
LEFT JOIN pg_am am ON am.oid = l.relam
"""  # noqa: S608 - constants only

_RELATIONS = f"""
SELECT wanted.schema, wanted.name, c.oid, c.relkind, EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid),
       has_table_privilege(c.oid, 'SELECT'), obj_description(c.oid, 'pg_class'),
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary),
       (SELECT array_agg(coalesce(a.attname::text, '') ORDER BY k.ord)
        FROM pg_partitioned_table p
        CROSS JOIN unnest(p.partattrs::int2[]) WITH ORDINALITY AS k (attnum, ord)
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
        WHERE p.partrelid = c.oid),
       ({_COLUMNS}), ({_KEYS}), ({_LEAVES})
FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
"""  # noqa: S608 - constants only
"""One statement for all relations: each is a round trip, and takes longer to plan than to execute."""

_STORAGE = f"""
SELECT c.oid::bigint, (SELECT json_agg(json_build_array(
         leaf.oid::bigint, coalesce(pg_relation_filenode(leaf.oid), 0)::bigint) ORDER BY leaf.oid)
       FROM ({_LEAF_OIDS}) AS leaf)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""  # noqa: S608 - constants only


def read_relations(cursor: Cursor, names: Iterable[RelationName]) -> dict[RelationName, Relation]:
    """Those relations that exist, by name, as this transaction sees the catalog."""
    wanted = sorted(set(names))
    columns = ([each.schema for each in wanted], [each.name for each in wanted])
    found = (
        _relation(RelationName(schema, name), *values)
        for schema, name, *values in rows(cursor, _RELATIONS, columns)
    )
    return {relation.name: relation for relation in found}


def read_relation(cursor: Cursor, name: RelationName) -> Relation | None:
    """The relation of that name as this transaction sees the catalog, or None."""
    return read_relations(cursor, [name]).get(name)


def _relation(name: RelationName, *values: Any) -> Relation:
    oid, kind, has_children, readable, comment, primary, parts, columns, keys, leaves = values
    fields = tuple(Column(*each) for each in columns or ())
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


# What says how large a table is waits for whoever has locked it.
_SIZES = f"""
WITH shut AS MATERIALIZED (
  SELECT l.relation FROM pg_locks l WHERE {KEEPS_OUT})
SELECT wanted.schema, wanted.name,
  CASE WHEN EXISTS (SELECT FROM ({BELOW}) AS part JOIN shut ON shut.relation = part.oid) THEN NULL
    ELSE (SELECT coalesce(sum(pg_table_size(leaf.oid)), 0)::bigint FROM ({_LEAF_OIDS}) AS leaf) END
FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name AND c.relkind IN ('r', 'p')
"""  # noqa: S608 - constants only


def read_sizes(cursor: Cursor, names: Iterable[RelationName]) -> dict[RelationName, int]:
    """The bytes of those tables that exist, with their partitions.

    None of another kind of relation, and of a table that somebody keeps every reader out of now.
    """
    wanted = sorted(set(names))
    columns = ([each.schema for each in wanted], [each.name for each in wanted])
    found = rows(cursor, _SIZES, columns)
    return {RelationName(schema, name): size for schema, name, size in found if size is not None}


def read_storage(cursor: Cursor, name: RelationName) -> str | None:
    """The `storage` of the relation of that name, or None: much cheaper than all of its shape."""
    found = rows(cursor, _STORAGE, (name.schema, name.name))
    return storage_of(found[0][0], map(tuple, found[0][1] or ())) if found else None


def _leaf(oid: int, schema: str, name: str, *values: Any) -> Leaf:
    *facts, cache, stored = values
    columns = tuple(LeafColumn(*each) for each in stored or ())
    leaf = Leaf(oid, RelationName(schema, name), *facts)
    return dataclasses.replace(leaf, columns=columns, cache=cache)


def _fingerprint(columns: Iterable[Column]) -> str:
    text = repr([(c.number, c.name, c.type, c.type_oid, c.collation) for c in columns])
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


EQUAL = 3
"""The strategy number of `=` in a btree: the manual, "Index Method Strategies"."""

AT_LEAST = 4
"""The strategy number of `>=` in a btree."""


def formatted_types(cursor: Cursor, oids: Iterable[int]) -> dict[int, str]:
    """The name of each type without a modifier, as SQL."""
    # -1 and not NULL: `character` without a length would mean one character.
    found = rows(
        cursor,
        "SELECT oid, format_type(oid, -1) FROM unnest(%s::oid[]) AS oid",
        (sorted(set(oids)),),
    )
    return dict(found)


class Schemas:
    """The schemas that are there, or will be by a statement that was handed out before."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._there: set[str] = set()

    def needed(self, schema: str) -> list[Composable]:
        """What creates a schema where it is missing.

        Not IF NOT EXISTS: that asks for the right to create one even where there is nothing to do,
        and a target's role may have been given its schemas ready-made.
        """
        if schema in self._there:
            return []
        self._there.add(schema)
        found = "SELECT FROM pg_namespace WHERE nspname = %s"
        if rows(self._cursor, found, (schema,)):
            return []
        return [SQL("CREATE SCHEMA {}").format(Identifier(schema))]
