"""When a hindrance is told: once, again ever more rarely while it lasts, and once when it is over (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from sync_assets.engine.names import listed
from sync_assets.hindrances.circumstances import Circumstances
from sync_assets.hindrances.kinds import HOUR, KINDS, Found, Kind, find
from sync_assets.runs.progress_log import duration

AGAIN = (1 * HOUR, 4 * HOUR, 24 * HOUR)
"""Seconds from one telling to the next; the last holds for all that follow."""

NAMED_AT_MOST = 20

LASTING = 60.0
"""Seconds after which its beginning is worth a word where it is told for the first time."""

BEGUN = "something is in the way of a sync"
"""What the subject of an alert says."""

OVER = "no longer in the way"
"""What the subject of the alert says that tells an end."""

END = re.compile(r" the (source|target)\b")

Place = tuple[str, str, str]
"""The target, the kind's name, and what tells two of a kind apart."""


@dataclass(frozen=True, slots=True)
class Known:
    """A hindrance: since when it lasts, how often it was told, when last, and when it ended.

    One that ended stays for a while, so that one that comes and goes is not told each time.
    """

    what: str = field(compare=False)
    remedy: str = field(compare=False)
    since: float
    times: int = 0
    told: float = 0.0
    ended: float | None = None
    command: str = field(default="", compare=False)

    @property
    def cause(self) -> str:
        """The error's kind and end; of what is no error, the text up to its detail.

        Its text begins with the one, and names the other first.
        """
        end = END.search(self.what)
        return self.what.partition(": ")[0] + (end[0] if end else "")

    @property
    def next_time(self) -> float:
        """When it is told again."""
        return self.told + AGAIN[min(self.times, len(AGAIN)) - 1]

    @property
    def told_of(self) -> bool:
        """Whether people were told that it is there now."""
        return self.times > 0 and self.told >= self.since

    @property
    def stands(self) -> bool:
        """Whether people were told, and not that it is over."""
        return self.told_of and self.ended is None


Memory = Mapping[Place, Known]


@dataclass(frozen=True, slots=True)
class Judged:
    """What one look leaves: the memory for the next, and what is told of now."""

    memory: dict[Place, Known]
    begun: dict[Place, Known]
    over: dict[Place, Known]


def judge(seen: Circumstances, before: Memory, now: float) -> Judged:
    """Compare what is found with what was remembered of these tables."""
    result, alike = Judged({}, {}, {}), _alike(before)
    for kind, found in find(seen):
        place = _place(kind, found)
        known = _as_told(place, _lasting(before.get(place), found, now), alike)
        if now >= _due(known, found, kind):
            known = replace(known, times=known.times + 1, told=now)
            result.begun[place] = known
        result.memory[place] = alike.setdefault((place[0], known.cause), {})[place] = known
    asked = _asked(seen)
    for place, known in before.items():
        if place in result.memory:
            continue
        left = known
        if place[1] in asked and known.ended is None:
            left = alike[place[0], known.cause][place] = replace(known, ended=now)
            if known.told_of:
                result.over[place] = left
        if not _forgotten(left, now):
            result.memory[place] = left
    for place, known in list(result.over.items()):
        if any(it.ended is None or at in result.over for at, it in _others(place, known, alike)):
            del result.over[place]
    return result


Alike = dict[tuple[str, str], dict[Place, Known]]
"""What is known of one error at one table: a run that meets it and a look that finds it are two places."""


def _alike(memory: Memory) -> Alike:
    found: Alike = {}
    for place, known in memory.items():
        found.setdefault((place[0], known.cause), {})[place] = known
    return found


def _others(place: Place, known: Known, alike: Alike) -> Iterator[tuple[Place, Known]]:
    """Where this error is known as another kind."""
    for at, it in alike.get((place[0], known.cause), {}).items():
        if at[1] != place[1]:
            yield at, it


def _as_told(place: Place, known: Known, alike: Alike) -> Known:
    """As often and as lately told as the same error was, whichever way it was found."""
    told = [it for _, it in _others(place, known, alike) if it.told > known.told]
    if not told:
        return known
    last = max(told, key=lambda it: it.told)
    since = known.since if last.ended is not None else min(known.since, last.since)
    return replace(known, since=since, times=last.times, told=last.told)


def standing(
    seen: Circumstances, recorded: Memory, now: float, spared: float = 0.0
) -> dict[Place, Known]:
    """What is in the way: what is found and has lasted, and what was recorded and cannot be asked.

    To who looks now, what is there counts: so many seconds of lasting are `spared`.
    """
    asked = _asked(seen)
    left = {
        place: known for place, known in recorded.items() if known.stands and place[1] not in asked
    }
    for kind, found in find(seen):
        known = _lasting(recorded.get(_place(kind, found)), found, now)
        if now + spared >= _bound(known, found, kind):
            left[_place(kind, found)] = known
    return left


def _asked(seen: Circumstances) -> set[str]:
    """The kinds of which everything could be asked that they need."""
    return {kind.name for kind in KINDS if seen.known.issuperset(kind.needs)}


def _place(kind: Kind, found: Found) -> Place:
    return str(found.table.table.target), kind.name, found.about


def _lasting(before: Known | None, found: Found, now: float) -> Known:
    if before is None:
        return Known(found.what, found.remedy, now, command=found.command)
    since = before.since if before.ended is None else now
    begun = replace(before, since=since, ended=None)
    return replace(begun, what=found.what, remedy=found.remedy, command=found.command)


def _bound(known: Known, found: Found, kind: Kind) -> float:
    """From when on it has lasted long enough."""
    return known.since + (kind.after if found.after is None else found.after)


def _due(known: Known, found: Found, kind: Kind) -> float:
    bound = _bound(known, found, kind)
    return max(bound, known.next_time) if known.times else bound


def _forgotten(known: Known, now: float) -> bool:
    return known.ended is not None and (not known.times or now >= known.next_time)


def lines(told: Iterable[tuple[Place, Known]], at_most: int | None = None) -> list[str]:
    """One line for each hindrance, with the tables that share it; `at_most` so many of them."""
    return by_text(((table, _said(known)) for (table, *_), known in told), at_most)


def by_text(told: Iterable[tuple[str, str]], at_most: int | None = None) -> list[str]:
    """One line for each text that is told of a table, with the tables that share it."""
    # One error may be known of a table as two kinds: it is named once.
    tables: dict[str, dict[str, None]] = {}
    for table, said in told:
        tables.setdefault(said, {})[table] = None
    written = [f"{listed(list(names), NAMED_AT_MOST)}: {said}" for said, names in tables.items()]
    left = len(written) - (at_most or len(written))
    return [*written[:at_most], f"… and {left} more"] if left > 0 else written


def _said(known: Known) -> str:
    if known.ended is not None:
        lasted = duration(known.ended - known.since)
        return f"over: {known.what.rstrip('.')}. It lasted {lasted}."
    begun = f"since {datetime.fromtimestamp(known.since, timezone.utc):%Y-%m-%d %H:%M} UTC: "
    lasting = known.told - known.since >= LASTING
    since = f"still, {begun}" if known.times > 1 else begun if lasting else ""
    return f"{since}{known.what.rstrip('.')}. {known.remedy}".rstrip()
