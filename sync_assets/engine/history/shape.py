"""The table that holds a target's history: its columns, and how it follows those of the target."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from psycopg2.sql import SQL, Composable, Literal

from sync_assets.engine import errors
from sync_assets.engine.layout.alteration import (
    Alteration,
    add_column,
    column_definition,
    rename_column,
    set_type,
)
from sync_assets.engine.layout.layout import MOST_COLUMNS
from sync_assets.engine.merge import alter
from sync_assets.engine.names import RelationName, object_name, quoted
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.relation import Column, Key, Relation
from sync_assets.engine.postgres.session import Cursor, pinned, rows

_TIME = "timestamp with time zone"
OURS = {"valid_from": _TIME, "valid_to": _TIME, "ended_by": "text", "time_from": "text"}
"""The columns that a history has besides those of its target, with their types."""

MADE_FOR = "versions of the rows of "
"""What a history's comment begins with; the target's name follows."""


@dataclass(frozen=True, slots=True)
class History:
    """The history of a target as this transaction has it.

    `columns` are those of the target that it keeps, all but the one that marks deleted rows. `made`
    says that it was made just now, `altered` that its columns were changed.
    """

    name: RelationName
    columns: tuple[str, ...]
    key: Key
    made: bool = False
    altered: bool = False


def brought_up(cursor: Cursor, plan: Plan, target: Relation, there: Relation | None) -> History:
    """Make the history of a target, or let the one that is `there` follow the target's columns.

    Raises SchemaConflict where that can't be.
    """
    name = plan.table.history_table
    key = _key_there(plan, target)
    if name is None or key is None:
        raise AssertionError(f"{target.name} keeps no history")
    kept = kept_columns(plan, target.name, target.columns)
    names = tuple(column.name for column in kept)
    if there is None:
        for statement in creation(name, target.name, kept):
            cursor.execute(statement)
        return History(name, names, key, made=True)
    _require_history(there, target.name)
    changes = [*following(plan, there, kept)]
    if changes:
        with pinned(cursor):
            for change, before in changes:
                _alter(cursor, name, change, before)
    return History(name, names, key, altered=bool(changes))


def _key_there(plan: Plan, target: Relation) -> Key | None:
    """The key, with the operators of the target's own index also where that was just made."""
    key = plan.layout.key
    if key is None or not plan.layout.creates:
        return key
    return next((each for each in target.keys if each.columns == key.columns), key)


def kept_columns(plan: Plan, target: RelationName, columns: Iterable[Column]) -> list[Column]:
    """Those of the target's columns that its history has, too; raises SchemaConflict."""
    kept = [each for each in columns if each.name != plan.layout.deleted_column]
    for column in kept:
        if column.name in OURS:
            raise errors.SchemaConflict(
                f"{target} has a column {column.name!r}, which is what its history calls one of"
                " its own",
                remedy=f"Leave it out, exclude: [{column.name}], or read it under another name by"
                " expressions; or keep no history of this table.",
            )
    if len(kept) + len(OURS) > MOST_COLUMNS:
        raise errors.SchemaConflict(
            f"{target} has {len(kept)} columns, which leaves no room for those of its history",
            remedy=f"PostgreSQL allows {MOST_COLUMNS} columns in a table. Keep no history of this one.",
        )
    return kept


def creation(
    name: RelationName, target: RelationName, columns: Sequence[Column]
) -> Iterator[Composable]:
    """The statements that make a history; its indexes come once it has rows."""
    definitions = [column_definition(each.name, each.type, each.collation) for each in columns]
    history = identifiers.relation(name)
    yield SQL(
        "CREATE TABLE {} ({}, valid_from timestamptz NOT NULL, valid_to timestamptz,"
        " ended_by text, time_from text NOT NULL, CHECK (valid_from < valid_to))"
    ).format(history, SQL(", ").join(definitions))
    yield SQL("COMMENT ON TABLE {} IS {}").format(history, Literal(f"{MADE_FOR}{target}"))


