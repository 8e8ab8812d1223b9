"""The types a table needs beyond PostgreSQL's own, as a catalog has them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from psycopg2.sql import Composable

from sync_assets.engine.names import RelationName, parts_of
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.session import Cursor, rows


@dataclass(frozen=True, slots=True)
class UserType:
    """A type that is not built in, with what CREATE needs; parts are (name, type).

    `label_oids` and `part_numbers` tell a label or a part that was renamed from another one. What a
    domain demands of its values is not part of it: that is code of the source's owner.
    """

    oid: int
    schema: str
    name: str
    kind: str
    extension: str | None
    needs: tuple[int, ...]
    labels: tuple[str, ...] = ()
    base: str | None = None
    clauses: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    label_oids: tuple[int, ...] = ()
    part_numbers: tuple[int, ...] = ()

    @property
    def full_name(self) -> RelationName:
        """Its qualified name, as the catalogs of both ends have it."""
        return RelationName(self.schema, self.name)

    @property
    def identifier(self) -> Composable:
        """Its qualified name, ready for SQL."""
        return identifiers.relation(self.full_name)


FIRST_UNASSIGNED = 10_000
"""Types below it are PostgreSQL's own: it assigns their OIDs by hand (transam.h)."""

_NEEDED = """
WITH RECURSIVE needed (oid) AS (
  SELECT unnest(%s::oid[])
  UNION
  SELECT part.oid FROM needed JOIN pg_type t ON t.oid = needed.oid
  CROSS JOIN LATERAL (
    SELECT t.typelem WHERE t.typelem <> 0 AND t.typlen = -1
    UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd'
    UNION ALL SELECT a.atttypid FROM pg_attribute a
      WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
    UNION ALL SELECT r.rngtypid FROM pg_range r WHERE r.rngmultitypid = t.oid
  ) AS part (oid)
)
SELECT t.oid, n.nspname, t.typname,
  CASE WHEN t.typtype = 'c' AND (SELECT relkind FROM pg_class WHERE oid = t.typrelid) <> 'c'
       THEN 'table'
       WHEN t.typtype = 'r' AND (SELECT rngcanonical FROM pg_range WHERE rngtypid = t.oid) <> 0
       THEN 'canonical' ELSE t.typtype::text END,
  (SELECT e.extname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
   WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'),
  ARRAY(SELECT coalesce(m.rngtypid, e.oid, p.oid) FROM (
    SELECT t.typbasetype AS part WHERE t.typtype = 'd'
    UNION ALL SELECT a.atttypid FROM pg_attribute a
      WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid) AS parts (oid)
    JOIN pg_type p ON p.oid = parts.oid
    LEFT JOIN pg_type e ON e.oid = p.typelem AND p.typlen = -1
    LEFT JOIN pg_range m ON m.rngmultitypid IN (p.oid, e.oid))::bigint[],
  ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder),
  CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod)
                   || (SELECT CASE WHEN b.typcollation <> t.typcollation
                              THEN format(' COLLATE %%I.%%I', cn.nspname, c.collname) ELSE '' END
                       FROM pg_type b LEFT JOIN pg_collation c ON c.oid = t.typcollation
                       LEFT JOIN pg_namespace cn ON cn.oid = c.collnamespace
                       WHERE b.oid = t.typbasetype)
                 WHEN 'r' THEN (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r
                                WHERE r.rngtypid = t.oid) END,
  ARRAY(SELECT clause FROM pg_range r
         JOIN pg_opclass o ON o.oid = r.rngsubopc JOIN pg_namespace os ON os.oid = o.opcnamespace
         JOIN pg_type m ON m.oid = r.rngmultitypid JOIN pg_namespace ms ON ms.oid = m.typnamespace
         LEFT JOIN pg_collation c ON c.oid = r.rngcollation
         LEFT JOIN pg_namespace cs ON cs.oid = c.collnamespace
         CROSS JOIN unnest(ARRAY[
           format('subtype_opclass = %%I.%%I', os.nspname, o.opcname),
           format('multirange_type_name = %%I.%%I', ms.nspname, m.typname),
           CASE WHEN c.oid IS NOT NULL THEN format('collation = %%I.%%I', cs.nspname, c.collname)
           END]) AS clause
         WHERE r.rngtypid = t.oid AND clause IS NOT NULL),
  ARRAY(SELECT ARRAY[a.attname::text, format_type(a.atttypid, a.atttypmod)
          || CASE WHEN a.attcollation <> p.typcollation
                  THEN format(' COLLATE %%I.%%I', cn.nspname, c.collname) ELSE '' END]
        FROM pg_attribute a JOIN pg_type p ON p.oid = a.atttypid
        LEFT JOIN pg_collation c ON c.oid = a.attcollation
        LEFT JOIN pg_namespace cn ON cn.oid = c.collnamespace
        WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum),
  ARRAY(SELECT e.oid::bigint FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder),
  ARRAY(SELECT a.attnum::int FROM pg_attribute a
        WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum)
FROM needed JOIN pg_type t ON t.oid = needed.oid JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname <> 'pg_catalog' AND t.typtype IN ('b', 'c', 'd', 'e', 'r')
  AND NOT (t.typelem <> 0 AND t.typlen = -1 AND t.typcategory = 'A')
ORDER BY t.oid
"""


def read_types(cursor: Cursor, oids: Iterable[int]) -> tuple[UserType, ...]:
    """The types behind these column types that PostgreSQL does not bring along, needed first."""
    others = sorted({oid for oid in oids if oid >= FIRST_UNASSIGNED})
    if not others:
        return ()
    needed = (UserType(*map(_frozen, each)) for each in rows(cursor, _NEEDED, (others,)))
    found = {each.oid: each for each in needed}
    needs = {oid: [need for need in each.needs if need in found] for oid, each in found.items()}
    return tuple(found[oid] for oid in TopologicalSorter(needs).static_order())


def _frozen(value: Any) -> Any:
    """A value as it came, or a tuple of what an array held."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def missing_types(cursor: Cursor, needed: Iterable[UserType]) -> tuple[UserType, ...]:
    """Those of `needed` that this database does not have."""
    wanted = tuple(needed)
    present = _oids_named(cursor, [each.full_name for each in wanted])
    return tuple(each for each in wanted if each.full_name not in present)


def types_named(cursor: Cursor, names: Collection[RelationName]) -> dict[RelationName, UserType]:
    """The types of these names that this database has, but for those that PostgreSQL brings along."""
    present = _oids_named(cursor, names)
    found = {each.full_name: each for each in read_types(cursor, present.values())}
    return {name: each for name, each in found.items() if present.get(name) == each.oid}


def _oids_named(cursor: Cursor, names: Collection[RelationName]) -> dict[RelationName, int]:
    if not names:
        return {}
    found = rows(
        cursor,
        "SELECT n.nspname, t.typname, t.oid FROM pg_type t "
        "JOIN pg_namespace n ON n.oid = t.typnamespace "
        "JOIN unnest(%s::text[], %s::text[]) AS wanted (schema, name) "
        "ON (n.nspname, t.typname) = (wanted.schema, wanted.name)",
        parts_of(names),
    )
    return {RelationName(schema, name): oid for schema, name, oid in found}
