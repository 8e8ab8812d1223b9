"""The types a table needs beyond PostgreSQL's own: read from the source, made on the target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg2.extensions
from psycopg2 import sql

from sync_assets.engine import errors
from sync_assets.engine.session import create_schema, rows
from sync_assets.engine.table import quoted

Cursor = psycopg2.extensions.cursor


@dataclass(frozen=True, slots=True)
class UserType:
    """A type that is not built in, with what CREATE needs; parts are (name, type).

    `label_oids` and `part_numbers` tell a label or a part that was renamed from another one.
    `constraints` are those of a domain, by name.
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
    constraints: tuple[tuple[str, str], ...] = ()

    @property
    def identifier(self) -> sql.Identifier:
        """Its qualified name, ready for SQL."""
        return sql.Identifier(self.schema, self.name)


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
  -- A constraint that is not validated may be broken by values that are there.
  ARRAY(SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k
        WHERE k.contypid = t.oid AND k.convalidated ORDER BY k.conname)
    || CASE WHEN t.typtype = 'd' AND t.typnotnull THEN ARRAY['NOT NULL'] ELSE '{}' END
    || ARRAY(SELECT clause FROM pg_range r
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
        ORDER BY a.attnum),
  ARRAY(SELECT ARRAY[k.conname::text, pg_get_constraintdef(k.oid)] FROM pg_constraint k
        WHERE k.contypid = t.oid AND k.contype = 'c' ORDER BY k.conname)
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
    found = {values[0]: _user_type(*values) for values in rows(cursor, _NEEDED, (others,))}
    return tuple(_in_order(found))


def _user_type(
    oid: int,
    schema: str,
    name: str,
    kind: str,
    extension: str | None,
    needs: Sequence[int],
    labels: Sequence[str],
    base: str | None,
    clauses: Sequence[str],
    parts: Sequence[Sequence[str]],
    label_oids: Sequence[int],
    part_numbers: Sequence[int],
    constraints: Sequence[Sequence[str]],
) -> UserType:
    return UserType(
        oid,
        schema,
        name,
        kind,
        extension,
        tuple(needs),
        tuple(labels),
        base,
        tuple(dict.fromkeys(clauses)),
        tuple((part, type_) for part, type_ in parts),
        tuple(label_oids),
        tuple(part_numbers),
        tuple((constraint, definition) for constraint, definition in constraints),
    )


def _in_order(found: dict[int, UserType]) -> list[UserType]:
    placed: dict[int, UserType] = {}

    def place(wanted: UserType) -> None:
        if wanted.oid in placed:
            return
        for need in wanted.needs:
            if need in found:
                place(found[need])
        placed[wanted.oid] = wanted

    for wanted in found.values():
        place(wanted)
    return list(placed.values())


def missing_types(cursor: Cursor, needed: Iterable[UserType]) -> tuple[UserType, ...]:
    """Those of `needed` that this database does not have."""
    names = [(wanted.schema, wanted.name) for wanted in needed]
    if not names:
        return ()
    present = set(
        rows(
            cursor,
            "SELECT n.nspname, t.typname FROM pg_type t "
            "JOIN pg_namespace n ON n.oid = t.typnamespace WHERE (n.nspname, t.typname) IN %s",
            (tuple(names),),
        )
    )
    return tuple(wanted for wanted in needed if (wanted.schema, wanted.name) not in present)


def add_labels(cursor: Cursor, needed: Iterable[UserType]) -> None:
    """Give the enums that are there the labels they lack, in the source's order."""
    for wanted in needed:
        if wanted.kind == "e" and not wanted.extension:
            present = [label for (label,) in rows(cursor, _LABELS, (wanted.schema, wanted.name))]
            for statement in label_additions(wanted, present):
                cursor.execute(statement)


_LABELS = """
SELECT e.enumlabel::text FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname = %s AND t.typname = %s ORDER BY e.enumsortorder
"""


def label_additions(wanted: UserType, present: Sequence[str]) -> list[sql.Composable]:
    """The statements that add an enum's missing labels, each after the one before it (pure)."""
    add = sql.SQL("ALTER TYPE {} ADD VALUE {} {} {}")
    statements: list[sql.Composable] = []
    for place, label in enumerate(wanted.labels):
        if present and label not in present:
            side, other = ("AFTER", wanted.labels[place - 1]) if place else ("BEFORE", present[0])
            position = (sql.Literal(label), sql.SQL(side), sql.Literal(other))
            statements.append(add.format(wanted.identifier, *position))
    return statements


