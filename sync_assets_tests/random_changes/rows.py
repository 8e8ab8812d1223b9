"""Changes of rows on the source."""

from __future__ import annotations

import random

from sync_assets_tests.random_changes.shape import (
    MOVED,
    MOVED_AT,
    NUMBERS,
    TABLE,
    RememberedColumns,
)
from sync_assets_tests.random_changes.values import identity, new_value, number_of, some


def insert(shape: RememberedColumns, chance: random.Random, rows: int | None = None) -> list[str]:
    """A few rows, some columns left to their defaults."""
    return [insertion(shape, chance, TABLE, rows or chance.randrange(1, 6))]


def insertion(shape: RememberedColumns, chance: random.Random, table: str, rows: int) -> str:
    """Put new rows into a table that has these columns."""
    named = [
        column
        for column in shape.writable
        if column.identifies or column.not_null or chance.random() < 0.9
    ]
    values = ", ".join(new_value(column, shape, "n", chance) for column in named)
    return (
        f"INSERT INTO {table} ({', '.join(column.name for column in named)}) SELECT {values} "
        f"FROM (SELECT {NUMBERS} AS n FROM generate_series(1, {rows})) AS numbers"
    )


def bulk_insert(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Enough rows for more than one page."""
    return insert(shape, chance, chance.randrange(50, 150))


def update(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Some rows get other values, nearly always with their cursors moved."""
    number = number_of(shape, chance)
    changed = [column for column in shape.plain if chance.random() < 0.4]
    settings = [f"{each.name} = {new_value(each, shape, number, chance)}" for each in changed]
    if chance.random() < 0.9 or not settings:
        settings += [f"{MOVED} = {NUMBERS}", f"{MOVED_AT} = clock_timestamp()"]
    return [f"UPDATE {TABLE} SET {', '.join(settings)} WHERE {some(shape, chance)}"]


def delete(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Some rows go."""
    return [f"DELETE FROM {TABLE} WHERE {some(shape, chance)}"]


def update_key(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Some rows get another key, which a row of before may have had."""
    key = chance.choice(shape.identifying)
    moved = f"UPDATE {TABLE} SET {key.name} = {identity(key, NUMBERS)} WHERE "
    if chance.random() < 0.5:
        return [moved + some(shape, chance)]
    # The first row takes the key of the last one, and that one a new one.
    keys = f"(SELECT min({key.name}) AS a, max({key.name}) AS b FROM {TABLE}) AS k"
    return [
        f"CREATE TEMP TABLE keys AS SELECT * FROM {keys}",
        f"{moved} {key.name} = (SELECT b FROM keys) AND EXISTS (SELECT FROM keys WHERE a <> b)",
        (
            f"UPDATE {TABLE} SET {key.name} = (SELECT b FROM keys) "
            f"WHERE {key.name} = (SELECT a FROM keys) AND EXISTS (SELECT FROM keys WHERE a <> b)"
        ),
        "DROP TABLE keys",
    ]


def truncate(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """All rows go at once."""
    return [f"TRUNCATE {TABLE}"]


def truncate_and_refill(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Other rows in a new file, in one transaction."""
    return [f"TRUNCATE {TABLE}; {insertion(shape, chance, TABLE, chance.randrange(20, 120))}"]
