"""The statements by which the target's types follow the source's: what a run executes, `plan` prints.

Types are made of names, labels and parts alone. What runs code stays on the source: a domain's
checks and defaults, and an extension that the target's own server does not call trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine import errors
from sync_assets.engine.layout.renaming import renames
from sync_assets.engine.names import quoted
from sync_assets.engine.postgres.catalog import Schemas
from sync_assets.engine.postgres.session import Cursor, rows
from sync_assets.engine.postgres.types import UserType, missing_types, types_named

FOLLOWED = ("c", "d", "e", "r")
"""The kinds of types that are renamed as on the source; a table's row type goes with its table."""


def following(
    cursor: Cursor, known: Iterable[UserType], needed: Sequence[UserType]
) -> list[Composable]:
    """All that makes the target have the types that are `needed`, the `known` ones of the last run.

    Reads the target's catalog. Needs the lock for DDL where the statements are to be executed:
    another table may bring the same change along. Raises SchemaConflict, or UnsupportedRelation for
    a bare C type, or an extension that must not or cannot be installed.
    """
    before = {each.oid: each for each in known}
    there = types_named(cursor, [each.full_name for each in (*before.values(), *needed)])
    lacking = {each.full_name for each in missing_types(cursor, needed)}
    schemas = Schemas(cursor)
    statements: list[Composable] = []
    for wanted in needed:
        was = before.get(wanted.oid)
        free = wanted.full_name in lacking
        if free and was is not None and _is_renamed(was, wanted) and was.full_name in there:
            statements += _renamed(was, wanted, schemas)
            lacking.remove(wanted.full_name)
            there[wanted.full_name] = there[was.full_name]
        if wanted.full_name in lacking:
            statements += _created(cursor, wanted, schemas)
        elif wanted.full_name in there and not wanted.extension:
            statements += _changes(was, wanted, there[wanted.full_name])
    return distinct(statements)


def distinct(statements: Iterable[Composable]) -> list[Composable]:
    """Each statement once: several types may come with one extension, or be in one schema."""
    found: list[Composable] = []
    for statement in statements:
        # They can be compared, and not hashed.
        if statement not in found:
            found.append(statement)
    return found


def _is_renamed(was: UserType, wanted: UserType) -> bool:
    followed = wanted.kind in FOLLOWED and not wanted.extension
    return followed and was.full_name != wanted.full_name


def creations(cursor: Cursor, missing: Iterable[UserType]) -> list[Composable]:
    """What creates these types, in the order given, and the schemas they are in.

    Raises UnsupportedRelation for a bare C type, or an extension that must not be installed.
    """
    schemas = Schemas(cursor)
    made = (_created(cursor, wanted, schemas) for wanted in missing)
    return distinct(statement for statements in made for statement in statements)


def _created(cursor: Cursor, wanted: UserType, schemas: Schemas) -> list[Composable]:
    if wanted.extension:
        _require_installable(cursor, wanted)
    return [*schemas.needed(wanted.schema), creation(wanted)]


EXTENSION = """
WITH RECURSIVE wanted (name) AS (
  SELECT %(name)s::name
  UNION
  SELECT unnest(v.requires) FROM wanted w JOIN pg_available_extensions a ON a.name = w.name
  JOIN pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version
)
SELECT (SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = %(name)s),
       EXISTS (SELECT FROM pg_available_extensions WHERE name = %(name)s),
       bool_and(coalesce(v.trusted OR a.installed_version IS NOT NULL, false))
FROM wanted w LEFT JOIN pg_available_extensions a ON a.name = w.name
LEFT JOIN pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version
"""
"""The schema an extension is in, whether its files are on the server, and whether the server trusts
it and all that it requires: whoever may create in a database may install it (the manual, "Extension
Files"). No other extension's script is run because the source has it, least of all by a superuser."""


def _require_installable(cursor: Cursor, wanted: UserType) -> None:
    name, kind = wanted.extension or "", wanted.full_name
    ((schema, available, trusted),) = rows(cursor, EXTENSION, {"name": name})
    belongs = f"the type {kind} belongs to the extension {name!r}, which"
    leave_out = "leave the columns of this type out."
    if schema is not None:
        raise errors.UnsupportedRelation(
            f"{belongs} the target has in the schema {schema} without that type",
            remedy=f"Have it in the schema and version of the source, or {leave_out}",
        )
    if not available:
        raise errors.UnsupportedRelation(
            f"{belongs} the target's server does not have",
            remedy=f"Install {name} on that server, or {leave_out}",
        )
    if not trusted:
        by_hand = [*Schemas(cursor).needed(wanted.schema), creation(wanted)]
        raise errors.UnsupportedRelation(
            f"{belongs} a run does not install, as the target's server does not call it trusted",
            remedy="If it may be there, run on the target: "
            f"{'; '.join(each.as_string(cursor) for each in by_hand)}. Or {leave_out}",
        )


