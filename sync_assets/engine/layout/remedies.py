"""Statements that an operator runs on the target so that it can hold its source's rows (pure).

Each is one that PostgreSQL accepts as it is printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sync_assets.engine.names import RelationName, quoted
from sync_assets.engine.postgres.relation import Column, Key, Relation
from sync_assets.engine.postgres.types import FIRST_UNASSIGNED

_TEXTS = ("text", "character varying", "character", "name")
_ASSIGNABLE = (
    ("smallint", "integer", "bigint", "numeric", "real", "double precision"),
    ("date", "timestamp without time zone", "timestamp with time zone"),
    ("time without time zone", "time with time zone"),
    ("json", "jsonb"),
    ("inet", "cidr"),
    ("bit", "bit varying"),
    ("character varying", "text", "character"),
)
"""Types of one kind, each of which PostgreSQL assigns to the others."""


def retyped(there: Column, wanted: Column) -> str:
    """The part of an ALTER TABLE that gives the target's column the source's type.

    Where nothing assigns one type to the other, values go by their text; a default would not.
    """
    name = quoted(there.name)
    change = f"ALTER COLUMN {name} TYPE {wanted.type}"
    if assigns(there.type, wanted.type):
        return change
    return f"ALTER COLUMN {name} DROP DEFAULT, {change} USING {name}::text::{wanted.type}"


def agreed(whole: RelationName, columns: Iterable[tuple[str, str, str]]) -> str:
    """What makes one type of columns that many sources share, as a sentence.

    `columns` are names, the types that they have there, and those that one source sends.
    """
    changes, expressions = [], []
    for name, there, sent in columns:
        # A type in a schema is its source's own, and another source has none of its values.
        kin = assigns(there, sent) and "." not in there + sent
        if there != "text":
            changes.append(f"ALTER COLUMN {quoted(name)} TYPE {sent if kin else 'text'}")
        if kin or there == "text":
            expressions.append(f"{name}: {quoted(name)}::{there}")
    alter = f"Let it hold them: ALTER TABLE {whole.as_sql} {', '.join(changes)};" if changes else ""
    send = (
        f"send what it can hold, by expressions: {', '.join(expressions)}." if expressions else ""
    )
    return " or ".join(filter(None, (alter, send))) if alter else send.capitalize()


def assigns(there: str, wanted: str) -> bool:
    """Whether PostgreSQL assigns values of one type to the other, so that TYPE needs no USING."""
    before, after = _plain(there), _plain(wanted)
    if before == after or after in _TEXTS:
        return True
    if before.endswith("[]") != after.endswith("[]"):
        return False
    kinds = before.removesuffix("[]"), after.removesuffix("[]")
    return any(set(kinds) <= set(family) for family in _ASSIGNABLE)


def _plain(type_: str) -> str:
    return re.sub(r"\([^)]*\)", "", type_)


def made_by_users(columns: Sequence[Column], target: Relation) -> list[str]:
    """The types among them that PostgreSQL does not bring along, and the target may not have."""
    there = {column.type for column in target.columns}
    return sorted(
        {c.type for c in columns if c.type_oid >= FIRST_UNASSIGNED and c.type not in there}
    )


def keyed(name: RelationName, key: Key, source: Relation, target: Relation) -> str:
    """What gives the target the key, or names one that it has, as a sentence."""
    fitting = {each.name for each in source.columns if each.not_null}
    for each in target.keys:
        if set(key.columns) < set(each.columns) <= fitting:
            return f"Name the key that the target has: {_as_yaml(each.columns)}."
    parts = target.partitioned_by
    if parts is None or set(parts) <= set(key.columns):
        return f"Add one: {_addition(name, key.columns, target)}."
    wider = (*key.columns, *(part for part in parts if part not in key.columns))
    if not set(wider) <= fitting:
        return "The target's partitions do not allow one: sync into another table."
    return f"Run on the target: {_addition(name, wider, target)}. And set {_as_yaml(wider)}."


def _as_yaml(columns: Sequence[str]) -> str:
    return f"key: [{', '.join(columns)}]"


def _addition(name: RelationName, columns: Sequence[str], target: Relation) -> str:
    """What adds a key; before a primary one stands what also checks a NOT NULL that never was."""
    there = {column.name: column for column in target.columns}
    nullable = [quoted(column) for column in columns if not there[column].not_null]
    kind = "UNIQUE" if target.has_primary else "PRIMARY KEY"
    changes = ", ".join(f"ALTER COLUMN {column} SET NOT NULL" for column in nullable)
    before = f"ALTER TABLE {name.as_sql} {changes}; " if changes else ""
    return f"{before}ALTER TABLE {name.as_sql} ADD {kind} ({', '.join(map(quoted, columns))})"
