"""How the source's rows fit into the target: a new table, or the one that is there (pure).

An existing table is never replaced, truncated or narrowed; it may gain columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sync_assets.engine import errors
from sync_assets.engine.catalog import Column, Key, Relation
from sync_assets.engine.table import Deletes, SyncMode, Table, quoted

MOST_COLUMNS = 1600


@dataclass(frozen=True, slots=True)
class Field:
    """A column that travels: its name on both ends and its type on the target.

    `expression` is what is read on the source in its place.
    """

    name: str
    type: str
    collation: str | None
    not_null: bool
    settable: bool = True
    expression: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The target's side of a plan. `key` bears the operators to join by; None: rows have no key.

    `deleted_column` is where the target marks rows that are gone from the source, if it does.
    """

    creates: bool
    fields: tuple[Field, ...]
    key: Key | None
    added: tuple[Field, ...] = ()
    adds_xmin: bool = False
    deleted_column: str | None = None
    adds_deleted: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that travel, in order, without our own."""
        return tuple(field.name for field in self.fields)

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns of the key; empty where rows have none."""
        return self.key.columns if self.key else ()


def choose_key(table: Table, relation: Relation) -> Key | None:
    """The source's key: the one asked for, else primary key, else smallest unique index.

    None where full_sync reads a relation without one. Raises UnusableKey.
    """
    enforced = relation.has_versions
    if table.key is None:
        if enforced and relation.keys:
            return relation.keys[0]
        if table.mode is SyncMode.FULL_SYNC:
            return None
        raise _no_key(table, enforced=enforced)
    for name in table.key:
        if relation.column(name) is None:
            has = ", ".join(column.name for column in relation.columns)
            raise errors.UnusableKey(
                f"the key names {name!r}, which {table.source} does not have",
                remedy=f"Its columns are {has}.",
            )
    if not enforced:
        # Nothing on the source keeps it unique: the target's own index will.
        return Key(table.key, (), primary=True)
    for key in relation.keys:
        if sorted(key.columns) == sorted(table.key):
            return key
    usable = "; ".join(", ".join(key.columns) for key in relation.keys) or "none"
    raise errors.UnusableKey(
        f"no unique index on NOT NULL columns of {table.source} covers "
        f"exactly {', '.join(table.key)}",
        remedy=f"Usable keys: {usable}.",
    )


def _no_key(table: Table, *, enforced: bool) -> errors.UnusableKey:
    if not enforced:
        return errors.UnusableKey(
            f"{table.source} is not a table, so nothing says what identifies its rows",
            remedy="Name the columns: key: [id]; or set sync_mode: full_sync, which needs none.",
        )
    return errors.UnusableKey(
        f"{table.source} has neither a primary key nor a plain unique index on NOT NULL columns "
        "among the columns that are synced",
        remedy=f"{errors.UnusableKey('').remedy} Or set sync_mode: full_sync, which needs none.",
    )


def fit(table: Table, source: Relation, target: Relation | None) -> Layout:
    """How `source` fits `target`; raises SchemaConflict, UnusableKey or ConfigurationError."""
    if source.column(table.xmin_column):
        raise errors.ConfigurationError(
            f"{table.source} has a column {table.xmin_column!r} of its own",
            remedy="Give ours another name: xmin_column: …",
        )
    if table.deletes is Deletes.SOFT and source.column(table.deleted_column):
        raise errors.ConfigurationError(
            f"{table.source} has a column {table.deleted_column!r} of its own",
            remedy="Give ours another name: deleted_column: …",
        )
    key = choose_key(table, source)
    if key is None and table.deletes is Deletes.SOFT:
        raise errors.UnusableKey(
            f"{table.source} has no key, and rows without one cannot be marked as deleted",
            remedy="Name the columns that identify a row: key: [id]; or leave deletes: soft out.",
        )
    if len(source.columns) >= MOST_COLUMNS:
        raise errors.UnsupportedRelation(
            f"{table.source} has {len(source.columns)} columns, which leaves no room for ours",
            remedy=f"PostgreSQL allows {MOST_COLUMNS} columns in a table.",
        )
    if target is None:
        as_there = tuple(_as_on_source(column) for column in source.columns)
        marks = table.deletes is Deletes.SOFT
        return Layout(
            creates=True,
            fields=as_there,
            key=key,
            deleted_column=table.deleted_column if marks else None,
            adds_deleted=marks,
        )
    if target.kind not in "rp":
        raise errors.SchemaConflict(f"the target {table.target} exists and is not a table")
    fields: list[Field] = []
    added: list[Field] = []
    for column in source.columns:
        there = target.column(column.name)
        if there is None:
            added.append(_as_on_source(column, nullable=True))
            fields.append(added[-1])
        elif not there.generated:
            _require_room(table, column, there, key)
            fields.append(_as_on_target(there, column))
    deleted_column, adds_deleted = _deleted_column(table, source, target)
    return Layout(
        creates=False,
        fields=tuple(fields),
        key=_key_on_target(table, key, target) if key else None,
        added=tuple(added),
        adds_xmin=_lacks(table, target, table.xmin_column, "xmin_column", "bigint"),
        deleted_column=deleted_column,
        adds_deleted=adds_deleted,
    )