def alter_types(cursor: Cursor, known: Iterable[UserType], needed: Iterable[UserType]) -> None:
    """Rename and relax the target's types as the source did; raises SchemaConflict.

    Needs the lock for DDL: another table may bring the same change along.
    """
    before = {each.oid: each for each in known}
    for wanted in needed:
        was = before.get(wanted.oid)
        if was is None or was == wanted or wanted.extension or wanted.kind not in "cder":
            continue
        _follow_name(cursor, was, wanted)
        there = _type_named(cursor, wanted)
        if there is not None:
            for statement in type_changes(was, wanted, there):
                cursor.execute(statement)


def _follow_name(cursor: Cursor, was: UserType, wanted: UserType) -> None:
    if (was.schema, was.name) == (wanted.schema, wanted.name):
        return
    if _type_named(cursor, was) is None or _type_named(cursor, wanted) is not None:
        return
    alter = sql.SQL("ALTER TYPE {} {} {}")
    if was.schema != wanted.schema:
        create_schema(cursor, wanted.schema)
        schema = sql.Identifier(wanted.schema)
        cursor.execute(alter.format(was.identifier, sql.SQL("SET SCHEMA"), schema))
    if was.name != wanted.name:
        moved = sql.Identifier(wanted.schema, was.name)
        cursor.execute(alter.format(moved, sql.SQL("RENAME TO"), sql.Identifier(wanted.name)))


def _type_named(cursor: Cursor, wanted: UserType) -> UserType | None:
    found = rows(
        cursor,
        "SELECT t.oid FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace "
        "WHERE n.nspname = %s AND t.typname = %s",
        (wanted.schema, wanted.name),
    )
    types = read_types(cursor, (oid for (oid,) in found))
    return next((each for each in types if each.oid == found[0][0]), None) if found else None


def type_changes(was: UserType, now: UserType, there: UserType) -> list[sql.Composable]:
    """What makes the target's type, as it is there, follow the source's (pure)."""
    if now.kind == "e":
        return _label_renames(was, now, there)
    if now.kind == "d":
        return _relaxations(was, now, there)
    if now.kind == "c":
        return _part_changes(was, now, there)
    return []


def _label_renames(was: UserType, now: UserType, there: UserType) -> list[sql.Composable]:
    labels = dict(zip(now.label_oids, now.labels, strict=True))
    wanted = {
        old: labels[oid]
        for oid, old in zip(was.label_oids, was.labels, strict=True)
        if labels.get(oid, old) != old and old in there.labels
    }
    if any(new in there.labels for new in wanted.values()) and there.labels != was.labels:
        # Not as the last run left it: a label may have its new name already.
        wanted = {old: new for old, new in wanted.items() if new not in there.labels}
    rename = sql.SQL("ALTER TYPE {} RENAME VALUE {} TO {}")
    return [
        rename.format(now.identifier, sql.Literal(old), sql.Literal(new))
        for old, new in renames(wanted, there.labels)
    ]


def renames(wanted: Mapping[str, str], there: Sequence[str]) -> list[tuple[str, str]]:
    """Renames in an order that works, without those whose new name is taken (pure).

    A ring of names goes through a temporary one.
    """
    left = dict(wanted)
    while blocked := [old for old, new in left.items() if new in there and new not in left]:
        for old in blocked:
            del left[old]
    done: list[tuple[str, str]] = []
    while left:
        free = next((old for old, new in left.items() if new not in left), None)
        if free is not None:
            done.append((free, left.pop(free)))
        else:
            old, new = left.popitem()
            parked = f"sync_assets_renamed_{len(done)}"
            done.append((old, parked))
            left[parked] = new
    return done


def _relaxations(was: UserType, now: UserType, there: UserType) -> list[sql.Composable]:
    gone = {definition for _, definition in was.constraints} - {
        definition for _, definition in now.constraints
    }
    change = sql.SQL("ALTER DOMAIN {} DROP {}{}")
    dropped: list[sql.Composable] = [
        change.format(now.identifier, sql.SQL("CONSTRAINT "), sql.Identifier(name))
        for name, definition in there.constraints
        if definition in gone
    ]
    if "NOT NULL" in was.clauses and "NOT NULL" in there.clauses and "NOT NULL" not in now.clauses:
        dropped.append(change.format(now.identifier, sql.SQL("NOT NULL"), sql.SQL("")))
    return dropped


