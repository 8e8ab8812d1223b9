"""A part that is read again: which rows, and what somebody has done to them on the target."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sync_assets_tests.random_changes.shape import MOVED, TABLE, RememberedColumns
from sync_assets_tests.random_changes.values import some


def rows(shape: RememberedColumns, chance: random.Random) -> str:
    """A condition on the source's rows: by what they are told apart by, or by a value that changes."""
    if chance.random() < 0.3:
        return f"{MOVED} % {chance.choice((2, 3, 5))} = 0"
    return some(shape, chance, chance.choice((1, 2, 3, 5)))


def tampering(
    there: RememberedColumns, chance: random.Random, condition: str, synced: Sequence[str]
) -> list[str]:
    """Rows of the part get other values on the target, are gone there, or are others."""
    free = [
        column.name
        for column in there.columns
        if column.name in synced
        and not (column.primary or column.not_null or column.generated or column.name in condition)
    ]
    several = f"({condition}) AND {some_of(there, chance)}"
    done = [f"DELETE FROM {TABLE} WHERE {several}"] * (chance.random() < 0.5)
    if free:
        done.append(f"UPDATE {TABLE} SET {chance.choice(free)} = NULL WHERE {several}")
    numbers = [c for c in there.columns if c.primary and c.type in {"integer", "bigint"}]
    number = next((c.name for c in numbers if c.name in condition or MOVED in condition), None)
    if number is not None:
        other = condition.replace(f"{number}::text", f"(-{number})::text")
        done.append(
            f"UPDATE {TABLE} SET {number} = -{number} WHERE {several} AND {number} > 0 AND {other}"
        )
    return done


def some_of(there: RememberedColumns, chance: random.Random) -> str:
    """A condition that holds for some of the target's rows, by its key."""
    # A unique index may be the key.
    key = there.primary or tuple(column.name for column in there.columns)
    return f"abs(hashtext({key[0]}::text)) % {chance.choice((2, 7))} = {chance.randrange(2)}"
