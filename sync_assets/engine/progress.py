"""How a run tells its caller where it is."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal[
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
]
"""The steps of one run, in the order in which they begin; export and load overlap."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A step of the run begins, or has moved on: rows and bytes so far, chunks done of all."""

    table: str
    phase: Phase
    rows: int = 0
    bytes: int = 0
    chunks_done: int = 0
    chunks: int = 0


OnProgress = Callable[[Progress], None]
"""Called from the run's threads, one call at a time; an exception raised in it ends the run."""


def ignore_progress(progress: Progress) -> None:
    """Say nothing."""


REPORT_EVERY = 0.1
"""Seconds between reports within one phase."""


@dataclass(slots=True)
class Reporter:
    """Follows one run over its tables: tells the caller, and keeps the time of each part."""

    tables: tuple[str, ...]
    on_progress: OnProgress = ignore_progress
    phase: Phase | None = None
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _last: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _started: float = field(default_factory=time.monotonic)
    _mark: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, phase: Phase) -> None:
        """Say that a step begins."""
        with self._lock:
            self.phase = phase
            for table in self.tables:
                self.on_progress(Progress(table, phase))

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

    def total(self) -> dict[str, float]:
        """Seconds by part, with `total`, to the millisecond."""
        parts = {**self.seconds, "total": time.monotonic() - self._started}
        return {part: round(seconds, 3) for part, seconds in parts.items()}
