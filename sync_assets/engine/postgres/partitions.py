"""Partitioned tables of the target, as the catalog shows them and their partitions' bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from psycopg2.sql import SQL, Identifier

from sync_assets.engine.names import PartitionOf, RelationName, parts_of
from sync_assets.engine.postgres.catalog import read_relations
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.session import Cursor, row, rows


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A table that is partitioned, or is to be; `relation` is None while it is not there.

    `bounds` says of each partition what it takes, as in FOR VALUES IN ('eu'), `defaults` what the column
    by which it is told has in rows that name none. `detaching` is one that DETACH … CONCURRENTLY has not
    taken out to the end. `above` is what it is a partition of itself, `checks`
    are the names of the constraints that a partition must have, too; `in_default` the values, of those that
    partitions are to be made for, that rows of the default partition have.
    """

    name: RelationName
    relation: Relation | None = None
    by_list: bool = False
    owned: bool = True
    schema_exists: bool = True
    bounds: Mapping[RelationName, str] = field(default_factory=dict)
    defaults: Mapping[RelationName, str | None] = field(default_factory=dict)
    detaching: RelationName | None = None
    above: RelationName | None = None
    checks: tuple[str, ...] = ()
    in_default: frozenset[str] = frozenset()


_PARTITIONED = """
SELECT wanted.schema, wanted.name, n.oid IS NOT NULL, coalesce(p.partstrat = 'l', false),
  coalesce(pg_has_role(c.relowner, 'USAGE'), true),
  ARRAY(SELECT jsonb_build_array(pn.nspname, pc.relname, pg_get_expr(pc.relpartbound, pc.oid),
          pg_get_expr(d.adbin, d.adrelid), i.inhdetachpending)
        FROM pg_inherits i JOIN pg_class pc ON pc.oid = i.inhrelid
        JOIN pg_namespace pn ON pn.oid = pc.relnamespace
        LEFT JOIN pg_attribute key ON key.attrelid = c.oid AND key.attnum = p.partattrs[0]
        LEFT JOIN pg_attribute a ON a.attrelid = pc.oid AND a.attname = key.attname
        LEFT JOIN pg_attrdef d ON d.adrelid = pc.oid AND d.adnum = a.attnum
        WHERE i.inhparent = c.oid AND pc.relispartition ORDER BY pc.oid),
  (SELECT jsonb_build_array(an.nspname, ac.relname) FROM pg_inherits i
   JOIN pg_class ac ON ac.oid = i.inhparent JOIN pg_namespace an ON an.oid = ac.relnamespace
   WHERE i.inhrelid = c.oid AND c.relispartition),
  ARRAY(SELECT k.conname::text FROM pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype = 'c' AND NOT k.connoinherit ORDER BY 1)
FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
LEFT JOIN pg_namespace n ON n.nspname = wanted.schema
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid
"""


def read_partitioned(
    cursor: Cursor, names: Iterable[RelationName | None]
) -> dict[RelationName | None, Partitioned]:
    """Those tables, there or not, by name; asks nothing where there are no names."""
    wanted = sorted({name for name in names if name is not None})
    if not wanted:
        return {}
    there = read_relations(cursor, wanted)
    found: dict[RelationName | None, Partitioned] = {}
    for schema, name, exists, by_list, owned, parts, above, checks in rows(
        cursor, _PARTITIONED, parts_of(wanted)
    ):
        table = RelationName(schema, name)
        by_name = {RelationName(*part[:2]): part[2:] for part in parts}
        found[table] = Partitioned(
            table,
            there.get(table),
            by_list,
            owned,
            exists,
            {part: bound for part, (bound, _, _) in by_name.items()},
            {part: default for part, (_, default, _) in by_name.items()},
            next((part for part, (*_, pending) in by_name.items() if pending), None),
            RelationName(*above) if above else None,
            tuple(checks),
        )
    return found


def with_default(
    cursor: Cursor,
    wholes: Mapping[RelationName | None, Partitioned],
    parts: Mapping[RelationName, PartitionOf | None],
) -> dict[RelationName | None, Partitioned]:
    """Those tables, with what default partitions hold of the values of targets that are no partitions yet.

    ATTACH PARTITION would look for that, too, once all rows are there: the manual, "ALTER TABLE".
    https://www.postgresql.org/docs/current/sql-altertable.html
    """
    known = dict(wholes)
    for target, part in parts.items():
        whole = known.get(part.table) if part else None
        if part is None or whole is None or target in whole.bounds:
            continue
        default = next((name for name, bound in whole.bounds.items() if bound == "DEFAULT"), None)
        told = whole.relation.column(part.column) if whole.relation else None
        if default is None or told is None:
            continue
        if _holds(cursor, default, part):
            held = whole.in_default | {part.value}
            known[part.table] = dataclasses.replace(whole, in_default=held)
    return known


def _holds(cursor: Cursor, default: RelationName, part: PartitionOf) -> bool:
    (may,) = row(cursor, "SELECT has_table_privilege(%s, 'SELECT')", (default.as_sql,))
    holds = SQL("SELECT EXISTS (SELECT FROM {} WHERE {}::pg_catalog.text = %s)").format(
        Identifier(default.schema, default.name), Identifier(part.column)
    )
    return bool(may and row(cursor, holds, (part.value,))[0])


def ancestors(cursor: Cursor, name: RelationName) -> list[RelationName]:
    """A table, the one that it is a partition of, and so on; empty for one that is no partition."""
    above = (
        "SELECT n.nspname, c.relname FROM pg_partition_ancestors(to_regclass(%s)) "
        "WITH ORDINALITY AS above (oid, position) JOIN pg_class c USING (oid) "
        "JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY position"
    )
    return [RelationName(*found) for found in rows(cursor, above, (name.as_sql,))]


def default_of(cursor: Cursor, name: RelationName, column: str) -> str | None:
    """The default of a table's column, as the catalog writes it."""
    default = (
        "SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d "
        "JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum "
        "WHERE d.adrelid = to_regclass(%s) AND a.attname = %s"
    )
    found = rows(cursor, default, (name.as_sql, column))
    return str(found[0][0]) if found else None
