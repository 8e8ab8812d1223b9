"""Run blocking libpq calls so that an interrupt of this thread reaches the servers.

Python's signal handlers wait while libpq waits, so the work runs in a thread of its own and the
calling thread stays free to be interrupted.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def interruptible(call: Callable[[], Result], cancel: Callable[[], None]) -> Result:
    """Return what `call` returns; if this thread is interrupted, cancel it, wait, and re-raise."""
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
