"""The indexes, constraints and the like of tables, read on either end in words that can be compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2.sql import SQL, Identifier

from sync_assets.engine.carry.calls import CALLED, Calls
from sync_assets.engine.carry.described import described
from sync_assets.engine.names import RelationName, parts_of
from sync_assets.engine.postgres.session import Cursor, row, rows
from sync_assets.engine.table import Carry


@dataclass(frozen=True, slots=True)
class TableObject:
    """One object of a table.

    `definition` is what the server says of it, without its own name and its table's: equal ones do the
    same. `columns` are those that it reads; `plain` says that it computes nothing from them. `constraint`
    is what makes an index the index of a constraint, `refers_to` the table of a foreign key.
    """

    kind: Carry
    name: str
    definition: str
    columns: frozenset[str]
    plain: bool
    unique: bool
    valid: bool
    constraint: str | None
    refers_to: RelationName | None
    calls: Calls

    @property
    def place(self) -> tuple[Carry, str]:
        """What tells it from the table's other objects."""
        return self.kind, self.name

    def __str__(self) -> str:
        return named(self.kind, self.name)


_ONE = {
    Carry.INDEXES: "index",
    Carry.CHECKS: "check",
    Carry.DEFAULTS: "the default of",
    Carry.NOT_NULL: "NOT NULL of",
    Carry.FOREIGN_KEYS: "foreign key",
    Carry.SEQUENCES: "the sequence of",
    Carry.STATISTICS: "statistics",
    Carry.COMMENTS: "the comment on",
    Carry.VIEWS: "view",
}