def _part_changes(was: UserType, now: UserType, there: UserType) -> list[sql.Composable]:
    if there.parts != was.parts or was.parts == now.parts:
        return []
    names = dict(zip(was.part_numbers, (name for name, _ in was.parts), strict=True))
    gone = [name for number, name in names.items() if number not in now.part_numbers]
    if gone:
        drops = ", ".join(f"DROP ATTRIBUTE {quoted(name)}" for name in gone)
        raise errors.SchemaConflict(
            f"the type {now.schema}.{now.name} lost {', '.join(gone)} on the source, "
            "and the target's values still have it",
            remedy="To drop that data, run on the target: "
            f"ALTER TYPE {quoted(now.schema)}.{quoted(now.name)} {drops}.",
        )
    wanted = {
        names[number]: name
        for number, (name, _) in zip(now.part_numbers, now.parts, strict=True)
        if number in names and names[number] != name
    }
    rename = sql.SQL("ALTER TYPE {} RENAME ATTRIBUTE {} TO {}")
    changes: list[sql.Composable] = [
        rename.format(now.identifier, sql.Identifier(old), sql.Identifier(new))
        for old, new in renames(wanted, [name for name, _ in there.parts])
    ]
    add = sql.SQL("ALTER TYPE {} ADD ATTRIBUTE {} {}")
    changes += [
        add.format(now.identifier, sql.Identifier(name), sql.SQL(type_))
        for number, (name, type_) in zip(now.part_numbers, now.parts, strict=True)
        if number not in names
    ]
    return changes


def create_types(cursor: Cursor, missing: Iterable[UserType]) -> None:
    """Create the types, in the order given.

    Raises UnsupportedRelation for a bare C type, or an extension that the target's server lacks.
    """
    for wanted in missing:
        if wanted.extension:
            _require_extension(cursor, wanted)
        create_schema(cursor, wanted.schema)
        cursor.execute(creation(wanted))


def _require_extension(cursor: Cursor, wanted: UserType) -> None:
    name = wanted.extension
    if not rows(cursor, "SELECT FROM pg_available_extensions WHERE name = %s", (name,)):
        raise errors.UnsupportedRelation(
            f"the type {wanted.schema}.{wanted.name} belongs to the extension {name!r}, "
            "which the target's server does not have",
            remedy=f"Install {name} on that server, or leave the columns of this type out.",
        )


def require_collations(cursor: Cursor, names: Iterable[str | None]) -> None:
    """See that the target has these collations, written as SQL; raises SchemaConflict."""
    wanted = sorted({name for name in names if name})
    if not wanted:
        return
    missing = rows(
        cursor,
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regcollation(name) IS NULL",
        (wanted,),
    )
    if missing:
        raise errors.SchemaConflict(
            f"the target has no collation {', '.join(name for (name,) in missing)}",
            remedy="Run CREATE COLLATION on the target, as it is on the source.",
        )


def creation(wanted: UserType) -> sql.Composable:
    """The statement that makes one type (pure)."""
    if wanted.extension:
        return sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {} CASCADE").format(
            sql.Identifier(wanted.extension), sql.Identifier(wanted.schema)
        )
    if wanted.kind == "e":
        return sql.SQL("CREATE TYPE {} AS ENUM ({})").format(
            wanted.identifier, sql.SQL(", ").join(map(sql.Literal, wanted.labels))
        )
    if wanted.kind == "d":
        # The base type and the constraints come from the source's own format_type() and
        # pg_get_constraintdef(), quoted by the server. A column of a type that forbids NULL may
        # hold it nevertheless (the manual, CREATE DOMAIN).
        clauses = (each for each in wanted.clauses if each != "NOT NULL")
        return sql.SQL("CREATE DOMAIN {} AS {} {}").format(
            wanted.identifier,
            sql.SQL(wanted.base or ""),
            sql.SQL(" ").join(map(sql.SQL, clauses)),
        )
    if wanted.kind == "c":
        parts = [
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_))
            for name, type_ in wanted.parts
        ]
        return sql.SQL("CREATE TYPE {} AS ({})").format(
            wanted.identifier, sql.SQL(", ").join(parts)
        )
    if wanted.kind == "r":
        return sql.SQL("CREATE TYPE {} AS RANGE (subtype = {}, {})").format(
            wanted.identifier,
            sql.SQL(wanted.base or ""),
            sql.SQL(", ").join(map(sql.SQL, wanted.clauses)),
        )
    name = f"{wanted.schema}.{wanted.name}"
    if wanted.kind == "table":
        raise errors.UnsupportedRelation(
            f"a column's type is the row type of the table {name}, which the target lacks",
            remedy="Sync that table first.",
        )
    raise errors.UnsupportedRelation(
        f"the type {name} is made of C functions and belongs to no extension",
        remedy="Create the type on the target, then run again.",
    )
