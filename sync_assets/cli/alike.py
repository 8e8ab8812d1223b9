"""What a command says of many tables, told once for those of which it says the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from sync_assets.engine.names import listed

SHOWN = 40
"""Lines about tables that a person reads at once; `--all` prints every one."""

NAMED_AT_MOST = 10
"""Tables that one line names."""

Item = TypeVar("Item")


def alike(found: Iterable[Item], said: Callable[[Item], Hashable]) -> list[list[Item]]:
    """The items in groups of which the same is said, in their order."""
    groups: dict[Hashable, list[Item]] = {}
    for each in found:
        groups.setdefault(said(each), []).append(each)
    return list(groups.values())


def named(names: Sequence[str], *, everything: bool = False) -> str:
    """The first of the names, and how many there are besides."""
    return listed(names, len(names) if everything else NAMED_AT_MOST)


def tables(count: int) -> str:
    """A number of tables in words."""
    return f"{count:,} {'table' if count == 1 else 'tables'}"
