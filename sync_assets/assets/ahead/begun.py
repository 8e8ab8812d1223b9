"""Work that is done ahead of the op it belongs to, in threads of the process that executes the run.

Dagster takes one op after another there, and writes several events for each: meanwhile the servers
could do the next ones' work, which costs less for many tables at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from functools import partial

from sync_assets.assets.work import Done
from sync_assets.engine import DataCopyEngine
from sync_assets.engine.threads import AGAIN, in_thread

AHEAD = 4
"""Ops that wait for their turn, above which no job begins: nobody has told Dagster of them yet."""


class Begun:
    """The work of an op that has begun: its outcome, and what it logs.

    `done` is cancelled where the work is left to the op, if its turn comes at all.
    """

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
    """The work of a run's ops, `parallel` jobs at once, each begun when an op's turn has come.

    `kept` is closed once nothing is left to do: what the jobs share.
    """

    def __init__(
        self,
        jobs: Sequence[tuple[Sequence[str], Job]],
        parallel: int,
        kept: ExitStack | None = None,
    ) -> None:
        self._waiting = list(jobs)
        self._parallel = parallel
        self._kept = kept or ExitStack()
        self._begun: dict[str, Begun] = {}
        self._under_way: list[Mapping[str, Begun]] = []
        self._wanted: str | None = None
        self._threads: list[Future[None]] = []
        self._moved = threading.Condition()
        self._over = False

    @property
    def is_over(self) -> bool:
        """Whether nothing of it works, nor will."""
        return not self._under_way and not self._waiting

    def take(self, op: str) -> Begun | None:
        """The work of an op whose turn has come, begun by now; None the second time, or if unknown."""
        with self._moved:
            if any(op in ops for ops, _ in self._waiting):
                self._wanted = op
                self._start()
                self._moved.wait_for(lambda: op in self._begun or self._over)
            found = self._begun.pop(op, None)
            # There is room for another that waits.
            self._start()
            return found

    def cancel(self) -> None:
        """Begin nothing more, and cancel what runs."""
        with self._moved:
            self._over = True
            self._waiting.clear()
            begun = [each for those in self._under_way for each in those.values()]
            self._moved.notify_all()
        for each in begun:
            each.cancel()

    def end(self) -> None:
        """Cancel it, and wait until nothing of it works on either server."""
        self.cancel()
        while wait(self._threads, AGAIN).not_done:
            # Again: what has only now come to its servers was not there to be cancelled.
            self.cancel()
        self._kept.close()

    def _start(self) -> None:
        self._threads = [each for each in self._threads if not each.done()]
        while len(self._under_way) < self._parallel and (found := self._next()) is not None:
            self._threads.append(in_thread(partial(self._work, found), "ahead", daemon=True))

    def _work(self, found: tuple[Mapping[str, Begun], Job]) -> None:
        after: tuple[Mapping[str, Begun], Job] | None = found
        while after is not None:
            begun, job = after
            try:
                job(begun)
            except BaseException as error:  # noqa: BLE001 (raised where the result is asked for)
                for each in begun.values():
                    if not each.done.done():
                        each.done.set_exception(error)
            with self._moved:
                self._under_way.remove(begun)
                after = self._next()
                last = not self._waiting and not self._under_way
            if last:
                self._kept.close()

    def _next(self) -> tuple[Mapping[str, Begun], Job] | None:
        if not self._waiting or not self._may_begin():
            return None
        places = (place for place, (ops, _) in enumerate(self._waiting) if self._wanted in ops)
        ops, job = self._waiting.pop(next(places, 0))
        self._wanted = None
        begun = {op: Begun() for op in ops}
        self._begun |= begun
        self._under_way.append(begun)
        self._moved.notify_all()
        return begun, job

    def _may_begin(self) -> bool:
        return len(self._begun) < self._parallel + AHEAD or self._wanted is not None
