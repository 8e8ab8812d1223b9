"""Unique and exclusion constraints besides the key: what no two rows of a table may share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sync_assets.engine.names import RelationName, quoted
from sync_assets.engine.postgres.relation import Key
from sync_assets.engine.postgres.session import Cursor, rows


@dataclass(frozen=True, slots=True)
class Unique:
    """A unique index or an exclusion constraint, by the SQL of its parts and their operators.

    Two rows collide where each operator holds between their parts. `condition` is that of a
    partial one, `definition` that of a constraint; `columns` are all that it looks at, `plain`
    those that are parts by themselves.
    """

    table: RelationName
    name: str
    definition: str | None
    deferrable: bool
    nulls_equal: bool
    parts: tuple[str, ...]
    operators: tuple[str, ...]
    condition: str | None
    columns: tuple[str, ...]
    plain: tuple[str, ...]

    def forbids_as_much_as(self, other: Unique) -> bool:
        """Whether rows that `other` forbids to be together are forbidden here too."""
        ours = set(zip(self.parts, self.operators, strict=True))
        theirs = set(zip(other.parts, other.operators, strict=True))
        return (
            ours <= theirs
            and self.condition in (None, other.condition)
            and (self.nulls_equal or not other.nulls_equal)
        )

    @property
    def dropped(self) -> str:
        """The statement that drops it."""
        if self.definition:
            return f"ALTER TABLE {self.table.as_sql} DROP CONSTRAINT {quoted(self.name)};"
        return f"DROP INDEX {RelationName(self.table.schema, self.name).as_sql};"

    @property
    def checked_later(self) -> str:
        """The statements that have it checked at the end of each statement, not row by row."""
        later = self.definition or self._as_constraint
        return (
            f"{self.dropped} ALTER TABLE {self.table.as_sql} "
            f"ADD CONSTRAINT {quoted(self.name)} {later} DEFERRABLE;"
        )

    @property
    def _as_constraint(self) -> str:
        """What an index that is no constraint would be as one."""
        parts = ", ".join(map(" WITH ".join, zip(self.parts, self.operators, strict=True)))
        where = f" WHERE ({self.condition})" if self.condition else ""
        return f"EXCLUDE USING btree ({parts}){where}"


_UNIQUES = """
SELECT n.nspname, c.relname, x.relname, pg_get_constraintdef(k.oid), NOT i.indimmediate,
       -- A source may be older than the column.
       coalesce((to_jsonb(i)->>'indnullsnotdistinct')::boolean, false),
       ARRAY(SELECT pg_get_indexdef(i.indexrelid, part, false)
             FROM generate_series(1, i.indnkeyatts) AS part ORDER BY part),
       ARRAY(SELECT format('OPERATOR(%%I.%%s)', s.nspname, o.oprname)
             FROM unnest(coalesce(k.conexclop, ARRAY(
               SELECT a.amopopr FROM unnest(i.indclass::oid[]) WITH ORDINALITY AS p (opclass, place)
               JOIN pg_opclass oc ON oc.oid = p.opclass
               JOIN pg_amop a ON a.amopfamily = oc.opcfamily AND a.amopstrategy = 3
                AND a.amoplefttype = oc.opcintype AND a.amoprighttype = oc.opcintype
               ORDER BY p.place))) WITH ORDINALITY AS e (operator, place)
             JOIN pg_operator o ON o.oid = e.operator JOIN pg_namespace s ON s.oid = o.oprnamespace
             ORDER BY e.place),
       pg_get_expr(i.indpred, i.indrelid),
       ARRAY(SELECT attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum > 0
             AND (a.attnum = ANY (i.indkey) OR EXISTS (SELECT FROM pg_depend d
               WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                 AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum)) ORDER BY a.attnum),
       ARRAY(SELECT attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid
             AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) AND a.attnum > 0)
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_constraint k ON k.conrelid = i.indrelid  -- has an index; conindid has none
  AND k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
WHERE i.indrelid = %s AND i.indisvalid AND (i.indisunique OR i.indisexclusion)
ORDER BY x.relname
"""


def read_uniques(cursor: Cursor, oid: int) -> tuple[Unique, ...]:
    """All of one table, its key's among them; needs `search_path = pg_catalog`."""
    found = rows(cursor, _UNIQUES, (oid,))
    return tuple(_unique(RelationName(*each[:2]), *each[2:]) for each in found)


def _unique(table: RelationName, *values: Any) -> Unique:
    found: list[Any] = [tuple(each) if isinstance(each, list) else each for each in values]
    return Unique(table, *found)


def besides_key(uniques: Iterable[Unique], key: Key | None) -> tuple[Unique, ...]:
    """Those that are not the key's own index, by which rows are told apart."""
    return tuple(each for each in uniques if key is None or not _is_key(each, key))


def _is_key(unique: Unique, key: Key) -> bool:
    whole = unique.condition is None and len(unique.plain) == len(unique.parts)
    # A temporal key keeps apart what overlaps, which is more than what is equal.
    same = not key.operators or set(unique.operators) == set(key.operators)
    columns = sorted(unique.plain) == sorted(key.columns)
    return whole and same and columns and not unique.deferrable
