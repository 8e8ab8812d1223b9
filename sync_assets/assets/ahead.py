"""Work that is done ahead of the op it belongs to, in threads of the process that executes the run.

Dagster takes one op after another there, and writes several events for each: meanwhile the servers
could do the next one's work. A context variable reaches the ops of that run alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar

from sync_assets.assets.work import Done
from sync_assets.engine import DataCopyEngine
from sync_assets.engine.threads import AGAIN, in_thread

AHEAD = 4
"""Ops that wait for their turn, above which no job begins: nobody has told Dagster of them yet."""


class Begun:
    """The work of an op that has begun: its outcome, and what it logs."""

    def __init__(self) -> None:
        self.done: Future[Done] = Future()
        self.engine: DataCopyEngine | None = None
        self._lines: list[str] = []
        self._write: Callable[[str], object] = self._lines.append
        self._lock = threading.Lock()

    @contextmanager
    def watched(self, engine: DataCopyEngine) -> Iterator[None]:
        """Keep the engine, so that it can be cancelled."""
        self.engine = engine
        yield

    def cancel(self) -> None:
        """Cancel what it has under way on the servers."""
        if self.engine is not None:
            self.engine.cancel()

    def log(self, line: str) -> None:
        """Log a line, once there is an op whose log it belongs to."""
        with self._lock:
            self._write(line)

    def log_into(self, write: Callable[[str], object]) -> None:
        """Log from now on here, beginning with what was logged so far."""
        with self._lock:
            for line in self._lines:
                write(line)
            self._write = write


Job = Callable[[Mapping[str, Begun]], None]
"""Does the work of some ops, by their names, and lets each have its outcome."""


class Ahead:
    """The work of a run's ops, `parallel` jobs at once; `begun` is what waits for its op's turn."""

    def __init__(self, jobs: Sequence[tuple[Sequence[str], Job]], parallel: int) -> None:
        self._waiting = list(jobs)
        self.begun: dict[str, Begun] = {}
        self._parallel = parallel
        self._wanted: str | None = None
        self._threads: list[Future[None]] = []
        self._moved = threading.Condition()
        self._over = False

    @contextmanager
    def working(self) -> Iterator[None]:
        """Work from the first op's turn to the end of the block; what waits then never begins."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
            self.cancel()
            while wait(self._threads, AGAIN).not_done:
                # Again: what has only now come to its servers was not there to be cancelled.
                self.cancel()

    def take(self, op: str) -> Begun | None:
        """The work of an op whose turn has come, begun by now; None the second time, or if unknown."""
        with self._moved:
            if any(op in ops for ops, _ in self._waiting):
                self._wanted = op
                self._start()
                self._moved.notify_all()
                self._moved.wait_for(lambda: op in self.begun or self._over)
            found = self.begun.pop(op, None)
            self._moved.notify_all()
            return found

    def _start(self) -> None:
        if not self._threads:
            self._threads = [
                in_thread(self._work, f"ahead {number}", daemon=True)
                for number in range(self._parallel)
            ]

    def cancel(self) -> None:
        """Begin nothing more, and cancel what runs."""
        with self._moved:
            self._over = True
            begun = tuple(self.begun.values())
            self._moved.notify_all()
        for each in begun:
            each.cancel()

    def _work(self) -> None:
        while (found := self._next()) is not None:
            begun, job = found
            try:
                job(begun)
            except BaseException as error:  # noqa: BLE001 (raised where the result is asked for)
                for each in begun.values():
                    if not each.done.done():
                        each.done.set_exception(error)

    def _next(self) -> tuple[Mapping[str, Begun], Job] | None:
        with self._moved:
            self._moved.wait_for(self._may_begin)
            if self._over or not self._waiting:
                return None
            places = (place for place, (ops, _) in enumerate(self._waiting) if self._wanted in ops)
            ops, job = self._waiting.pop(next(places, 0))
            self._wanted = None
            begun = {op: Begun() for op in ops}
            self.begun |= begun
            self._moved.notify_all()
            return begun, job

    def _may_begin(self) -> bool:
        few = len(self.begun) < self._parallel + AHEAD
        return self._over or not self._waiting or few or self._wanted is not None


_current: ContextVar[Ahead | None] = ContextVar("sync_assets_ahead", default=None)


def current_ahead() -> Ahead | None:
    """The work that is done ahead in the run that this code is part of."""
    return _current.get()
