"""Changes of columns on the source."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence

from sync_assets_tests.random_changes.shape import LABELS, MOOD, TABLE, Column, RememberedColumns
from sync_assets_tests.random_changes.values import (
    CONSTANTS,
    TYPES,
    VOLATILE,
    number_of,
    some,
    value,
)

ALTER = f"ALTER TABLE {TABLE}"


def _new_name(shape: RememberedColumns, chance: random.Random) -> str | None:
    return chance.choice(shape.unused_names) if shape.unused_names else None


def _added(
    shape: RememberedColumns, chance: random.Random, types: Iterable[str], definition: str
) -> list[str]:
    name = _new_name(shape, chance)
    if name is None:
        return []
    type_ = chance.choice(list(types))
    return [f"{ALTER} ADD COLUMN {name} {type_} {definition}"]


def add_column(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Without a default, and then perhaps with values."""
    name, type_ = _new_name(shape, chance), chance.choice(TYPES)
    if name is None:
        return []
    added = [f"{ALTER} ADD COLUMN {name} {type_}"]
    if chance.random() < 0.5:
        computed = value(type_, number_of(shape, chance), chance)
        added.append(f"UPDATE {TABLE} SET {name} = {computed} WHERE {some(shape, chance)}")
    return added


def _with_default(shape: RememberedColumns, chance: random.Random, clause: str) -> list[str]:
    name = _new_name(shape, chance)
    if name is None:
        return []
    constants = {**CONSTANTS, MOOD: chance.choice(shape.labels)}
    type_ = chance.choice(list(constants))
    added = [f"{ALTER} ADD COLUMN {name} {type_} {clause} DEFAULT {constants[type_]}"]
    if chance.random() < 0.3 and not clause:
        # The value of the older rows stays as it was.
        added.append(f"{ALTER} ALTER {name} DROP DEFAULT")
    return added


def add_column_with_constant(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """No row version changes, and every row has a new value."""
    return _with_default(shape, chance, "")


def add_column_not_null(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """The same, NOT NULL."""
    return _with_default(shape, chance, "NOT NULL")


def add_column_with_volatile(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Every row is rewritten."""
    type_ = chance.choice(list(VOLATILE))
    return _added(shape, chance, [type_], f"DEFAULT {VOLATILE[type_]}")


def add_generated_column(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Computed from another column; on PostgreSQL 18 perhaps only when it is read."""
    bases = {
        column.name: f"length({column.name})"
        if column.type.startswith(("text", "char"))
        else f"{column.name} % 7"
        for column in shape.columns
        if not column.generated
        and re.match("integer$|bigint$|numeric|text|character varying", column.type)
    }
    if not bases:
        return []
    kind = "VIRTUAL" if shape.version >= 18 and chance.random() < 0.5 else "STORED"
    expression = bases[chance.choice(list(bases))]
    return _added(shape, chance, ["numeric"], f"GENERATED ALWAYS AS ({expression}) {kind}")


def set_expression(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """From PostgreSQL 17 on a generated column may be computed otherwise."""
    generated = [column for column in shape.columns if column.generated]
    if not generated or shape.version < 17:
        return []
    column = chance.choice(generated)
    return [f"{ALTER} ALTER {column.name} SET EXPRESSION AS (({column.generated}) + 1)"]


def drop_column(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """With the columns that are computed from it."""
    gone = _any(chance, [c for c in shape.columns if c.plain or c.generated])
    return [f"{ALTER} DROP COLUMN {gone.name} CASCADE"] if gone else []


def readd_column(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Another column under the same name, of the same type or another one."""
    gone = _any(chance, shape.plain)
    if gone is None:
        return []
    type_ = gone.type if chance.random() < 0.5 else chance.choice(TYPES)
    computed = value(type_, number_of(shape, chance), chance)
    return [
        f"{ALTER} DROP COLUMN {gone.name} CASCADE",
        f"{ALTER} ADD COLUMN {gone.name} {type_}",
        f"UPDATE {TABLE} SET {gone.name} = {computed} WHERE {some(shape, chance)}",
    ]


def rename_column(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Any column but those the configuration names."""
    renamed = _any(chance, [c for c in shape.columns if c.plain or c.identifies or c.generated])
    name = _new_name(shape, chance)
    return [f"{ALTER} RENAME COLUMN {renamed.name} TO {name}"] if renamed and name else []


def swap_column_names(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Two columns take each other's names."""
    if len(shape.plain) < 2:
        return []
    one, other = chance.sample(shape.plain, 2)
    return [
        f"{ALTER} RENAME COLUMN {one.name} TO between",
        f"{ALTER} RENAME COLUMN {other.name} TO {one.name}",
        f"{ALTER} RENAME COLUMN between TO {other.name}",
    ]


def set_not_null(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """After the column has been filled."""
    column = _any(chance, [column for column in shape.plain if not column.not_null])
    if column is None:
        return []
    computed = value(column.type, number_of(shape, chance), chance)
    return [
        f"UPDATE {TABLE} SET {column.name} = {computed} WHERE {column.name} IS NULL",
        f"{ALTER} ALTER {column.name} SET NOT NULL",
    ]


def drop_not_null(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """And perhaps use it."""
    column = _any(chance, [column for column in shape.plain if column.not_null])
    if column is None:
        return []
    emptied = f"UPDATE {TABLE} SET {column.name} = NULL WHERE {some(shape, chance)}"
    return [f"{ALTER} ALTER {column.name} DROP NOT NULL"] + [emptied] * (chance.random() < 0.7)


def add_enum_value(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """At the end or between others, and used."""
    new = [f"'{label}'" for label in LABELS if f"'{label}'" not in shape.labels]
    if not new:
        return []
    label = chance.choice(new)
    place = f"{chance.choice(('BEFORE', 'AFTER'))} {chance.choice(shape.labels)}"
    used = [
        f"UPDATE {TABLE} SET {column.name} = {label} WHERE {some(shape, chance)}"
        for column in shape.plain
        if column.type == MOOD
    ]
    return [f"ALTER TYPE {MOOD} ADD VALUE {label} {place}", *used]


def rename_enum_value(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """No row version changes, and many values do."""
    new = [f"'{label}'" for label in LABELS if f"'{label}'" not in shape.labels]
    if not new:
        return []
    old = chance.choice(shape.labels)
    return [f"ALTER TYPE {MOOD} RENAME VALUE {old} TO {chance.choice(new)}"]


def _any(chance: random.Random, columns: Sequence[Column]) -> Column | None:
    return chance.choice(columns) if columns else None
