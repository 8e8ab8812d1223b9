"""Work that is done ahead of the op it belongs to, in threads of the process that executes the run.

Dagster takes one op after another there, and writes several events for each: meanwhile the servers
could do the next one's work. A context variable reaches the ops of that run alone; an op whose work
has not begun when its turn comes does it by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar

from sync_assets.assets.work import Done
from sync_assets.engine import DataCopyEngine

AHEAD = 4
"""Ops that are done and wait for their turn, at most: were the process killed, nobody told of them."""


class Begun:
    """The work of an op that has begun: its outcome, and what it logs."""

    def __init__(self) -> None:
        self.done: Future[Done] = Future()
        self._engine: DataCopyEngine | None = None
        self._lines: list[str] = []
        self._write: Callable[[str], object] = self._lines.append
        self._lock = threading.Lock()

    @contextmanager
    def watched(self, engine: DataCopyEngine) -> Iterator[None]:
        """Keep the engine, so that it can be cancelled."""
        self._engine = engine
        yield

    def cancel(self) -> None:
        """Cancel what it has under way on the servers."""
        if self._engine is not None:
            self._engine.cancel()

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


Job = Callable[[Begun], Done]
"""Does an op's work."""


class Ahead:
    """The work of a run's ops, `parallel` of them at once; `begun` is what waits for its turn."""

    def __init__(self, jobs: Mapping[str, Job], parallel: int) -> None:
        self._waiting = dict(jobs)
        self.begun: dict[str, Begun] = {}
        self._parallel = parallel
        self._moved = threading.Condition()
        self._over = False

    @contextmanager
    def working(self) -> Iterator[None]:
        """Work while the block lasts; what has not begun by its end never does."""
        threads = [
            threading.Thread(target=self._work, name=f"ahead {number}", daemon=True)
            for number in range(self._parallel)
        ]
        for thread in threads:
            thread.start()
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
            self.cancel()
            for thread in threads:
                thread.join()

    def take(self, op: str) -> Begun | None:
        """The work of an op whose turn has come, once; None where it has to do it by itself."""
        with self._moved:
            self._waiting.pop(op, None)
            self._moved.notify_all()
            return self.begun.pop(op, None)

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
            job, begun = found
            try:
                begun.done.set_result(job(begun))
            except BaseException as error:  # noqa: BLE001 (raised where the result is asked for)
                begun.done.set_exception(error)

    def _next(self) -> tuple[Job, Begun] | None:
        with self._moved:
            self._moved.wait_for(self._may_begin)
            if self._over or not self._waiting:
                return None
            op = next(iter(self._waiting))
            begun = self.begun[op] = Begun()
            return self._waiting.pop(op), begun

    def _may_begin(self) -> bool:
        return self._over or not self._waiting or len(self.begun) < self._parallel + AHEAD


_current: ContextVar[Ahead | None] = ContextVar("sync_assets_ahead", default=None)


def current_ahead() -> Ahead | None:
    """The work that is done ahead in the run that this code is part of."""
    return _current.get()
