"""An engine's error as Dagster's failure, and when the step is tried again."""

from __future__ import annotations

import dagster as dg

from sync_assets.engine.errors import ConcurrentRun, SyncError, TransientError
from sync_assets.plain_text import lines_shown

LAUNCHED_BY = "sync/launched_by"
AUTOMATED = ("dagster/schedule_name", "dagster/sensor_name")

# Not given to the op: Dagster's own policy would also retry a step that was told to stop.
RETRIES = dg.RetryPolicy(
    max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
# Somebody is sitting in front of a command.
RETRIES_OF_COMMAND = dg.RetryPolicy(max_retries=2, delay=1, backoff=dg.Backoff.EXPONENTIAL)


def of_command(run: dg.DagsterRun) -> bool:
    """Whether a `sync-assets run` executes it; executed again from the UI it keeps the tags only."""
    return LAUNCHED_BY in run.tags and run.parent_run_id is None


def failure_of(error: SyncError) -> dg.Failure:
    """Say what the engine said: what, where, and how to mend it."""
    metadata: dict[str, str] = {"kind": error.kind, "message": error.message}
    metadata |= {"remedy": error.remedy} if error.remedy else {}
    metadata |= {"table": error.table} if error.table else {}
    metadata |= {"phase": error.phase} if error.phase else {}
    retryable = isinstance(error, TransientError)
    # A run's log is also written to the terminal that Dagster was started in.
    metadata = {name: lines_shown(text) for name, text in metadata.items()}
    told = lines_shown(f"{error.kind}: {error}")
    return dg.Failure(told, metadata=metadata, allow_retries=retryable)


def may_pass(error: SyncError | None, *, automated: bool = False) -> bool:
    """Whether the same again may succeed.

    A person who starts a sync of a busy table is told at once; a schedule or sensor waits.
    """
    busy = isinstance(error, ConcurrentRun)
    return isinstance(error, TransientError) and (automated or not busy)


def retry_of(
    error: SyncError, run: dg.DagsterRun | None, retries_so_far: int
) -> dg.RetryRequested | None:
    """The next attempt, if there is one.

    What a command has tried in vain it tries once more when its other tables are done.
    """
    tags = run.tags if run else {}
    policy = RETRIES_OF_COMMAND if run and of_command(run) else RETRIES
    automated = any(tag in tags for tag in AUTOMATED)
    if not may_pass(error, automated=automated) or retries_so_far >= policy.max_retries:
        return None
    return dg.RetryRequested(policy.max_retries, policy.calculate_delay(retries_so_far + 1))
