"""Which tables a tick of the change sensor asks a run for (pure).

A table is due when its source's marker is not the one of the last sync that succeeded: a sync that
failed is asked for again, later each time, and a daemon that was down misses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LONGEST_WAIT = 3600.0
DOUBLINGS = 12
SUSPECT_SECONDS = 900.0
"""A table that cannot be looked into is synced at most this often on suspicion."""


@dataclass(frozen=True, slots=True)
class Success:
    """The last sync of a table that succeeded: its number in Dagster's log, marker and time."""

    number: int
    marker: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A demand that is still open: how often it was made, when last, and what was known then."""

    times: int
    at: float
    seen: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A table as this tick sees it; several of a snapshot group are judged one by one."""

    marker: str
    success: Success | None
    suspected: bool = False
    freshness: float | None = None

    def changed(self, now: float) -> bool:
        """Whether the source differs from what was synced last, or nobody looked for too long.

        `freshness` counts from the last sync, also of a table that does not change: after half of
        it the table is synced all the same.
        """
        if self.success is None:
            return True
        age = now - self.success.at
        if self.freshness is not None and age >= self.freshness / 2:
            return True
        return self.marker != self.success.marker and not (self.suspected and age < SUSPECT_SECONDS)

    @property
    def doubtful(self) -> bool:
        """Whether nothing shows that it has changed, so that a look may spare it the run it is due."""
        return self.success is not None and (self.suspected or self.marker == self.success.marker)

    @property
    def seen(self) -> int:
        """The number of the last success, 0 before the first."""
        return self.success.number if self.success else 0


def open_demand(candidates: Mapping[str, Candidate], before: Asked | None) -> Asked | None:
    """The demand that no success has answered yet; `candidates` are the members of one op."""
    seen = max((each.seen for each in candidates.values()), default=0)
    return before if before is not None and before.seen == seen else None


def is_due(
    candidates: Mapping[str, Candidate], demand: Asked | None, interval: float, now: float
) -> bool:
    """Whether to ask now; the second time after two intervals, then four, up to an hour."""
    if not any(each.changed(now) for each in candidates.values()):
        return False
    if demand is None:
        return True
    # The exponent is bounded too: a table may fail for months.
    wait = interval * 2.0 ** min(demand.times, DOUBLINGS)
    return now >= demand.at + min(wait, LONGEST_WAIT)


def asked_again(candidates: Mapping[str, Candidate], demand: Asked | None, now: float) -> Asked:
    """The demand after this tick has asked."""
    seen = max((each.seen for each in candidates.values()), default=0)
    return Asked(demand.times + 1 if demand else 1, now, seen)
