"""Changes of partitions on the source: of `part`, ten numbers in each, and a default one."""

from __future__ import annotations

import dataclasses
import itertools
import random
import re

from sync_assets_tests.random_changes.rows import insertion
from sync_assets_tests.random_changes.shape import (
    MOVED,
    NUMBERS,
    PART,
    SCHEMA,
    TABLE,
    Partition,
    RememberedColumns,
)
from sync_assets_tests.random_changes.values import number_of, part, some


def _free(shape: RememberedColumns) -> tuple[str, int]:
    """The name and the first number of a partition that is not there, nor beside the table."""
    names = ((f"{TABLE}_{first}", first) for first in itertools.count(0, 10))
    return next(each for each in names if each[0] not in shape.tables)


def _bound(first: int) -> str:
    return f"FOR VALUES FROM ({first}) TO ({first + 10})"


def _only(shape: RememberedColumns, first: int | None) -> RememberedColumns:
    """The shape with one partition, so that rows are made for it."""
    end = None if first is None else first + 10
    return dataclasses.replace(shape, partitions=(Partition("", first, end),))


def create_partition(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """With rows, or without."""
    name, first = _free(shape)
    rows = [insertion(_only(shape, first), chance, TABLE, chance.randrange(1, 40))]
    return [
        f"CREATE TABLE {name} PARTITION OF {TABLE} {_bound(first)}",
        *rows * (chance.random() < 0.7),
    ]


def sub_partition(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """A partition that has partitions."""
    name, first = _free(shape)
    return [
        f"CREATE TABLE {name} PARTITION OF {TABLE} {_bound(first)} PARTITION BY RANGE ({PART})",
        f"CREATE TABLE {name}_a PARTITION OF {name} FOR VALUES FROM ({first}) TO ({first + 5})",
        f"CREATE TABLE {name}_b PARTITION OF {name} DEFAULT",
        insertion(_only(shape, first), chance, TABLE, chance.randrange(1, 40)),
    ]


def default_partition(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """For everything that fits nowhere else; or without one again."""
    there = [each for each in shape.partitions if each.first is None]
    if there and len(shape.partitions) > 1:
        return [f"DROP TABLE {there[0].name}"]
    if there:
        return []
    return [
        f"CREATE TABLE {SCHEMA}.t_rest PARTITION OF {TABLE} DEFAULT",
        insertion(_only(shape, None), chance, TABLE, chance.randrange(1, 40)),
    ]


def prepare_partition(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """A table with rows to attach later, its columns in another order between dropped ones."""
    name, first = _free(shape)
    definitions = [f"gone_{number} integer" for number in range(chance.randrange(3))]
    gone = len(definitions)
    for column in shape.columns:
        kind = "VIRTUAL" if column.virtual else "STORED"
        computed = f" GENERATED ALWAYS AS ({column.generated}) {kind}" if column.generated else ""
        not_null = " NOT NULL" * column.not_null
        definitions.append(f"{column.name} {column.type}{computed}{not_null}")
    chance.shuffle(definitions)
    return [
        f"CREATE TABLE {name} ({', '.join(definitions)})",
        *(f"ALTER TABLE {name} DROP COLUMN gone_{number}" for number in range(gone)),
        insertion(_only(shape, first), chance, name, chance.randrange(1, 60)),
    ]


def attach_partition(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """A table that was prepared or detached before, with rows as old as that, or a new one."""
    there = [re.fullmatch(rf"{TABLE}_(\d+)", name) for name in shape.spare]
    firsts = [int(found[1]) for found in there if found]
    prepared, first = [], chance.choice(firsts) if firsts else _free(shape)[1]
    if not firsts:
        prepared = prepare_partition(shape, chance)
    return [*prepared, f"ALTER TABLE {TABLE} ATTACH PARTITION {TABLE}_{first} {_bound(first)}"]


def _removable(
    shape: RememberedColumns, chance: random.Random
) -> tuple[list[str], Partition | None]:
    """A partition to take away, and what must be there first so that one is left."""
    ranges = [each for each in shape.partitions if each.first is not None]
    if not ranges:
        return [], None
    more = [] if len(shape.partitions) > 1 else create_partition(shape, chance)
    return more, chance.choice(ranges)


def detach_partition(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Its rows leave the table and live on beside it."""
    more, gone = _removable(shape, chance)
    return [*more, f"ALTER TABLE {TABLE} DETACH PARTITION {gone.name}"] if gone else []


def drop_partition(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Its rows go with it."""
    more, gone = _removable(shape, chance)
    return [*more, f"DROP TABLE {gone.name}"] if gone else []


def reattach_partition(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Some rows of a partition change or go while it is not one."""
    _, gone = _removable(shape, chance)
    if gone is None or gone.first is None:
        return []
    changes = [
        f"DELETE FROM {gone.name} WHERE {some(shape, chance)}",
        f"UPDATE {gone.name} SET {MOVED} = {NUMBERS} WHERE {some(shape, chance)}",
        f"TRUNCATE {gone.name}",
        insertion(_only(shape, gone.first), chance, gone.name, 5),
    ]
    return [
        f"ALTER TABLE {TABLE} DETACH PARTITION {gone.name}",
        *chance.sample(changes, chance.randrange(len(changes))),
        f"ALTER TABLE {TABLE} ATTACH PARTITION {gone.name} {_bound(gone.first)}",
    ]


def truncate_partition(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """One leaf loses all its rows."""
    return [f"TRUNCATE {chance.choice(shape.leaves)}"]


def move_rows(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Rows change from one partition to another."""
    moved = part(shape, number_of(shape, chance), chance)
    return [f"UPDATE {TABLE} SET {PART} = {moved} WHERE {some(shape, chance)}"]