def _require_history(there: Relation, target: RelationName) -> None:
    """Refuse a table that is something else, or the history of another target."""
    found = {column.name: column.type for column in there.columns}
    if there.kind != "r" or not OURS.items() <= found.items():
        raise errors.SchemaConflict(
            f"{there.name} is to hold the history of {target}, and is something else",
            remedy="Give the history another name: history: {table: …}.",
        )
    comment = there.comment or ""
    if comment.startswith(MADE_FOR) and comment != f"{MADE_FOR}{target}":
        raise errors.SchemaConflict(
            f"{there.name} holds {comment}, not those of {target}",
            remedy="Give the history another name: history: {table: …}. If the target has another"
            f" name by now, run on the target: COMMENT ON TABLE {there.name.as_sql} IS NULL.",
        )


def following(
    plan: Plan, there: Relation, kept: Sequence[Column]
) -> Iterator[tuple[Alteration, Column | None]]:
    """What lets a history that is `there` follow its target, with the column whose type changes, if any.

    What the target gained is added; what it lost stays, and is NULL from then on.
    """
    found = {column.name: column for column in there.columns}
    for old, new in (each.renames for each in plan.layout.alterations if each.renames):
        if old in found and new not in found and old not in OURS:
            found[new] = found.pop(old)
            yield rename_column(there.name, old, new), None
    for column in kept:
        name, type_, collation = column.name, column.type, column.collation
        before = found.get(name)
        if before is None:
            yield add_column(there.name, name, type_, collation), None
        elif before.type != type_:
            change = set_type(there.name, name, type_, collation, may_clear=False, narrows=None)
            yield change, dataclasses.replace(before, name=name)


def _alter(
    cursor: Cursor, history: RelationName, change: Alteration, before: Column | None
) -> None:
    try:
        alter.apply(cursor, history, change)
    except errors.SchemaConflict:
        if before is None:
            raise
        kept = quoted(object_name(before.name, "before"))
        raise errors.SchemaConflict(
            f"the history {history} must follow its target: {change.says}, which is {before.type} there;"
            " not every value that it keeps can become that",
            remedy="Let it keep them under another name, on the target: "
            f"ALTER TABLE {history.as_sql} RENAME {quoted(before.name)} TO {kept};"
            " the next run adds the column anew.",
        ) from None


_INDEXES = """
SELECT n.nspname, ic.relname, i.indisunique, pg_get_expr(i.indpred, i.indrelid),
       (SELECT array_agg(a.attname::text ORDER BY k.ord)
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, ord)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum)
FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_namespace n ON n.oid = ic.relnamespace
WHERE i.indrelid = %s::regclass AND i.indisvalid
"""
_OPEN = "(valid_to IS NULL)"


def index(cursor: Cursor, history: History) -> None:
    """Give a history the index that allows each key one open version, and that finds a key's versions."""
    wanted = sorted(history.key.columns)
    unique = by_key = False
    for schema, name, is_unique, condition, columns in rows(
        cursor, _INDEXES, (history.name.as_sql,)
    ):
        same = sorted(columns or ()) == wanted
        if is_unique and condition == _OPEN and not same:
            # That of a key which the target no longer has.
            cursor.execute(
                SQL("DROP INDEX {}").format(identifiers.relation(RelationName(schema, name)))
            )
        unique |= same and is_unique and condition == _OPEN
        by_key |= same and condition is None
    for statement, there in zip(indexes(history.name, history.key), (unique, by_key), strict=True):
        if not there:
            cursor.execute(statement)


def indexes(name: RelationName, key: Key) -> tuple[Composable, Composable]:
    """The statements that make both indexes of a history."""
    history, columns = identifiers.relation(name), identifiers.names(key.columns)
    return (
        SQL("CREATE UNIQUE INDEX ON {} ({}) WHERE valid_to IS NULL").format(history, columns),
        SQL("CREATE INDEX ON {} ({})").format(history, columns),
    )
