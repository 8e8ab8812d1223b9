"""Tables by pattern: which entries of a component speak of which relation, and what they say together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from sync_assets.config.catalog import Catalog, Discovered
from sync_assets.config.entries import TableEntry, set_values
from sync_assets.engine.names import RelationName
from sync_assets.engine.table import SyncMode

OF_A_PATTERN = ("source", "except_")


@dataclass(frozen=True, slots=True)
class Placed:
    """What holds for one table, and which entry, by its position, speaks of it most closely."""

    position: int
    entry: TableEntry
    discovered: Discovered | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A relation that a pattern matches and that is no table of ours, and why."""

    name: RelationName
    why: str
    remedy: str | None = None


def is_pattern(source: str) -> bool:
    """Whether a source may stand for several tables; a name in double quotes is no pattern."""
    return '"' not in source and ("*" in source or "?" in source)


def placed(
    entries: Sequence[TableEntry], defaults: Any, catalog: Catalog | None
) -> Iterator[Placed]:
    """Each table once for each entry that names it, and once if only patterns match it.

    What a narrower pattern says wins over what a wider one does, and what the table's own entry says
    over both. A pattern is narrower with more letters that are no wildcard; of two as narrow the
    later one wins.
    """
    known = {each.name: each for each in catalog.relations} if catalog else {}
    named = {RelationName.parse(each.source) for each in entries if not is_pattern(each.source)}
    for position, entry in enumerate(entries):
        if not is_pattern(entry.source):
            name = RelationName.parse(entry.source)
            above = _matching(entries, name)
            yield Placed(position, _together(entries, [*above, position], name), known.get(name))
            continue
        for name, discovered in known.items():
            above = [] if name in named else _matching(entries, name)
            if above and above[-1] == position:
                merged = _together(entries, above, name)
                if _reason(merged, defaults, discovered) is None:
                    yield Placed(position, merged, discovered)


def left_out(
    entries: Sequence[TableEntry], defaults: Any, catalog: Catalog | None
) -> Iterator[LeftOut]:
    """What patterns match and cannot be synced, or wait to be taken."""
    named = {RelationName.parse(each.source) for each in entries if not is_pattern(each.source)}
    for discovered in catalog.relations if catalog else ():
        name = discovered.name
        above = [] if name in named else _matching(entries, name)
        if above:
            reason = _reason(_together(entries, above, name), defaults, discovered)
            if reason is not None:
                yield reason


def _reason(entry: TableEntry, defaults: Any, discovered: Discovered) -> LeftOut | None:
    if not discovered.taken:
        remedy = f"Take it: sync-assets refresh --take '{discovered.source}'"
        return LeftOut(discovered.name, "it is new, and waits to be taken", remedy)
    mode = entry.sync_mode or defaults.sync_mode
    if discovered.problem and not (discovered.whole and mode is SyncMode.FULL_SYNC):
        return LeftOut(discovered.name, discovered.problem, discovered.remedy)
    return None


def _matching(entries: Sequence[TableEntry], name: RelationName) -> list[int]:
    """The patterns that match a relation, the narrowest last."""
    found = [
        position
        for position, entry in enumerate(entries)
        if is_pattern(entry.source)
        and _matches(entry.source, name)
        and not any(_matches(each, name) for each in entry.except_ or ())
    ]
    return sorted(found, key=lambda position: (_letters(entries[position].source), position))


def _matches(pattern: str, name: RelationName) -> bool:
    wanted = RelationName.parse(pattern)
    return _fits(name.schema, wanted.schema) and _fits(name.name, wanted.name)


def _fits(part: str, pattern: str) -> bool:
    return fnmatchcase(part, pattern.replace("[", "[[]"))


def _letters(pattern: str) -> int:
    return len(pattern.replace("*", "").replace("?", ""))


def _together(
    entries: Sequence[TableEntry], above: Sequence[int], name: RelationName
) -> TableEntry:
    values: dict[str, Any] = {}
    for position in above:
        values |= set_values(entries[position])
    for key in OF_A_PATTERN:
        values.pop(key, None)
    return TableEntry.model_construct(**{**_NOTHING, **values, "source": str(name)})


_NOTHING = {key: field.default for key, field in TableEntry.model_fields.items() if key != "source"}
