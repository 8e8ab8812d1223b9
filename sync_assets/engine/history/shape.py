"""The table that holds a target's history: its columns, and how it follows those of the target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psycopg2.sql import SQL, Composable, Literal

from sync_assets.engine import errors
from sync_assets.engine.layout.alteration import add_column, column_definition, set_type
from sync_assets.engine.layout.layout import MOST_COLUMNS
from sync_assets.engine.merge import alter
from sync_assets.engine.names import RelationName, quoted
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
    kept = _kept_columns(plan, target)
    names = tuple(column.name for column in kept)
    if there is None:
        for statement in creation(name, target.name, kept):
            cursor.execute(statement)
        return History(name, names, key, made=True)
    _require_history(there, target.name)
    altered = [_renamed(cursor, plan, there), _retyped(cursor, plan, there, kept)]
    return History(name, names, key, altered=any(altered))


def _key_there(plan: Plan, target: Relation) -> Key | None:
    """The key, with the operators of the target's own index also where that was just made."""
    key = plan.layout.key
    if key is None or not plan.layout.creates:
        return key
    return next((each for each in target.keys if each.columns == key.columns), key)


def _kept_columns(plan: Plan, target: Relation) -> list[Column]:
    kept = [each for each in target.columns if each.name != plan.layout.deleted_column]
    for column in kept:
        if column.name in OURS:
            raise errors.SchemaConflict(
                f"{target.name} has a column {column.name!r}, which is what its history calls one of"
                " its own",
                remedy=f"Leave it out, exclude: [{column.name}], or read it under another name by"
                " expressions; or keep no history of this table.",
            )
    if len(kept) + len(OURS) > MOST_COLUMNS:
        raise errors.SchemaConflict(
            f"{target.name} has {len(kept)} columns, which leaves no room for those of its history",
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


def _renamed(cursor: Cursor, plan: Plan, there: Relation) -> bool:
    """Rename what the run has renamed on the target; `there` keeps the names it was read with."""
    names = {column.name for column in there.columns}
    renamed = False
    for old, new in (each.renames for each in plan.layout.alterations if each.renames):
        if old in names and new not in names and old not in OURS:
            cursor.execute(rename(there.name, old, new))
            names = names - {old} | {new}
            renamed = True
    return renamed


def rename(history: RelationName, old: str, new: str) -> Composable:
    """Rename a column of a history."""
    return SQL("ALTER TABLE {} RENAME {} TO {}").format(
        identifiers.relation(history), identifiers.names([old]), identifiers.names([new])
    )


def _retyped(cursor: Cursor, plan: Plan, there: Relation, kept: Sequence[Column]) -> bool:
    """Add what the target has gained, and change types as it has; what it lost stays, and is NULL."""
    found = _columns_now(plan, there)
    changed = False
    for column in kept:
        before = found.get(column.name)
        if before is None:
            added = add_column(there.name, column.name, column.type, column.collation)
            cursor.execute(added.statement)
        elif before.type != column.type:
            _change_type(cursor, there.name, column, before.type)
        else:
            continue
        changed = True
    return changed


def _columns_now(plan: Plan, there: Relation) -> dict[str, Column]:
    """The history's columns by the names that `_renamed` has left."""
    found = {column.name: column for column in there.columns}
    for old, new in (each.renames for each in plan.layout.alterations if each.renames):
        if old in found and new not in found and old not in OURS:
            found[new] = found.pop(old)
    return found


def _change_type(cursor: Cursor, history: RelationName, column: Column, before: str) -> None:
    change = set_type(
        history, column.name, column.type, column.collation, may_clear=False, narrows=None
    )
    try:
        with pinned(cursor):
            alter.apply(cursor, history, change)
    except errors.SchemaConflict:
        kept = f"{column.name}_before"
        raise errors.SchemaConflict(
            f"column {column.name!r} of the history {history} is {before}, and the target's is"
            f" {column.type} now: not every value that it keeps can become that",
            remedy="Let it keep them under another name, on the target: "
            f"ALTER TABLE {history.as_sql} RENAME {quoted(column.name)} TO {quoted(kept)};"
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