def named(kind: Carry, name: str) -> str:
    """An object in words."""
    return f"{_ONE[kind]} {name or 'the table'}"


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table on one end: its objects, and its columns' types.

    `partitioned` decides how objects can be made there.
    """

    objects: tuple[TableObject, ...]
    columns: Mapping[str, str]
    partitioned: bool


# A column's own sequence: by identity, as serial has it, or because its default takes from one that is
# no other's, as dumps of old versions made it.
_OWN = """relation AS (
  SELECT c.oid, n.nspname, c.relname, format('%%I.%%I', n.nspname, c.relname) AS qualified
  FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS wanted (schema, name)
  JOIN pg_namespace n ON n.nspname = wanted.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
), own AS (
  SELECT r.oid, d.refobjsubid AS number, d.objid AS sequence
  FROM relation r JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid
    AND d.refobjsubid > 0 AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  JOIN pg_sequence s ON s.seqrelid = d.objid
  UNION ALL
  SELECT r.oid, f.adnum, s.seqrelid
  FROM relation r JOIN pg_attrdef f ON f.adrelid = r.oid
  JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
    AND d.refclassid = 'pg_class'::regclass
  JOIN pg_sequence s ON s.seqrelid = d.refobjid
  JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = f.adnum
  WHERE pg_get_expr(f.adbin, r.oid) = format('nextval(%%L::regclass)', s.seqrelid::regclass)
    -- As identity needs it.
    AND a.attnotnull AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
    AND NOT EXISTS (SELECT FROM pg_depend o WHERE o.classid = 'pg_class'::regclass
      AND o.objid = s.seqrelid AND o.refclassid = 'pg_class'::regclass AND o.deptype IN ('a', 'i'))
    AND NOT EXISTS (SELECT FROM pg_depend o LEFT JOIN pg_attrdef other ON other.oid = o.objid
      WHERE o.refclassid = 'pg_class'::regclass AND o.refobjid = s.seqrelid
      -- Its partitions take from it, too.
      AND (o.classid <> 'pg_attrdef'::regclass OR other.adrelid <> r.oid AND NOT EXISTS
        (SELECT FROM pg_partition_tree(r.oid) WHERE relid = other.adrelid)
        OR other.adrelid = r.oid AND other.adnum <> f.adnum))
)"""

# pg_get_indexdef() and pg_get_statisticsobjdef() begin with the names, as format() writes them: all
# names have their schema, since the search_path is pg_catalog alone. A key that is not enforced (18) is
# no promise of the source's.
_OBJECTS = "".join(
    (
        f"WITH {_OWN}",
        r""", object AS (
  SELECT r.oid, 'indexes' AS kind, i.relname::text AS name,
    CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END || substr(pg_get_indexdef(x.indexrelid), 1 + length(
      format('CREATE %%sINDEX %%I ON %%s%%s ', CASE WHEN x.indisunique THEN 'UNIQUE ' END, i.relname,
             CASE WHEN i.relkind = 'I' THEN 'ONLY ' END, r.qualified))) AS definition,
    x.indisunique AS is_unique, x.indisvalid AS valid,
    x.indexprs IS NULL AND x.indpred IS NULL AS plain,
    CASE WHEN k.contype = 'u' THEN 'UNIQUE' || CASE WHEN k.condeferrable THEN ' DEFERRABLE' ELSE '' END
      || CASE WHEN k.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END END AS made_constraint,
    NULL::oid AS refers_to, NULL::text AS tree,
    CASE WHEN k.oid IS NULL THEN 'pg_class'::regclass ELSE 'pg_constraint'::regclass END AS classid,
    coalesce(k.oid, x.indexrelid) AS objid, NULL::text AS own_column
  FROM relation r JOIN pg_index x ON x.indrelid = r.oid JOIN pg_class i ON i.oid = x.indexrelid
  LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.conrelid = r.oid AND k.contype IN ('p', 'u', 'x')
  WHERE k.contype IS DISTINCT FROM 'x' AND NOT x.indisexclusion
  UNION ALL
  SELECT r.oid, CASE k.contype WHEN 'f' THEN 'foreign_keys' ELSE 'checks' END, k.conname::text,
    replace(regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''),
            coalesce(') REFERENCES ' || (SELECT format('%%I.%%I(', pn.nspname, p.relname) FROM pg_class p
              JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE p.oid = k.confrelid), ''),
            ') REFERENCES ('),
    false, k.convalidated, false, NULL, nullif(k.confrelid, 0), k.conbin::text,
    'pg_constraint'::regclass, k.oid, NULL
  FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid
  WHERE k.contype IN ('c', 'f') AND k.conparentid = 0
    AND coalesce(pg_get_constraintdef(k.oid), '') NOT LIKE '%% NOT ENFORCED'
  UNION ALL
  SELECT r.oid, 'defaults', a.attname::text, pg_get_expr(d.adbin, d.adrelid),
    false, true, false, NULL, NULL, d.adbin::text, 'pg_attrdef'::regclass, d.oid, a.attname::text
  FROM relation r JOIN pg_attrdef d ON d.adrelid = r.oid
  JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = d.adnum AND a.attgenerated = ''
  -- What the column's own sequence gives is made as identity.
  WHERE NOT EXISTS (SELECT FROM pg_depend s JOIN own ON own.sequence = s.refobjid
    WHERE s.classid = 'pg_attrdef'::regclass AND s.objid = d.oid
      AND s.refclassid = 'pg_class'::regclass AND own.oid = r.oid AND own.number = a.attnum)
  UNION ALL
  SELECT r.oid, 'not_null', a.attname::text, 'NOT NULL', false, true, true, NULL, NULL, NULL,
    'pg_attrdef'::regclass, 0, a.attname::text
  FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE a.attnotnull
  UNION ALL
  SELECT r.oid, 'sequences', a.attname::text,
    format('AS IDENTITY (INCREMENT %%s MINVALUE %%s MAXVALUE %%s START %%s CACHE %%s%%s)', s.seqincrement,
      CASE WHEN s.seqmin < -limits.most THEN -limits.most - 1 ELSE s.seqmin END,
      least(s.seqmax, limits.most), s.seqstart, s.seqcache, CASE WHEN s.seqcycle THEN ' CYCLE' END),
    false, true, true, NULL, NULL, NULL, 'pg_attrdef'::regclass, 0, a.attname::text
  FROM relation r JOIN own USING (oid) JOIN pg_sequence s ON s.seqrelid = own.sequence
  JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = own.number
  -- A sequence of an older version's serial goes beyond its column, which identity may not.
  CROSS JOIN LATERAL (SELECT CASE a.atttypid WHEN 'int2'::regtype THEN 32767
    WHEN 'int4'::regtype THEN 2147483647 ELSE 9223372036854775807 END) AS limits (most)
  UNION ALL
  SELECT r.oid, 'statistics', s.stxname::text,
    left(substr(pg_get_statisticsobjdef(s.oid), 1 + length(
      format('CREATE STATISTICS %%I.%%I ', n.nspname, s.stxname))), -length(' FROM ' || r.qualified)),
    false, true, false, NULL, NULL, NULL, 'pg_statistic_ext'::regclass, s.oid, NULL
  FROM relation r JOIN pg_statistic_ext s ON s.stxrelid = r.oid
  JOIN pg_namespace n ON n.oid = s.stxnamespace
  UNION ALL
  SELECT r.oid, 'comments', coalesce(a.attname::text, ''), d.description, false, true, true, NULL, NULL,
    NULL, 'pg_attrdef'::regclass, 0, a.attname::text
  FROM relation r JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = r.oid
  LEFT JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = d.objsubid AND a.attnum > 0
), calls AS (
  SELECT d.classid, d.objid, f.oid, e.extname::text AS extension
  FROM object o JOIN pg_depend d ON d.classid = o.classid AND d.objid = o.objid
""",
        CALLED,
        r""")