def creation(wanted: UserType) -> Composable:
    """The statement that makes one type (pure).

    Types and collations in it come from the source's own format_type() and format('%I').
    """
    if wanted.extension:
        return SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {} CASCADE").format(
            Identifier(wanted.extension), Identifier(wanted.schema)
        )
    if wanted.kind == "e":
        labels = SQL(", ").join(map(Literal, wanted.labels))
        return SQL("CREATE TYPE {} AS ENUM ({})").format(wanted.identifier, labels)
    if wanted.kind == "d":
        # No CHECK, no NOT NULL, no DEFAULT: its values were checked where they come from.
        return SQL("CREATE DOMAIN {} AS {}").format(wanted.identifier, SQL(wanted.base or ""))
    if wanted.kind == "c":
        parts = [SQL("{} {}").format(Identifier(part), SQL(type_)) for part, type_ in wanted.parts]
        return SQL("CREATE TYPE {} AS ({})").format(wanted.identifier, SQL(", ").join(parts))
    if wanted.kind == "r":
        return SQL("CREATE TYPE {} AS RANGE (subtype = {}, {})").format(
            wanted.identifier,
            SQL(wanted.base or ""),
            SQL(", ").join(map(SQL, wanted.clauses)),
        )
    kind = wanted.full_name
    if wanted.kind == "table":
        raise errors.UnsupportedRelation(
            f"a column's type is the row type of the table {kind}, which the target lacks",
            remedy="Sync that table first.",
        )
    raise errors.UnsupportedRelation(
        f"the type {kind} is made of C functions and belongs to no extension",
        remedy="Create the type on the target, then run again.",
    )


def _renamed(was: UserType, wanted: UserType, schemas: Schemas) -> list[Composable]:
    alter = SQL("ALTER TYPE {} {} {}")
    statements: list[Composable] = []
    if was.schema != wanted.schema:
        statements += schemas.needed(wanted.schema)
        into = Identifier(wanted.schema)
        statements.append(alter.format(was.identifier, SQL("SET SCHEMA"), into))
    if was.name != wanted.name:
        moved = Identifier(wanted.schema, was.name)
        statements.append(alter.format(moved, SQL("RENAME TO"), Identifier(wanted.name)))
    return statements


def _changes(was: UserType | None, wanted: UserType, there: UserType) -> list[Composable]:
    changes = type_changes(was, wanted, there) if was is not None and was != wanted else []
    if wanted.kind != "e":
        return changes
    present = list(there.labels)
    for old, new in _label_renames(was, wanted, there) if was is not None else ():
        present[present.index(old)] = new
    return [*changes, *label_additions(wanted, present)]


def type_changes(was: UserType, now: UserType, there: UserType) -> list[Composable]:
    """What makes the target's type, as it is there, follow the source's (pure)."""
    if now.kind == "e":
        rename = SQL("ALTER TYPE {} RENAME VALUE {} TO {}")
        return [
            rename.format(now.identifier, Literal(old), Literal(new))
            for old, new in _label_renames(was, now, there)
        ]
    return _part_changes(was, now, there) if now.kind == "c" else []


def _label_renames(was: UserType, now: UserType, there: UserType) -> list[tuple[str, str]]:
    labels = dict(zip(now.label_oids, now.labels, strict=True))
    wanted = {
        old: labels[oid]
        for oid, old in zip(was.label_oids, was.labels, strict=True)
        if labels.get(oid, old) != old and old in there.labels
    }
    if any(new in there.labels for new in wanted.values()) and there.labels != was.labels:
        # Not as the last run left it: a label may have its new name already.
        wanted = {old: new for old, new in wanted.items() if new not in there.labels}
    return renames(wanted, there.labels)


def label_additions(wanted: UserType, present: Sequence[str]) -> list[Composable]:
    """The statements that add an enum's missing labels, each after the one before it (pure)."""
    add = SQL("ALTER TYPE {} ADD VALUE {} {} {}")
    statements: list[Composable] = []
    for place, label in enumerate(wanted.labels):
        if present and label not in present:
            side, other = ("AFTER", wanted.labels[place - 1]) if place else ("BEFORE", present[0])
            position = (Literal(label), SQL(side), Literal(other))
            statements.append(add.format(wanted.identifier, *position))
    return statements


def _part_changes(was: UserType, now: UserType, there: UserType) -> list[Composable]:
    if there.parts != was.parts or was.parts == now.parts:
        return []
    names = dict(zip(was.part_numbers, (part for part, _ in was.parts), strict=True))
    gone = [part for number, part in names.items() if number not in now.part_numbers]
    if gone:
        drops = ", ".join(f"DROP ATTRIBUTE {quoted(part)}" for part in gone)
        raise errors.SchemaConflict(
            f"the type {now.full_name} lost {', '.join(gone)} on the source, "
            "and the target's values still have it",
            remedy="To drop that data, run on the target: "
            f"ALTER TYPE {now.full_name.as_sql} {drops}.",
        )
    wanted = {
        names[number]: part
        for number, (part, _) in zip(now.part_numbers, now.parts, strict=True)
        if number in names and names[number] != part
    }
    rename = SQL("ALTER TYPE {} RENAME ATTRIBUTE {} TO {}")
    changes: list[Composable] = [
        rename.format(now.identifier, Identifier(old), Identifier(new))
        for old, new in renames(wanted, [part for part, _ in there.parts])
    ]
    add = SQL("ALTER TYPE {} ADD ATTRIBUTE {} {}")
    changes += [
        add.format(now.identifier, Identifier(part), SQL(type_))
        for number, (part, type_) in zip(now.part_numbers, now.parts, strict=True)
        if number not in names
    ]
    return changes
