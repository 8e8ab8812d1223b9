"""Run blocking libpq calls so that an interrupt of this thread reaches the servers.

Python's signal handlers wait while libpq waits, so the work runs in a thread of its own and the
calling thread stays free to be interrupted.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def interruptible(call: Callable[[], Result], cancel: Callable[[], None]) -> Result:
    """Return what `call` returns; if this thread is interrupted, cancel it, wait, and re-raise."""
    context = contextvars.copy_context()
    results: list[Result] = []
    failures: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            results.append(context.run(call))
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits
            failures.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=work, name="sync")
    try:
        try:
            thread.start()
        except RuntimeError as error:
            failures.append(error)
            done.set()
        # Not Thread.join(): interrupted, it takes a thread that still runs for one that has ended.
        done.wait()
    except BaseException:
        try:
            if not done.is_set():
                cancel()
        finally:
            done.wait()
        raise
    if failures:
        raise failures[0]
    return results[0]
