"""Changes to a target table that is there: the statements, what they say, and how they fail."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine.names import RelationName, quoted
from sync_assets.engine.postgres import identifiers


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A column whose new type may not hold all of its values, by types as SQL."""

    column: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Alteration:
    """One change of the target; `says` is what a plan prints.

    `converts` does it where PostgreSQL has no cast of its own, and `clears` where a value does
    not convert: only where every row is sent again. Where rows stay that are not, `narrows` is what
    they might lose by. `renames` are a column's old and new name. `joins`: it makes the target a
    partition, and fails for what the table of all sources has, and the target has not.
    """

    statement: Composable
    says: str
    converts: Composable | None = None
    clears: Composable | None = None
    narrows: Narrowing | None = None
    renames: tuple[str, str] | None = None
    joins: bool = False


def column_definition(name: str, type_: str, collation: str | None) -> Composable:
    """A column as CREATE and ALTER TABLE take it.

    Type and collation come from the server's own format_type() and format('%I').
    """
    collated = f" COLLATE {collation}" if collation else ""
    return SQL("{} {}{}").format(Identifier(name), SQL(type_), SQL(collated))


def _table(target: RelationName, change: str, **parts: Composable) -> Composable:
    name = identifiers.relation(target)
    return SQL("ALTER TABLE {target} " + change).format(target=name, **parts)


def add_column(
    target: RelationName,
    name: str,
    type_: str,
    collation: str | None = None,
    default: str | None = None,
    *,
    shared: bool = False,
) -> Alteration:
    """Add a column; with a default, rows that are there have it without being rewritten.

    To a table that is `shared` with other sources one of these may have added it meanwhile.
    """
    definition = column_definition(name, type_, collation)
    if shared:
        definition = SQL("IF NOT EXISTS {}").format(definition)
    says = f"add column {quoted(name)} {type_}"
    if default is None:
        return Alteration(_table(target, "ADD COLUMN {definition}", definition=definition), says)
    added = _table(
        target,
        "ADD COLUMN {definition} DEFAULT {value}::{type}",
        definition=definition,
        value=Literal(default),
        type=SQL(type_),
    )
    plain = _table(target, "ALTER COLUMN {column} DROP DEFAULT", column=Identifier(name))
    return Alteration(SQL("{}; {}").format(added, plain), f"{says}, with the value older rows have")


def rename_column(target: RelationName, old: str, new: str) -> Alteration:
    """Rename a column."""
    return Alteration(
        _table(target, "RENAME COLUMN {old} TO {new}", old=Identifier(old), new=Identifier(new)),
        f"rename column {quoted(old)} to {quoted(new)}",
        renames=(old, new),
    )


def set_default(target: RelationName, name: str, value: str) -> Alteration:
    """Give a column a value for rows that name none."""
    return Alteration(
        _table(
            target,
            "ALTER COLUMN {column} SET DEFAULT {value}",
            column=Identifier(name),
            value=Literal(value),
        ),
        f"let column {quoted(name)} be {value!r} in new rows",
    )


def drop_column(target: RelationName, name: str) -> Alteration:
    """Drop a column."""
    return Alteration(
        _table(target, "DROP COLUMN {column}", column=Identifier(name)),
        f"drop column {quoted(name)}",
    )


def drop_not_null(target: RelationName, name: str, why: str) -> Alteration:
    """Let a column take NULL."""
    return Alteration(
        _table(target, "ALTER COLUMN {column} DROP NOT NULL", column=Identifier(name)),
        f"let column {quoted(name)} be NULL: {why}",
    )


def set_type(
    target: RelationName,
    name: str,
    type_: str,
    collation: str | None,
    *,
    may_clear: bool,
    narrows: Narrowing | None,
) -> Alteration:
    """Change a column's type; `may_clear` where all rows of the target are written again."""
    collated = SQL(f" COLLATE {collation}" if collation else "")
    parts = {"column": Identifier(name), "type": SQL(type_), "collated": collated}
    change = "ALTER COLUMN {column} TYPE {type}{collated}"
    cleared = "ALTER COLUMN {column} DROP NOT NULL, " + change + " USING NULL"
    return Alteration(
        _table(target, change, **parts),
        f"change column {quoted(name)} to {type_}",
        converts=_table(target, change + " USING {column}::pg_catalog.text::{type}", **parts),
        clears=_table(target, cleared, **parts) if may_clear else None,
        narrows=narrows,
    )


def drop_constraint(target: RelationName, name: str) -> Alteration:
    """Drop a key that the source no longer has."""
    return Alteration(
        _table(target, "DROP CONSTRAINT {name}", name=Identifier(name)),
        f"drop constraint {quoted(name)}: the source no longer has this key",
    )


def add_key(
    target: RelationName, columns: tuple[str, ...], nullable: tuple[str, ...], *, primary: bool
) -> Alteration:
    """Give the target the key that its source has now."""
    not_null = [SQL("ALTER COLUMN {} SET NOT NULL").format(Identifier(each)) for each in nullable]
    key = SQL("ADD {} ({})").format(
        SQL("PRIMARY KEY" if primary else "UNIQUE"), SQL(", ").join(map(Identifier, columns))
    )
    changes = SQL(", ").join([*not_null, key])
    return Alteration(
        SQL("ALTER TABLE {} {}").format(identifiers.relation(target), changes),
        f"make {', '.join(map(quoted, columns))} the key",
    )


def _on_one_line(text: str) -> Composable:
    """A literal that can be read, and pasted: line ends and what a terminal would obey as escapes."""
    if text.isprintable():
        return Literal(text)
    quoted = {"\\": "\\\\", "'": "''"}
    parts = (quoted.get(c) or (c if c.isprintable() else f"\\U{ord(c):08x}") for c in text)
    return SQL(f"E'{''.join(parts)}'")


def comments(
    target: RelationName, table: str | None, columns: tuple[tuple[str, str | None], ...]
) -> tuple[Alteration, ...]:
    """Say of the target what is said of its source."""
    name = identifiers.relation(target)
    found = []
    if table is not None:
        statement = SQL("COMMENT ON TABLE {} IS {}").format(name, _on_one_line(table))
        found.append(Alteration(statement, "comment on the table"))
    for column, comment in columns:
        if comment is not None:
            place = SQL("{}.{}").format(name, Identifier(column))
            statement = SQL("COMMENT ON COLUMN {} IS {}").format(place, _on_one_line(comment))
            found.append(Alteration(statement, f"comment on column {quoted(column)}"))
    return tuple(found)
