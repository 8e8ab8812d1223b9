"""What an operator lets a run take from its source: so fast at most, and not at all meanwhile."""

from __future__ import annotations

import math
import re
import threading
import time
import zoneinfo
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from datetime import time as time_of_day
from weakref import WeakValueDictionary

from sync_assets.engine.errors import ConfigurationError

MEGABYTE = 1_000_000
"""Bytes."""

BURST = 0.1
"""Seconds of the rate that may be made up for after a stop: a short export is not read faster either."""

_TIME = r"((?:[01]\d|2[0-3]):[0-5]\d)"
HOURS = re.compile(rf"{_TIME} ?- ?{_TIME} (\S+)", re.ASCII)
EXAMPLE = "08:00-18:00 Europe/Berlin"


@dataclass(frozen=True, slots=True)
class Hours:
    """From one time of each day to another, its end not among them, in a time zone.

    They may cross midnight. Raises ConfigurationError for hours that are none, or are all of them.
    """

    begin: time_of_day
    end: time_of_day
    zone: str

    def __post_init__(self) -> None:
        if self.begin == self.end:
            raise _refused("between", str(self), "Let it end at another time than it begins.")
        if self.zone not in zoneinfo.available_timezones():
            remedy = "Write a time zone's name, such as Europe/Berlin or UTC."
            raise _refused("between", f"in the zone {self.zone!r}", remedy)

    @classmethod
    def parse(cls, text: str) -> Hours:
        """Read `08:00-18:00 Europe/Berlin`; raises ConfigurationError."""
        match = HOURS.fullmatch(text)
        if match is None:
            remedy = f"Write two times and a time zone, such as {EXAMPLE}."
            raise _refused("between", repr(text), remedy)
        begin, end, zone = match.groups()
        return cls(time_of_day.fromisoformat(begin), time_of_day.fromisoformat(end), zone)

    def have(self, moment: datetime) -> bool:
        """Whether a moment, of any time zone, is among them."""
        now = moment.astimezone(zoneinfo.ZoneInfo(self.zone)).time()
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M} {self.zone}"


@dataclass(frozen=True, slots=True)
class PauseWhile:
    """States of the source in which no run begins to read: each that is set counts by itself.

    `replication_lag` is in seconds: more than that any standby of the source is behind in replay.
    `active_sessions`: more than so many sessions of clients, without ours, are at work on the
    source's server. `between`: the hours of the day. Raises ConfigurationError for no such values.
    """

    replication_lag: float | None = None
    active_sessions: int | None = None
    between: Hours | None = None

    def __post_init__(self) -> None:
        lag, sessions = self.replication_lag, self.active_sessions
        if lag is not None and (isinstance(lag, bool) or not 0 < lag < math.inf):
            raise _refused("replication_lag", repr(lag), "It must be seconds, more than 0.")
        if sessions is not None and (
            isinstance(sessions, bool) or not isinstance(sessions, int) or sessions < 0
        ):
            remedy = "It must be a whole number from 0 up."
            raise _refused("active_sessions", repr(sessions), remedy)

    @property
    def sees_others(self) -> bool:
        """Whether it asks for what other roles' sessions do, which not every role is shown."""
        return self.replication_lag is not None or self.active_sessions is not None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may take from its source.

    `max_mb_per_second` are 10^6 bytes of COPY data a second, of all its workers together.
    `pause_while` says when it waits before it takes a snapshot. `piece_mb` is the size of a table's
    part, in MB, that a first load reads at once; a table of more than a few is read by such pieces, and
    with 0 none is. No piece holds its snapshot for longer than `max_snapshot_age` seconds. Raises
    ConfigurationError for values that make no sense.
    """

    max_mb_per_second: float | None = None
    pause_while: PauseWhile | None = None
    piece_mb: int = 16
    max_snapshot_age: float = 60.0

    def __post_init__(self) -> None:
        size = self.piece_mb
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            remedy = "It must be a whole number from 1 up, or 0 for no pieces."
            raise _refused("piece_mb", repr(size), remedy)
        if not self.max_snapshot_age > 0:
            remedy = "It must be a time above 0 seconds."
            raise _refused("max_snapshot_age", repr(self.max_snapshot_age), remedy)
        rate = self.max_mb_per_second
        if rate is not None and (isinstance(rate, bool) or not 0 < rate < math.inf):
            remedy = "It must be a number of megabytes, more than 0; leave it out for no limit."
            raise _refused("max_mb_per_second", repr(rate), remedy)

    def piece_bytes(self, workers: int) -> int:
        """How large a piece may be, so that so many workers at this rate hold no snapshot too long."""
        most = self.piece_mb * MEGABYTE
        if self.max_mb_per_second is None:
            return most
        # Above half of that age a piece is cut smaller anyway.
        in_time = self.max_mb_per_second * MEGABYTE * self.max_snapshot_age / 4 / workers
        return min(most, max(1, round(in_time)))

    @property
    def pace(self) -> str:
        """How fast at most, in words; nothing where that is not limited."""
        rate = self.max_mb_per_second
        return "" if rate is None else f"held to {rate:g} MB/s"


NO_LIMITS = Limits()


def _refused(name: str, value: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is {value}", remedy=remedy)


class Throttle:
    """Lets so many bytes a second by, of all threads together: whoever took some waits until they are due.

    What was not used while nothing was taken may be made up for, a tenth of a second's worth at most.
    """

    def __init__(
        self, bytes_per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._clock = bytes_per_second, clock
        self._due = clock()
        self._lock = threading.Lock()

    def take(self, count: int) -> float:
        """Book bytes; return the moment of the monotonic clock at which they are due."""
        with self._lock:
            self._due = max(self._due, self._clock() - BURST) + count / self._rate
            return self._due


_throttles: WeakValueDictionary[tuple[Hashable, float], Throttle] = WeakValueDictionary()
_lock = threading.Lock()


def throttle_of(source: Hashable, limits: Limits) -> Throttle | None:
    """What holds back all that this process reads from a source within one rate; None without one."""
    if limits.max_mb_per_second is None:
        return None
    key = (source, limits.max_mb_per_second)
    with _lock:
        found = _throttles.get(key)
        if found is None:
            _throttles[key] = found = Throttle(key[1] * MEGABYTE)
        return found
