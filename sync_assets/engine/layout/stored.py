"""Where a leaf stores its columns, now and at the last run (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sync_assets.engine.postgres.relation import Column, Leaf
from sync_assets.engine.state.state import StateLeaf


def leaf_before(leaf: Leaf, leaves: Sequence[StateLeaf]) -> StateLeaf | None:
    """What the last run knew of a leaf, None where it is new."""
    return next((each for each in leaves if each.oid == leaf.oid), None)


def is_stored_elsewhere(
    leaf: Leaf, known: StateLeaf, pairs: Iterable[tuple[Column, Column | None]]
) -> bool:
    """Whether one of the columns, each with what it was at the last run, is in another place by now."""
    places = {column.name: column for column in known.columns}
    for column, then in pairs:
        here, was = leaf.column(column.name), places.get(then.name) if then else None
        if here is None or then is None:
            continue
        if was is None or (here.number, here.generation) != (was.number, was.generation):
            return True
    return False
