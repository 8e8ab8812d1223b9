"""Renames in an order that works (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def renames(wanted: Mapping[str, str], there: Sequence[str]) -> list[tuple[str, str]]:
    """Renames in an order that works, without those whose new name is taken (pure).

    A ring of names goes through a temporary one.
    """
    left = dict(wanted)
    while blocked := [old for old, new in left.items() if new in there and new not in left]:
        for old in blocked:
            del left[old]
    done: list[tuple[str, str]] = []
    while left:
        free = next((old for old, new in left.items() if new not in left), None)
        if free is not None:
            done.append((free, left.pop(free)))
        else:
            old, new = left.popitem()
            parked = f"sync_assets_renamed_{len(done)}"
            done.append((old, parked))
            left[parked] = new
    return done