def _as_on_source(column: Column, *, nullable: bool = False) -> Field:
    return Field(
        column.name,
        column.type,
        column.collation,
        column.not_null and not nullable,
        expression=column.expression,
    )


def _as_on_target(there: Column, column: Column) -> Field:
    # An identity column that is GENERATED ALWAYS takes a value in INSERT, and none in UPDATE.
    settable = not there.identity_always
    return Field(
        there.name,
        there.type,
        there.collation,
        not_null=False,
        settable=settable,
        expression=column.expression,
    )


def _require_room(table: Table, column: Column, there: Column, key: Key | None) -> None:
    if there.identity_always and not (key and column.name in key.columns):
        raise errors.SchemaConflict(
            f"column {column.name!r} of {table.target} is GENERATED ALWAYS AS IDENTITY, "
            "so its value cannot be updated",
            remedy=f"Run on the target: ALTER TABLE {table.target.as_sql} ALTER COLUMN "
            f"{quoted(column.name)} SET GENERATED BY DEFAULT.",
        )
    if not holds(column.type, there.type):
        raise errors.SchemaConflict(
            f"column {column.name!r} is {column.type} on the source "
            f"and {there.type} on the target {table.target}, which may not hold every value",
            remedy=f"Change the target's column to {column.type}, or sync into another table.",
        )


def _key_on_target(table: Table, key: Key, target: Relation) -> Key:
    for candidate in target.keys:
        if sorted(candidate.columns) == sorted(key.columns):
            _require_writable(table, candidate, target)
            return candidate
    columns = ", ".join(map(quoted, key.columns))
    raise errors.SchemaConflict(
        f"the target {table.target} has no unique index on its key ({', '.join(key.columns)}), "
        "with every column NOT NULL",
        remedy=f"Add one: ALTER TABLE {table.target.as_sql} ADD PRIMARY KEY ({columns}).",
    )


def _require_writable(table: Table, key: Key, target: Relation) -> None:
    for column in target.columns:
        if column.generated and column.name in key.columns:
            raise errors.SchemaConflict(
                f"the key column {column.name!r} of {table.target} is generated on the target"
            )


def _lacks(table: Table, target: Relation, name: str, option: str, type_: str) -> bool:
    """Whether the target lacks a column of ours; raises SchemaConflict where it is another's."""
    there = target.column(name)
    if there is not None and there.type != type_:
        raise errors.SchemaConflict(
            f"column {name!r} of {table.target} is {there.type}, not {type_}",
            remedy=f"Give ours another name: {option}: …",
        )
    return there is None


_TIME = "timestamp with time zone"


def _deleted_column(table: Table, source: Relation, target: Relation) -> tuple[str | None, bool]:
    """The column that marks deleted rows, and whether it must be added.

    Marks that an earlier `deletes: soft` left are cleared when their row returns.
    """
    name = table.deleted_column
    if table.deletes is Deletes.SOFT:
        return name, _lacks(table, target, name, "deleted_column", _TIME)
    there = target.column(name)
    left = there is not None and there.type == _TIME and source.column(name) is None
    return name if left else None, False


_INTEGERS = ("smallint", "integer", "bigint")
_BOUNDED = re.compile(r"(?P<name>[a-z ]+?)\((?P<length>\d+)(?:,(?P<scale>\d+))?\)(?P<rest>.*)")


def holds(source: str, target: str) -> bool:
    """Whether every value of type `source` keeps its text in a column of type `target`."""
    if source == target:
        return True
    if source in _INTEGERS:
        return target in _INTEGERS[_INTEGERS.index(source) :] or target == "numeric"
    if target == "text":
        return re.fullmatch(r"character varying(\(\d+\))?", source) is not None
    given, wanted = _BOUNDED.fullmatch(source), _BOUNDED.fullmatch(target)
    if given is None:
        return False
    if given["name"] + given["rest"] == target:
        return True
    same = wanted is not None and (wanted["name"], wanted["rest"]) == (given["name"], given["rest"])
    longer = wanted is not None and int(wanted["length"]) >= int(given["length"])
    return same and longer and given["name"] == "character varying"


def object_name(*parts: str) -> str:
    """Join names with underscores, cutting the first so that it fits an identifier's 63 bytes."""
    tail = "".join(f"_{part}" for part in parts[1:])
    room = 63 - len(tail.encode())
    return parts[0].encode()[:room].decode(errors="ignore") + tail
