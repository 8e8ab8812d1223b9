"""The engine's steps in a run's log: how far, how fast, how long still, and never a flood."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sync_assets.engine.progress import Progress
from sync_assets.plain_text import shown

LOG_SECONDS = 10.0
"""Between two lines about one phase of one table."""

WAIT_SECONDS = 300.0
"""Between two lines about a wait, which may last for hours: a silent run would be taken for dead."""

SHORT = 1.0
"""Seconds of a sync that nobody reads about: each line is an event in Dagster's storage."""

MEGABYTE = 1_000_000


class ProgressLog:
    """Writes each phase of each table once, and then a line now and then while it goes on.

    In a `with` block, nothing of what is over within the first second.
    """

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._began: dict[tuple[str, str], float] = {}
        self._written: dict[tuple[str, str], float] = {}
        self._latest: dict[str, Progress] = {}
        self._awake = True
        self._lock = threading.Lock()
        self._timer = threading.Timer(SHORT, self.wake)
        self._timer.daemon = True

    def __enter__(self) -> ProgressLog:
        self._awake = False
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()

    def wake(self) -> None:
        """Write from now on, beginning with where each table is."""
        with self._lock:
            self._awake, latest = True, tuple(self._latest.values())
        for progress in latest:
            self.follow(progress)

    def follow(self, progress: Progress) -> None:
        """Hear of a step; called from the engine's threads."""
        place, now = (progress.table, progress.phase), self._clock()
        with self._lock:
            began = self._began.setdefault(place, now)
            self._latest[progress.table] = progress
            every = WAIT_SECONDS if progress.phase == "wait" else LOG_SECONDS
            if not self._awake or now - self._written.get(place, -every) < every:
                return
            self._written[place] = now
        self._write(described(progress, now - began))


def described(progress: Progress, seconds: float) -> str:
    """One line: table, phase, and what is known after `seconds` in it."""
    return shown(f"{progress.table}: {in_words(progress, seconds)}")


def in_words(progress: Progress, seconds: float) -> str:
    """The phase, and what is known after `seconds` in it."""
    done = progress.chunks_done / progress.chunks if progress.chunks else 0.0
    own = progress.chunks_done - progress.chunks_before
    left = seconds * (progress.chunks - progress.chunks_done) / own if own > 0 else 0.0
    waiting = progress.phase == "wait" and seconds >= SHORT
    parts = [
        progress.note,
        f"{duration(seconds)} so far" if waiting else "",
        f"{progress.rows:,} rows" if progress.rows else "",
        f"{progress.bytes / MEGABYTE:,.1f} MB" if progress.bytes else "",
        f"{progress.rows / seconds:,.0f} rows/s" if progress.rows and seconds else "",
        f"{done:.0%}" if progress.chunks else "",
        f"about {duration(left)} left" if left else "",
    ]
    told = ", ".join(part for part in parts if part)
    return f"{progress.phase}: {told}" if told else progress.phase


def duration(seconds: float) -> str:
    """A duration as people read it: `3 min 5 s`, its two largest parts."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
