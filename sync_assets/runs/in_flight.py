"""Runs that have not ended: what they hold, and the end of those that nothing proves alive."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.holders import locked_among
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.runs.failures import of_command
from sync_assets.runs.process import is_alive, is_gone, seems_alive

REQUESTED_BY = "sync/requested_by"
"""The tag that names the sensor or schedule a run came from."""

WILL_RETRY = "dagster/will_retry"
"""Dagster's tag on a run that failed and that it will run again by itself."""

UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ENDS = {
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_SKIPPED,
}
TOLD = ENDS | {
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.STEP_START,
}
GONE = "The process of this run is gone."

SILENCE = 600.0
"""Seconds after which a run that says nothing is in doubt: one that waits for its pool tells so
every five minutes, one that moves rows every ten seconds."""

SLOW = 10.0
"""Seconds after which a step is slow enough to let others overtake it, for the price of a process."""

ADAPTABLE = "multi_or_in_process_executor"
IN_PROCESS: Mapping[str, Any] = {"execution": {"config": {"in_process": {}}}}


@dataclass(frozen=True, slots=True)
class Part:
    """What a sensor or schedule asks for: ops with the targets they lock, and where those are."""

    requester: str
    ops: Mapping[str, Collection[RelationName]]
    target_url: Callable[[], DatabaseOrUrl]


@dataclass(frozen=True, slots=True)
class Flight:
    """An op that a run has not ended.

    `behind` where it waits in a run of the same requester for a slow step: then another run may
    be asked for it, and this one leaves it to that.
    """

    run_id: str
    begun: bool
    behind: bool


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A run that has not ended: the ops of a part that it holds, since when it works on which.

    `death` says why it cannot be alive.
    """

    run: dg.DagsterRun
    held: Collection[str]
    begun: Mapping[str, float]
    death: str | None


def unfinished(instance: dg.DagsterInstance, part: Part) -> Iterator[Unfinished]:
    """The runs that have not ended, as they concern this part; changes nothing."""
    # Not filtered by tags: Dagster stores a run and then its tags, and a kill may fall between.
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        steps = steps_of(instance, run)
        held = (steps.planned | steps.begun.keys()) & part.ops.keys()
        death = GONE if is_alive(run) is False else None
        if held and not death:
            vanished = not steps.begun and is_gone(instance, run)
            death = GONE if vanished else _death(instance, run, steps, part)
        yield Unfinished(run, held, steps.begun, death)


def in_flight(instance: dg.DagsterInstance, part: Part) -> dict[str, Flight]:
    """The ops of this part that runs have not ended; runs that are dead are ended on the way."""
    found: dict[str, Flight] = {}
    for each in unfinished(instance, part):
        run, begun = each.run, each.begun
        if each.death and not _ended(instance, run, each.death):
            continue
        slow = any(time.time() - since >= SLOW for since in begun.values())
        overtaken = slow and run.tags.get(REQUESTED_BY) == part.requester
        for op in each.held:
            flight = Flight(run.run_id, op in begun, overtaken and op not in begun)
            if op not in found or found[op].behind:
                found[op] = flight
    return found


def end_dead_runs(instance: dg.DagsterInstance, part: Part | None = None) -> None:
    """End the runs whose process was noted on this host and is gone, and free their slots.

    Of those that hold ops of `part` every run that cannot be alive.
    """
    if part is not None:
        in_flight(instance, part)
        return
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if is_alive(run) is False:
            _ended(instance, run, GONE)


def left_to(
    instance: dg.DagsterInstance, run: dg.DagsterRun, keys: Collection[dg.AssetKey]
) -> dict[dg.AssetKey, str]:
    """The later runs of the same requester that were asked for these assets while they waited here."""
    requester = run.tags.get(REQUESTED_BY)
    last = {
        record.asset_entry.asset_key: record.asset_entry.last_run_id
        for record in (instance.get_asset_records(list(keys)) if requester else ())
    }
    others = {each: instance.get_run_by_id(each) for each in set(last.values()) if each}
    later = {
        each
        for each, other in others.items()
        if other and each != run.run_id and other.tags.get(REQUESTED_BY) == requester
    }
    return {key: each for key, each in last.items() if each in later}


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a run that have not ended: what it is to materialize, and what it began when."""

    planned: frozenset[str]
    begun: Mapping[str, float]


def steps_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Steps:
    """What the run's log says of its steps."""
    planned: set[str] = set()
    begun: dict[str, float] = {}
    for entry in instance.all_logs(run.run_id, of_type=TOLD):
        step = entry.step_key or ""
        if entry.dagster_event_type is dg.DagsterEventType.STEP_START:
            begun[step] = entry.timestamp
        elif entry.dagster_event_type is dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
            planned.add(step)
        else:
            planned.discard(step)
            begun.pop(step, None)
    return Steps(frozenset(planned), begun)


def _death(
    instance: dg.DagsterInstance, run: dg.DagsterRun, steps: Steps, part: Part
) -> str | None:
    """Why a run cannot be alive; None while anything speaks for it."""
    if run.status is dg.DagsterRunStatus.QUEUED or is_alive(run):
        return None
    told = _health(instance, run)
    if told is not None:
        return told or None
    silent = time.time() - _last_word(instance, run)
    # What steps of others do, only they know; and a step may wait in a queue of Celery's.
    if silent < SILENCE or steps.begun.keys() - part.ops.keys() or seems_alive(instance, run):
        return None
    targets = {target for op in steps.begun for target in part.ops[op]}
    try:
        if targets and locked_among(part.target_url(), targets):
            return None
    except SyncError:
        return None
    return (
        f"Nothing was heard of this run for {silent / 60:,.0f} minutes,"
        " and no session of it works on the target."
    )


def _health(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """What the launcher says of the run's worker: why it is dead, '' if it lives, None if unknown."""
    launcher = instance.run_launcher
    started = run.status is dg.DagsterRunStatus.STARTED and not of_command(run)
    if not started or not launcher.supports_check_run_worker_health:
        return None
    if instance.run_monitoring_enabled:
        # Dagster asks by itself, ends the run, or starts another worker.
        return ""
    try:
        result = launcher.check_run_worker_health(run)
    except Exception:  # noqa: BLE001 (a cluster that this process may not ask)
        return None
    status = result.status.value
    if status in ("FAILED", "NOT_FOUND"):
        return f"The worker of this run is gone: {result.msg or status}"
    return "" if status == "RUNNING" else None


def _last_word(instance: dg.DagsterInstance, run: dg.DagsterRun) -> float:
    newest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    if newest:
        return newest[0].event_log_entry.timestamp
    record = instance.get_run_record_by_id(run.run_id)
    return record.create_timestamp.timestamp() if record else time.time()


def _ended(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> bool:
    """End a dead run and free its slots; return whether Dagster runs its like again by itself."""
    now = instance.get_run_by_id(run.run_id)
    if now is not None and not now.is_finished:
        if now.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(now, why)
        else:
            instance.report_run_failed(now, why)
    # Otherwise the pool stays taken, by steps that run and by steps that waited for it.
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    now = instance.get_run_by_id(run.run_id)
    return now is not None and now.tags.get(WILL_RETRY) == "true"


def in_one_process(repository: dg.RepositoryDefinition | None) -> dict[str, Any]:
    """Run configuration that spares a process per table, where the executor leaves the choice.

    Workers already read a table in parallel; a process costs more than a sync that finds little.
    """
    if repository is None:
        return {}
    executor = repository.get_implicit_global_asset_job_def().executor_def
    return dict(IN_PROCESS) if executor.name == ADAPTABLE else {}
