"""How a run tells its caller where it is."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sync_assets.engine.names import listed

Phase = Literal[
    "wait",
    "identify",
    "lock",
    "snapshot",
    "plan",
    "chunk",
    "export",
    "load",
    "merge",
    "state",
    "commit",
    "clean up",
    "carry",
    "compare",
    "list",
    "repair",
]
"""The steps of one run, in the order in which they begin; export and load overlap. A run that has
nothing to wait for leaves out the first, and `carry` where it has nothing to carry. The last three belong to `verify`, which does without those
of a sync where it makes none."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A step of the run begins, or has moved on: rows and bytes so far, chunks done of all.

    `chunks_before` of those that are done were done by others, whose rows and bytes do not count.
    `note` says what holds it up, in words.
    """

    table: str
    phase: Phase
    rows: int = 0
    bytes: int = 0
    chunks_done: int = 0
    chunks: int = 0
    chunks_before: int = 0
    note: str = ""


OnProgress = Callable[[Progress], None]
"""Called from the run's threads, one call at a time; an exception raised in it ends the run."""


def ignore_progress(progress: Progress) -> None:
    """Say nothing."""


NAMED = 3
"""Tables of a group that an error about all of them names."""

REPORT_EVERY = 0.1
"""Seconds between reports within one phase."""


@dataclass(slots=True)
class Reporter:
    """Follows one run over its tables: tells the caller, and keeps the time of each part.

    One who waits for the source holds `waiting`.
    """

    tables: tuple[str, ...]
    on_progress: OnProgress = ignore_progress
    phase: Phase | None = None
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    waiting: threading.Lock = field(default_factory=threading.Lock)
    _waited_for: dict[str, str] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _started: float = field(default_factory=time.monotonic)
    _mark: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def place(self) -> str:
        """The tables that an error of the run as a whole is about, in few words."""
        return listed(self.tables, NAMED)

    def begin(self, phase: Phase, note: str = "") -> None:
        """Say that a step begins, or still is at what the note says."""
        with self._lock:
            self.phase = phase
            for table in self.tables:
                self.on_progress(Progress(table, phase, note=note))

    def moved(self, progress: Progress) -> None:
        """Say how far a table has come, at most every tenth of a second."""
        with self._lock:
            now = time.monotonic()
            if now - self._last[progress.table] >= REPORT_EVERY:
                self._last[progress.table] = now
                self.on_progress(progress)

    def spent(self, part: str) -> None:
        """Book the time since the last call on a part of the run."""
        now = time.monotonic()
        self.seconds[part] += now - self._mark
        self._mark = now

    def waited(self, seconds: float, why: Mapping[str, str]) -> None:
        """Book seconds of a wait, not on what the time is booked on next, and its reasons by kind."""
        with self._lock:
            self.seconds["wait"] += seconds
            self._mark += seconds
            self._waited_for = {**why, **self._waited_for}

    @property
    def events(self) -> tuple[str, ...]:
        """What the receipt of each table tells of the waits."""
        if not self._waited_for:
            return ()
        return (f"waited {self.seconds['wait']:,.0f} s: {'; '.join(self._waited_for.values())}",)

    def total(self) -> dict[str, float]:
        """Seconds by part, with `total`, to the millisecond."""
        parts = {**self.seconds, "total": time.monotonic() - self._started}
        return {part: round(seconds, 3) for part, seconds in parts.items()}
