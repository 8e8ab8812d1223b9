"""How the source's rows fit into the target: a new table, or the one that is there (pure).

An existing table is never replaced, truncated or narrowed; it may gain columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sync_assets.engine import errors
from sync_assets.engine.catalog import Column, Key, Relation
from sync_assets.engine.table import Table


@dataclass(frozen=True, slots=True)
class Field:
    """A column that travels: its name on both ends and its type on the target."""

    name: str
    type: str
    collation: str | None
    not_null: bool
    settable: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """The target's side of a plan. `key` bears the operators to join by."""

    creates: bool
    fields: tuple[Field, ...]
    key: Key
    added: tuple[Field, ...] = ()
    adds_xmin: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that travel, in order, without our own."""
        return tuple(field.name for field in self.fields)


def choose_key(table: Table, relation: Relation) -> Key:
    """The source's key: the one asked for, else primary key, else smallest unique index.

    Raises UnusableKey.
    """
    if table.key is None:
        if not relation.keys:
            raise errors.UnusableKey(
                f"{table.source} has neither a primary key "
                "nor a plain unique index on NOT NULL columns"
            )
        return relation.keys[0]
    for name in table.key:
        if relation.column(name) is None:
            has = ", ".join(column.name for column in relation.columns)
            raise errors.UnusableKey(
                f"the key names {name!r}, which {table.source} does not have",
                remedy=f"Its columns are {has}.",
            )
    for key in relation.keys:
        if sorted(key.columns) == sorted(table.key):
            return key
    usable = "; ".join(", ".join(key.columns) for key in relation.keys) or "none"
    raise errors.UnusableKey(
        f"no unique index on NOT NULL columns of {table.source} covers "
        f"exactly {', '.join(table.key)}",
        remedy=f"Usable keys: {usable}.",
    )


def fit(table: Table, source: Relation, target: Relation | None) -> Layout:
    """How `source` fits `target`; raises SchemaConflict, UnusableKey or ConfigurationError."""
    if source.column(table.xmin_column):
        raise errors.ConfigurationError(
            f"{table.source} has a column {table.xmin_column!r} of its own",
            remedy="Give ours another name: xmin_column: …",
        )
    key = choose_key(table, source)
    if target is None:
        as_there = tuple(_as_on_source(column) for column in source.columns)
        return Layout(creates=True, fields=as_there, key=key)
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
            _require_room(table, column, there)
            fields.append(
                Field(
                    there.name,
                    there.type,
                    there.collation,
                    not_null=False,
                    settable=not there.identity_always,
                )
            )
    return Layout(
        creates=False,
        fields=tuple(fields),
        key=_key_on_target(table, key, target),
        added=tuple(added),
        adds_xmin=_lacks_xmin(table, target),
    )


def _as_on_source(column: Column, *, nullable: bool = False) -> Field:
    return Field(column.name, column.type, column.collation, column.not_null and not nullable)


def _require_room(table: Table, column: Column, there: Column) -> None:
    if not holds(column.type, there.type):
        raise errors.SchemaConflict(
            f"column {column.name!r} is {column.type} on the source "
            f"and {there.type} on the target {table.target}, which may not hold every value",
            remedy=f"Change the target's column to {column.type}, or sync into another table.",
        )


def _key_on_target(table: Table, key: Key, target: Relation) -> Key:
    for candidate in target.keys:
        if sorted(candidate.columns) == sorted(key.columns):
            return candidate
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in key.columns)
    raise errors.SchemaConflict(
        f"the target {table.target} has no unique index on its key ({', '.join(key.columns)}), "
        "with every column NOT NULL",
        remedy=f"Add one: ALTER TABLE {table.target} ADD PRIMARY KEY ({columns}).",
    )


def _lacks_xmin(table: Table, target: Relation) -> bool:
    there = target.column(table.xmin_column)
    if there is not None and there.type != "bigint":
        raise errors.SchemaConflict(
            f"column {table.xmin_column!r} of {table.target} is {there.type}, not bigint",
            remedy="Give ours another name: xmin_column: …",
        )
    return there is None


_INTEGERS = ("smallint", "integer", "bigint")
_BOUNDED = re.compile(r"(?P<name>[a-z ]+?)\((?P<length>\d+)(?:,(?P<scale>\d+))?\)(?P<rest>.*)")


def holds(source: str, target: str) -> bool:
    """Whether every value of type `source` keeps its text in a column of type `target`."""
    if source == target:
        return True
    if source in _INTEGERS:
        return target in _INTEGERS[_INTEGERS.index(source) :] or target == "numeric"
    if target == "text":
        return source.startswith("character varying")
    given, wanted = _BOUNDED.fullmatch(source), _BOUNDED.fullmatch(target)
    if given is None:
        return False
    if given["name"] + given["rest"] == target:
        return True
    longer = wanted is not None and int(wanted["length"]) >= int(given["length"])
    return longer and source.startswith("character v") and target.startswith("character v")


def object_name(*parts: str) -> str:
    """Join names with underscores, cutting the first so that it fits an identifier's 63 bytes."""
    tail = "".join(f"_{part}" for part in parts[1:])
    room = 63 - len(tail.encode())
    return parts[0].encode()[:room].decode(errors="ignore") + tail
