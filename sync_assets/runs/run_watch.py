"""Stop a sync when its run is stopped.

Terminating a run does not signal the process of a step in every launcher and executor (Celery and
the command line among them), so the step asks for its run's status itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg
from dagster import DagsterExecutionInterruptedError

from sync_assets.engine.errors import Cancelled

POLL_SECONDS = 1.0
STOPPING = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)

logger = logging.getLogger(__name__)


@contextmanager
def stopped_with_run(
    instance: dg.DagsterInstance, run_id: str, cancel: Callable[[], None]
) -> Iterator[None]:
    """Call `cancel` once the run is being cancelled, has ended or is gone.

    Then, or if that was so from the beginning, the block ends as if an interrupt had reached this
    process, and Dagster marks the run as canceled instead of failed.
    """
    run = instance.get_run_by_id(run_id)
    if run is None:
        # An asset called directly, in a test or a notebook, has no run to watch.
        yield
        return
    left, stopped = threading.Event(), threading.Event()

    def watch() -> None:
        while not left.wait(POLL_SECONDS):
            if _is_gone_or_over(instance, run_id):
                stopped.set()
                cancel()

    if _is_over(run):
        raise DagsterExecutionInterruptedError
    thread = threading.Thread(target=watch, name="run-watch", daemon=True)
    thread.start()
    try:
        yield
    except Cancelled:
        if not stopped.is_set():
            raise
        raise DagsterExecutionInterruptedError from None
    finally:
        left.set()
        thread.join()


def _is_gone_or_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    try:
        run = instance.get_run_by_id(run_id)
    except Exception:  # noqa: BLE001 (storage that is away for a moment must not stop a sync)
        logger.warning("could not read the status of run %s", run_id)
        return False
    return run is None or _is_over(run)


def _is_over(run: dg.DagsterRun) -> bool:
    return run.is_finished or run.status in STOPPING
