"""How a result, an error and an interrupt cross from one thread to another.

What a thread returns or raises is in its Future, and threads that work together are a TaskGroup.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TypeVar

Result = TypeVar("Result")

AGAIN = 0.5
"""Seconds between two cancels: one that finds no statement running has no effect."""


def in_thread(work: Callable[[], Result], name: str, *, daemon: bool = False) -> Future[Result]:
    """Start `work` in a thread of its own, which a `daemon` process does not wait for at its end."""
    future: Future[Result] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            result = context.run(work)
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name=name, daemon=daemon).start()
    return future


def interruptible(call: Callable[[], Result], cancel: Callable[[], None]) -> Result:
    """Return what `call` returns; if this thread is interrupted, cancel it, wait, and re-raise.

    Python's signal handlers wait while libpq waits, so the work runs in a thread of its own and the
    calling thread stays free to be interrupted.
    """
    context = contextvars.copy_context()
    future: Future[Result] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="sync") as pool:
        try:
            future = pool.submit(context.run, call)
            return future.result()
        except BaseException:
            if future is None or not future.done():
                cancel()
            raise


class TaskGroup:
    """Threads that end with a block, as the tasks of an `asyncio.TaskGroup` do.

    The first error, of a thread or in the block, sets `stopped` and calls `cancel`, which is called
    until all threads have ended; that error is the one raised. An interrupt of the block passes.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.stopped = threading.Event()
        self._cancel = cancel
        self._tasks: list[Future[None]] = []
        self._errors: list[BaseException] = []

    def start(self, work: Callable[[], None]) -> Future[None]:
        """Do `work` in a thread of the group."""

        def task() -> None:
            try:
                work()
            except BaseException as error:
                # Before its Future is done, so that whoever waits for that finds the error.
                self.fail(error)
                raise

        self._tasks.append(in_thread(task, "task"))
        return self._tasks[-1]

    def fail(self, error: BaseException) -> None:
        """End the group; `error` is what it raises if nothing has failed before."""
        self._errors.append(error)
        self.stopped.set()
        self._cancel()

    def __enter__(self) -> TaskGroup:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.fail(error)
        while wait(self._tasks, AGAIN).not_done:
            if self.stopped.is_set():
                self._cancel()
        interrupted = error is not None and not isinstance(error, Exception)
        if self._errors and self._errors[0] is not error and not interrupted:
            first = self._errors[0]
            context = first.__context__
            try:
                raise first
            finally:
                # Not the block's own error, which this one has set off: its text may carry values.
                first.__context__ = context
