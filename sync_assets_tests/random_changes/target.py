"""Changes that somebody makes on the target."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sync_assets_tests.random_changes.shape import TABLE, RememberedColumns

XMIN_COLUMN = "source_xmin"


def truncate_target(
    shape: RememberedColumns, chance: random.Random, synced: Sequence[str]
) -> list[str]:
    """All rows go."""
    return [f"TRUNCATE {TABLE}"]


def drop_target(
    shape: RememberedColumns, chance: random.Random, synced: Sequence[str]
) -> list[str]:
    """The table goes, with the views above it."""
    return [f"DROP TABLE {TABLE} CASCADE"]


def drop_target_column(
    shape: RememberedColumns, chance: random.Random, synced: Sequence[str]
) -> list[str]:
    """A column that is synced goes, or the one with the xid."""
    there = _free(shape, [*synced, XMIN_COLUMN])
    return [f"ALTER TABLE {TABLE} DROP COLUMN {chance.choice(there)} CASCADE"] if there else []


def rename_target_column(
    shape: RememberedColumns, chance: random.Random, synced: Sequence[str]
) -> list[str]:
    """A column that is synced is called otherwise from now on."""
    there = _free(shape, synced)
    if not there:
        return []
    new = f"kept_{sum('kept_' in column.name for column in shape.columns)}"
    return [f"ALTER TABLE {TABLE} RENAME COLUMN {chance.choice(there)} TO {new}"]


def _free(shape: RememberedColumns, names: Sequence[str]) -> list[str]:
    """Those of the names that the target has, and not in its key."""
    return [column.name for column in shape.columns if column.name in names and not column.primary]
