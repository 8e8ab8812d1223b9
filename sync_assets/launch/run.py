"""Run syncs through Dagster in this process, as `sync-assets run` does."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from time import time as clock
from typing import Any

import dagster as dg

from sync_assets.assets import specs
from sync_assets.assets.ahead.same_process import parallel_jobs
from sync_assets.config.automation import Checks
from sync_assets.config.folder import Written
from sync_assets.config.model import SyncedTable
from sync_assets.definitions import load_chosen
from sync_assets.engine.errors import Cancelled, SyncError
from sync_assets.engine.threads import in_thread
from sync_assets.hindrances.circumstances import Failure
from sync_assets.hindrances.record import record_failures
from sync_assets.launch.instance import opened_instance
from sync_assets.runs.failures import LAUNCHED_BY
from sync_assets.runs.home import OWN_RUNS, runs_kept
from sync_assets.runs.in_flight import end_dead_runs
from sync_assets.runs.listener import Listener, listening
from sync_assets.runs.process import noted
from sync_assets.runs.retention import forget_runs
from sync_assets.runs.unexported import unexported

REPOSITORY = "__repository__"
"""What Dagster calls the repository of a code location that has but one."""

BY_COMMAND = "cli"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended; `errors`, by address, are those Dagster raised outside of a table's sync."""

    interrupted: bool
    errors: Mapping[tuple[str, str], SyncError]


def run_tables(
    written: Written,
    tables: Sequence[SyncedTable],
    options: Mapping[str, Any],
    listener: Listener,
    parallel: int = 1,
) -> Ended:
    """Materialize `tables` in one run, of which `listener` hears; other tables survive a failure.

    `parallel` of them are worked on at once.
    """
    job = load_chosen(written, tables).resolve_implicit_global_asset_job_def()
    run_id = str(uuid.uuid4())
    with opened_instance() as instance:
        end_dead_runs(instance)
        _name_origin(instance, job.name)
        _capture_nothing(instance)

        def execute() -> dg.ExecuteInProcessResult:
            with listening(listener), parallel_jobs(parallel):
                return job.execute_in_process(
                    instance=instance,
                    asset_selection=[specs.target_key(synced) for synced in tables],
                    run_config=_run_config(tables, options),
                    run_id=run_id,
                    tags=_tags(run_id),
                    raise_on_error=False,
                )

        # In a thread, so that Ctrl-C is ours: Dagster would take it for a failure. A daemon, so that a
        # second one ends the process whatever the thread waits for.
        future = in_thread(execute, "dagster-run", daemon=True)
        try:
            result = future.result()
        except KeyboardInterrupt:
            result = _cancelled(instance, run_id, future)
        kept = runs_kept(os.environ) or (None if os.environ.get("DAGSTER_HOME") else OWN_RUNS)
        if kept:
            forget_runs(instance, {LAUNCHED_BY: BY_COMMAND}, kept)
    interrupted = result.dagster_run.status == dg.DagsterRunStatus.CANCELED
    return Ended(interrupted, {} if interrupted else _errors_outside(result, tables))


def keep_failures(failed: Sequence[tuple[SyncedTable, SyncError]]) -> None:
    """Let other commands know with what tables failed, where no daemon would tell them."""
    at = clock()
    with opened_instance() as instance:
        for synced, error in failed:
            what = Failure(error.kind, f"{error.kind}: {error.message}", error.remedy, at)
            record_failures(instance, [synced], {synced.table.target: what})


def _name_origin(instance: dg.DagsterInstance, job: str) -> None:
    """Let the runs that are made name their code location, where the UI executes them again.

    `execute_in_process` has no word for it: what it calls to make the run does.
    """
    with unexported():
        from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

    location = RegisteredCodeLocationOrigin(specs.code_location(os.environ))
    origin = RemoteRepositoryOrigin(location, REPOSITORY).get_job_origin(job)
    create = partial(instance.create_run_for_job, remote_job_origin=origin)
    instance.create_run_for_job = create  # type: ignore[method-assign]


def _capture_nothing(instance: dg.DagsterInstance) -> None:
    """Leave this process its own standard error, where it shows how far it is.

    Dagster would turn what a run's process prints into files, and ours prints nothing of its own.
    """
    from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager

    instance._compute_log_manager = NoOpComputeLogManager()  # noqa: SLF001


def _cancelled(
    instance: dg.DagsterInstance, run_id: str, future: Future[dg.ExecuteInProcessResult]
) -> dg.ExecuteInProcessResult:
    """Mark the run as being cancelled, which its steps watch for, and wait for its end."""
    while not future.done():
        run = instance.get_run_by_id(run_id)
        # Again and again: the run may not exist yet, or only now be marked as started.
        if run and not run.is_finished and run.status != dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceling(run)
        wait([future], timeout=0.5)
    return future.result()


def _tags(run_id: str) -> dict[str, str]:
    # Whoever was in front of it decides: the daemon would start one that was killed again.
    return {LAUNCHED_BY: BY_COMMAND, "dagster/max_retries": "0", **noted(run_id)}


def _run_config(tables: Sequence[SyncedTable], options: Mapping[str, Any]) -> dict[str, Any]:
    ops = {specs.op_of(synced): {"config": dict(options)} for synced in tables}
    # The console belongs to the command's own output; the run's log is in the instance.
    return {"ops": ops, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def _errors_outside(
    result: dg.ExecuteInProcessResult, tables: Sequence[SyncedTable]
) -> dict[tuple[str, str], SyncError]:
    targets = {specs.op_of(synced): synced.address for synced in tables}
    targets |= {
        specs.check_op(specs.target_key(synced), name): synced.address
        for synced in tables
        for name in Checks.model_fields
    }
    errors: dict[tuple[str, str], SyncError] = {}
    for event in result.filter_events(lambda event: event.is_step_failure):
        address = targets.get(event.step_key or "")
        if address is not None:
            error = event.step_failure_data.error
            cause = (error.cause or error) if error else None
            message = cause.message.strip().partition("\n")[0] if cause else "the step failed"
            errors[address] = SyncError(message, table=address[1])
    return errors


def not_reached(table: SyncedTable) -> Cancelled:
    """What is said of a table that a stopped run did not finish."""
    return Cancelled(
        "the run was stopped before this table was done", table=str(table.table.target)
    )
