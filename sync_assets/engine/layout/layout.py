"""How the source's rows fit into the target: a new table, or the one that is there (pure).

An existing table is never replaced, truncated or narrowed; it may gain columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sync_assets.engine import errors
from sync_assets.engine.layout import alteration, remedies
from sync_assets.engine.layout.alteration import Alteration
from sync_assets.engine.layout.keys import choose_key, key_on_target
from sync_assets.engine.layout.our_columns import deleted_column_of, lacking, require_own_names
from sync_assets.engine.layout.widening import holds
from sync_assets.engine.names import quoted
from sync_assets.engine.postgres.relation import Column, Key, Relation
from sync_assets.engine.postgres.types import UserType
from sync_assets.engine.table import Deletes, Table

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
    `alterations` are made in order in the publishing transaction; `known_types` are the types of
    the last run, `changes` what is different about the source's columns since. `full` and
    `full_leaves`, by oid, say why rows must be read whatever their xid. `joining` makes it a partition
    of the table of many sources.
    """

    creates: bool
    fields: tuple[Field, ...]
    key: Key | None
    added: tuple[Field, ...] = ()
    deleted_column: str | None = None
    alterations: tuple[Alteration, ...] = ()
    full: str | None = None
    full_leaves: Mapping[int, str] = field(default_factory=dict)
    known_types: tuple[UserType, ...] = ()
    changes: tuple[str, ...] = ()
    joining: tuple[Alteration, ...] = ()

    @property
    def alters(self) -> bool:
        """Whether a run changes the target's definition."""
        return bool(self.alterations or self.joining)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that travel, in order, without our own."""
        return tuple(field.name for field in self.fields)

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns of the key; empty where rows have none."""
        return self.key.columns if self.key else ()


def fit(
    table: Table, source: Relation, target: Relation | None, pattern: Relation | None = None
) -> Layout:
    """How `source` fits `target`, and where that is to be made, `pattern`, whose types it takes.

    Raises SchemaConflict, UnusableKey or ConfigurationError.
    """
    require_own_names(table, source)
    key = choose_key(table, source, target)
    if key is None:
        _require_no_key_needed(table)
    if len(source.columns) >= MOST_COLUMNS:
        raise errors.UnsupportedRelation(
            f"{table.source} has {len(source.columns)} columns, which leaves no room for ours",
            remedy=f"PostgreSQL allows {MOST_COLUMNS} columns in a table.",
        )
    if pattern is not None:
        lacking(table, pattern)
    if target is None:
        return _new(table, source, key, pattern)
    if target.kind not in "rp":
        raise errors.SchemaConflict(f"the target {table.target} exists and is not a table")
    _require_room(source, target, key)
    fields: list[Field] = []
    added: list[Field] = []
    for column in source.columns:
        there = target.column(column.name)
        if there is None:
            added.append(_as_on_source(column, nullable=True))
            fields.append(added[-1])
        elif not there.generated:
            fields.append(_as_on_target(there, column))
    return Layout(
        creates=False,
        fields=tuple(fields),
        key=key_on_target(table, key, source, target) if key else None,
        added=tuple(added),
        deleted_column=deleted_column_of(table, source, target),
        alterations=(
            *(_addition(target, f.name, f.type, f.collation) for f in added),
            *(_addition(target, name, type_) for name, type_ in lacking(table, target)),
        ),
    )


def _addition(target: Relation, name: str, type_: str, collation: str | None = None) -> Alteration:
    shared = target.partition_of is not None
    return alteration.add_column(target.defined_by, name, type_, collation, shared=shared)


def _new(table: Table, source: Relation, key: Key | None, pattern: Relation | None) -> Layout:
    if pattern is not None:
        _require_room(source, dataclasses.replace(pattern, partition_of=pattern.name), key)
    comments = tuple((column.name, column.comment) for column in source.columns)
    return Layout(
        creates=True,
        fields=tuple(_as_in(pattern, _as_on_source(column)) for column in source.columns),
        key=key,
        deleted_column=table.deleted_column if table.deletes is Deletes.SOFT else None,
        alterations=alteration.comments(table.target, source.comment, comments),
    )


def _as_in(pattern: Relation | None, new: Field) -> Field:
    there = pattern.column(new.name) if pattern else None
    if there is None:
        return new
    return dataclasses.replace(new, type=there.type, collation=there.collation)


def _require_no_key_needed(table: Table) -> None:
    """Refuse what rows without a key cannot have; raises UnusableKey."""
    options = {
        "deletes: soft": (table.deletes is Deletes.SOFT, "be marked as deleted"),
        "history": (table.history, "have a history: nothing says which version follows which"),
    }
    for option, (wanted, what) in options.items():
        if wanted:
            raise errors.UnusableKey(
                f"{table.source} has no key, and rows without one cannot {what}",
                remedy=f"Name the columns that identify a row: key: [id]; or leave {option} out.",
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


def _require_room(source: Relation, target: Relation, key: Key | None) -> None:
    """Raises one SchemaConflict that names every column in which a value may not fit."""
    pairs = [(column, target.column(column.name)) for column in source.columns]
    for column, there in pairs:
        if there is not None and there.generated and not column.generated:
            raise errors.SchemaConflict(
                f"column {column.name!r} is generated on the target {target.name}, "
                "and takes no value from the source",
                remedy=f"Leave it out (exclude: [{column.name}]); or drop it, to be added as a plain "
                f"column: ALTER TABLE {target.defined_by.as_sql} DROP COLUMN {quoted(column.name)};",
            )
    found = [
        problem
        for column, there in pairs
        if there is not None and not there.generated
        for problem in _problems(column, there, key)
    ]
    if found:
        changes = ", ".join(change for _, change in found)
        raise errors.SchemaConflict(
            f"the target {target.name} cannot hold what its source sends: "
            + "; ".join(problem for problem, _ in found),
            remedy=remedies.agreed(target.partition_of, _unlike(source, target))
            if target.partition_of and _unlike(source, target)
            else f"Run on the target: ALTER TABLE {target.defined_by.as_sql} {changes}; "
            f"or sync into another table.{_types_first(source, target)}",
        )


def _unlike(source: Relation, target: Relation) -> list[tuple[str, str, str]]:
    """The columns whose type on the target may not hold every value: names, and both types."""
    pairs = ((column, target.column(column.name)) for column in source.columns)
    return [
        (column.name, there.type, column.type)
        for column, there in pairs
        if there is not None and not holds(column.type, there.type)
    ]


def _types_first(source: Relation, target: Relation) -> str:
    retyped = [
        column
        for column in source.columns
        if (there := target.column(column.name)) and not holds(column.type, there.type)
    ]
    lacking = remedies.made_by_users(retyped, target)
    return f" It may have to be given the type {', '.join(lacking)} before." if lacking else ""


def _problems(column: Column, there: Column, key: Key | None) -> Iterator[tuple[str, str]]:
    """What is wrong with a target column, and the part of an ALTER TABLE that mends it."""
    name = quoted(column.name)
    if there.identity_always and not (key and column.name in key.columns):
        problem = "is GENERATED ALWAYS AS IDENTITY, so its value cannot be updated"
        yield f"column {column.name!r} {problem}", f"ALTER COLUMN {name} SET GENERATED BY DEFAULT"
    if not holds(column.type, there.type):
        problem = f"is {column.type} on the source and {there.type} on the target"
        yield (
            f"column {column.name!r} {problem}, which may not hold every value",
            remedies.retyped(there, column),
        )
