"""Tables by pattern: which entries of a component speak of which relation, and what they say together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    """What holds for one table of a source, and which entry, by its position, speaks of it most closely."""

    position: int
    entry: TableEntry
    discovered: Discovered | None = None
    connection: str = ""


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
    patterns, by_pattern = _patterns(entries), dict[int, list[Placed]]()
    for discovered, entry, position in _matched(entries, patterns, known):
        if _reason(entry, defaults, discovered) is None:
            by_pattern.setdefault(position, []).append(Placed(position, entry, discovered))
    for position, entry in enumerate(entries):
        if is_pattern(entry.source):
            yield from by_pattern.get(position, ())
            continue
        name = RelationName.parse(entry.source)
        above = _above(patterns, name)
        own = _together(entries, [*above, position], name) if above else entry
        yield Placed(position, own, known.get(name))


def left_out(
    entries: Sequence[TableEntry], defaults: Any, catalog: Catalog | None
) -> Iterator[LeftOut]:
    """What patterns match and cannot be synced, or wait to be taken."""
    known = {each.name: each for each in catalog.relations} if catalog else {}
    for discovered, entry, _ in _matched(entries, _patterns(entries), known):
        reason = _reason(entry, defaults, discovered)
        if reason is not None:
            yield reason


@dataclass(frozen=True, slots=True)
class _Pattern:
    position: int
    source: RelationName
    leaves_out: tuple[RelationName, ...]

    def matches(self, name: RelationName) -> bool:
        """Whether it takes a relation of this name."""
        return _fits(name, self.source) and not any(_fits(name, each) for each in self.leaves_out)


def _patterns(entries: Sequence[TableEntry]) -> list[_Pattern]:
    """The entries that are patterns, the narrowest last."""
    found = [
        _Pattern(
            position,
            RelationName.parse(entry.source),
            tuple(map(RelationName.parse, entry.except_ or ())),
        )
        for position, entry in enumerate(entries)
        if is_pattern(entry.source)
    ]
    return sorted(found, key=lambda each: (_letters(entries[each.position].source), each.position))


def _above(patterns: Sequence[_Pattern], name: RelationName) -> list[int]:
    """The positions of the patterns that match a relation, the narrowest last."""
    return [each.position for each in patterns if each.matches(name)]


def _matched(
    entries: Sequence[TableEntry],
    patterns: Sequence[_Pattern],
    known: Mapping[RelationName, Discovered],
) -> Iterator[tuple[Discovered, TableEntry, int]]:
    """Relations that patterns alone speak of, what these say together, and where the narrowest stands."""
    if not patterns:
        return
    named = {RelationName.parse(each.source) for each in entries if not is_pattern(each.source)}
    for name, discovered in known.items():
        above = [] if name in named else _above(patterns, name)
        if above:
            yield discovered, _together(entries, above, name), above[-1]


def _reason(entry: TableEntry, defaults: Any, discovered: Discovered) -> LeftOut | None:
    if not discovered.taken:
        remedy = f"Take it: sync-assets refresh --take '{discovered.source}'"
        return LeftOut(discovered.name, "it is new, and waits to be taken", remedy)
    mode = entry.sync_mode or defaults.sync_mode
    if discovered.problem and not (discovered.whole and mode is SyncMode.FULL_SYNC):
        return LeftOut(discovered.name, discovered.problem, discovered.remedy)
    return None


def _fits(name: RelationName, pattern: RelationName) -> bool:
    parts = zip((name.schema, name.name), (pattern.schema, pattern.name), strict=True)
    return all(fnmatchcase(part, glob.replace("[", "[[]")) for part, glob in parts)


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