SELECT r.nspname::text, r.relname::text, o.kind, o.name, o.definition, o.is_unique, o.valid, o.plain,
  o.made_constraint, pn.nspname::text, p.relname::text,
  ARRAY(SELECT o.own_column WHERE o.own_column IS NOT NULL UNION
        SELECT a.attname::text FROM pg_depend d JOIN pg_attribute a
          ON a.attrelid = r.oid AND a.attnum = d.refobjsubid
        WHERE d.classid = o.classid AND d.objid = o.objid AND d.refclassid = 'pg_class'::regclass
          AND d.refobjid = r.oid AND d.refobjsubid > 0),
  ARRAY(SELECT DISTINCT f.oid::regprocedure::text FROM calls f WHERE f.classid = o.classid
          AND f.objid = o.objid AND f.extension IS NULL),
  ARRAY(SELECT DISTINCT f.extension FROM calls f WHERE f.classid = o.classid AND f.objid = o.objid
          AND f.extension IS NOT NULL),
  ARRAY(SELECT DISTINCT f.proname::text
        FROM regexp_matches(o.tree, ':(?:funcid|opfuncid) ([0-9]+)', 'g') AS found (id)
        JOIN pg_proc f ON f.oid = found.id[1]::oid
        WHERE f.provolatile = 'v' OR f.provolatile = 's' AND o.kind <> 'defaults'
        -- A cast from text is no function: what it makes of '2/1/2025' is for DateStyle to say.
        UNION SELECT f.proname::text FROM regexp_matches(o.tree,
          ':resulttype ([0-9]+) :resultcollid [0-9]+ :coerceformat', 'g') AS found (id)
        JOIN pg_type t ON t.oid = found.id[1]::oid JOIN pg_proc f ON f.oid = t.typinput
        WHERE f.provolatile <> 'i' AND o.kind = 'checks'
        -- CURRENT_USER, CURRENT_DATE and the like are no functions.
        UNION SELECT said[1] FROM regexp_matches(o.definition,
          '(CURRENT_[A-Z]+|LOCALTIME(?:STAMP)?|SESSION_USER|USER)') AS said
        WHERE o.kind = 'checks' AND o.tree LIKE '%%{SQLVALUEFUNCTION %%')
FROM relation r JOIN object o USING (oid)
LEFT JOIN pg_class p ON p.oid = o.refers_to LEFT JOIN pg_namespace pn ON pn.oid = p.relnamespace
ORDER BY 1, 2, 3, 4
""",
    )
)

_TABLES = """
SELECT n.nspname::text, c.relname::text, c.relkind = 'p',
  ARRAY(SELECT ARRAY[attname::text, format_type(atttypid, atttypmod)] FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS wanted (schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name AND c.relkind IN ('r', 'p')
"""


def read_objects(
    cursor: Cursor, relations: Collection[RelationName]
) -> dict[RelationName, TableFacts]:
    """What these tables have, as far as they are there and are tables; raises SourceChanged."""
    schemas, names = parts_of(relations)
    place = {"schemas": schemas, "names": names}
    found: dict[RelationName, list[TableObject]] = {}
    for schema, name, *its in described(cursor, _OBJECTS, place, 4):
        found.setdefault(RelationName(schema, name), []).append(_object(tuple(its)))
    return {
        (relation := RelationName(schema, name)): TableFacts(
            tuple(found.get(relation, ())),
            dict(columns),
            partitioned,
        )
        for schema, name, partitioned, columns in rows(cursor, _TABLES, place)
    }


def _object(its: tuple[Any, ...]) -> TableObject:
    kind, name, definition, unique, valid, plain, constraint, *parent, columns = its[:-3]
    functions, extensions, unstable = its[-3:]
    return TableObject(
        Carry(kind),
        name,
        definition,
        frozenset(columns),
        plain=plain,
        unique=unique,
        valid=valid,
        constraint=constraint,
        refers_to=RelationName(*parent) if parent[0] else None,
        calls=Calls(tuple(functions), frozenset(extensions), frozenset(unstable)),
    )


@dataclass(frozen=True, slots=True)
class SequenceValue:
    """Where a sequence is: `called` says that it has given this value, else it gives it next."""

    value: int
    called: bool


_SEQUENCES = f"""
WITH {_OWN} SELECT r.nspname::text, r.relname::text, a.attname::text, qn.nspname::text, q.relname::text
FROM relation r JOIN own USING (oid) JOIN pg_class q ON q.oid = own.sequence
JOIN pg_namespace qn ON qn.oid = q.relnamespace
JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = own.number
WHERE has_sequence_privilege(q.oid, 'SELECT')
"""  # noqa: S608 - constants only


def read_sequence_values(
    cursor: Cursor, relations: Collection[RelationName]
) -> dict[RelationName, dict[str, SequenceValue]]:
    """Where the sequence of each column is, where it may be read."""
    schemas, names = parts_of(relations)
    found: dict[RelationName, dict[str, SequenceValue]] = {}
    its = rows(cursor, _SEQUENCES, {"schemas": schemas, "names": names})
    for schema, name, column, *sequence in its:
        # pg_sequence_last_value() does not say where one begins that was set and never called.
        read = SQL("SELECT last_value, is_called FROM {}").format(Identifier(*sequence))
        value = SequenceValue(*row(cursor, read))
        found.setdefault(RelationName(schema, name), {})[column] = value
    return found
