"""How the source's rows fit into the target: a new table, or the one that is there (pure).

An existing table is never replaced, truncated or narrowed; it may gain columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sync_assets.engine import errors
from sync_assets.engine.layout import alteration, remedies
from sync_assets.engine.layout.alteration import Alteration
from sync_assets.engine.layout.keys import choose_key, key_on_target
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
    `full_leaves`, by oid, say why rows must be read whatever their xid.
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

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that travel, in order, without our own."""
        return tuple(field.name for field in self.fields)

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns of the key; empty where rows have none."""
        return self.key.columns if self.key else ()


def fit(table: Table, source: Relation, target: Relation | None) -> Layout:
    """How `source` fits `target`; raises SchemaConflict, UnusableKey or ConfigurationError."""
    _require_own_names(table, source)
    key = choose_key(table, source, target)
    if key is None:
        _require_no_key_needed(table)
    if len(source.columns) >= MOST_COLUMNS:
        raise errors.UnsupportedRelation(
            f"{table.source} has {len(source.columns)} columns, which leaves no room for ours",
            remedy=f"PostgreSQL allows {MOST_COLUMNS} columns in a table.",
        )
    if target is None:
        as_there = tuple(_as_on_source(column) for column in source.columns)
        return Layout(
            creates=True,
            fields=as_there,
            key=key,
            deleted_column=table.deleted_column if table.deletes is Deletes.SOFT else None,
            alterations=alteration.comments(
                table.target,
                source.comment,
                tuple((column.name, column.comment) for column in source.columns),
            ),
        )
    if target.kind not in "rp":
        raise errors.SchemaConflict(f"the target {table.target} exists and is not a table")
    _require_room(table, source, target, key)
    fields: list[Field] = []
    added: list[Field] = []
    for column in source.columns:
        there = target.column(column.name)
        if there is None:
            added.append(_as_on_source(column, nullable=True))
            fields.append(added[-1])
        elif not there.generated:
            fields.append(_as_on_target(there, column))
    deleted_column, adds_deleted = _deleted_column(table, source, target)
    ours = []
    if _lacks(table, target, table.xmin_column, "xmin_column", "bigint"):
        ours.append((table.xmin_column, "bigint"))
    if adds_deleted and deleted_column:
        ours.append((deleted_column, _TIME))
    return Layout(
        creates=False,
        fields=tuple(fields),
        key=key_on_target(table, key, source, target) if key else None,
        added=tuple(added),
        deleted_column=deleted_column,
        alterations=(
            *(alteration.add_column(table.target, f.name, f.type, f.collation) for f in added),
            *(alteration.add_column(table.target, name, type_) for name, type_ in ours),
        ),
    )


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


def _require_own_names(table: Table, source: Relation) -> None:
    ours = {"xmin_column": table.xmin_column}
    if table.deletes is Deletes.SOFT:
        ours["deleted_column"] = table.deleted_column
    for option, name in ours.items():
        if source.column(name):
            raise errors.ConfigurationError(
                f"{table.source} has a column {name!r} of its own",
                remedy=f"Give ours another name: {option}: …",
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


def _require_room(table: Table, source: Relation, target: Relation, key: Key | None) -> None:
    """Raises one SchemaConflict that names every column in which a value may not fit."""
    pairs = [(column, target.column(column.name)) for column in source.columns]
    for column, there in pairs:
        if there is not None and there.generated and not column.generated:
            raise errors.SchemaConflict(
                f"column {column.name!r} is generated on the target {table.target}, "
                "and takes no value from the source",
                remedy=f"Leave it out (exclude: [{column.name}]); or drop it, to be added as a plain "
                f"column: ALTER TABLE {table.target.as_sql} DROP COLUMN {quoted(column.name)};",
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
            f"the target {table.target} cannot hold what its source sends: "
            + "; ".join(problem for problem, _ in found),
            remedy=f"Run on the target: ALTER TABLE {table.target.as_sql} {changes}; "
            f"or sync into another table.{_types_first(source, target)}",
        )


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
_MODIFIED = re.compile(
    r"(?P<name>[a-z ]+?)(\((?P<length>\d+)(,(?P<scale>-?\d+))?\))?"
    r"(?P<rest> with time zone| without time zone)?(?P<array>(\[\])*)"
)
_LONGER = ("character varying", "bit varying", "timestamp", "time", "numeric")
"""What a longer one, or one without a limit, keeps the text of."""


def holds(source: str, target: str) -> bool:
    """Whether every value of type `source` keeps its text in a column of type `target`."""
    if source == target:
        return True
    if source in _INTEGERS:
        return target in _INTEGERS[_INTEGERS.index(source) :] or target == "numeric"
    given, wanted = _MODIFIED.fullmatch(source), _MODIFIED.fullmatch(target)
    if given is None or wanted is None or given["array"] != wanted["array"]:
        return False
    texts = ("character varying", "text")
    if given["name"] in texts and wanted["name"] in texts:
        return wanted["length"] is None or _is_longer(given, wanted)
    same = (given["name"], given["rest"]) == (wanted["name"], wanted["rest"])
    return same and given["name"] in _LONGER and _is_longer(given, wanted)


def _is_longer(given: re.Match[str], wanted: re.Match[str]) -> bool:
    if given["length"] is None or wanted["length"] is None:
        return wanted["length"] is None
    same_scale = (given["scale"] or "0") == (wanted["scale"] or "0")
    return same_scale and int(wanted["length"]) >= int(given["length"])
