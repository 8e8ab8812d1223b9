"""The sensor that tells people of syncs that failed; `hindrance_sensor` of what does not happen.

Both keep one record of what was told: an error that a run meets and a look finds is told once.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import time as clock

import dagster as dg

from sync_assets.assets import specs
from sync_assets.automation.alerts import AlertNotSent, send
from sync_assets.automation.home import every_op
from sync_assets.config.automation import Alerts, Checks
from sync_assets.config.model import SyncedTable
from sync_assets.hindrances.circumstances import Circumstances, Failure, Failures
from sync_assets.hindrances.record import record, record_failures, recorded
from sync_assets.hindrances.telling import NAMED_AT_MOST, judge, lines
from sync_assets.runs.in_flight import steps_of

FAILURE_SECONDS = 10
SYNC_FAILED, CHECK_FAILED = "a sync failed", "a check failed"
DIED = "RunDied"
"""What stands for an error's kind where a run has ended without one."""

NOT_SENT = "sync/alert_not_sent"
"""The tag on a failed run whose alert nobody took: component and run, for one that is tried again
inherits the tags of the one before it."""


def alert_sensors(
    component: str, tables: Sequence[SyncedTable], alerts: Alerts
) -> list[dg.SensorDefinition]:
    """None where nobody is to be told of failures; it runs by itself where somebody is."""
    if not alerts.tell("failure"):
        return []
    return [_failure_sensor(component, tables, alerts)]


def _failure_sensor(
    component: str, tables: Sequence[SyncedTable], alerts: Alerts
) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name=f"{component}_failures",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=FAILURE_SECONDS,
        description="Tells of syncs and checks that failed.",
    )
    def failures(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        of_tables = _failed(context.instance, tables, run).syncs
        record_failures(context.instance, tables, of_tables)
        try:
            _tell(context.instance, component, tables, alerts, run)
        except AlertNotSent as error:
            if error.reached_nobody:
                # Dagster goes on with the next failure, and does not come back to this one.
                context.instance.add_run_tags(run.run_id, {NOT_SENT: f"{component} {run.run_id}"})
            raise

    return failures


def tell_what_was_not_sent(
    instance: dg.DagsterInstance, component: str, tables: Sequence[SyncedTable], alerts: Alerts
) -> None:
    """Send the alerts that nobody took; raises AlertNotSent at the first that nobody takes now."""
    for _, values in instance.get_run_tags(tag_keys=[NOT_SENT]):
        for value in sorted(values):
            name, _, run_id = value.rpartition(" ")
            run = instance.get_run_by_id(run_id) if name == component else None
            if run is not None and run.tags[NOT_SENT] == value:
                _tell(instance, component, tables, alerts, run)
                instance.add_run_tags(run_id, {NOT_SENT: ""})


def _tell(
    instance: dg.DagsterInstance,
    component: str,
    tables: Sequence[SyncedTable],
    alerts: Alerts,
    run: dg.DagsterRun,
) -> None:
    """Tell of a failed run what of it concerns these tables, and was not told a while ago."""
    failed, before = _failed(instance, tables, run), recorded(instance, tables)
    judged = judge(Circumstances(tables, failures=failed.syncs), before, clock())
    told = [*lines(judged.begun.items()), *failed.run]
    subject = SYNC_FAILED if told else CHECK_FAILED
    told += failed.checks
    if told:
        link = [f"{alerts.ui_url}/runs/{run.run_id}"] if alerts.ui_url else []
        text = "\n".join([*told[:NAMED_AT_MOST], f"Run {run.run_id}", *link])
        send(alerts, os.environ, f"{component}: {subject}", text)
    record(instance, tables, before, judged.memory)


@dataclass(frozen=True, slots=True)
class _Failed:
    """With what a run failed: the tables that it was to sync, and in words checks and the run itself."""

    syncs: Failures
    checks: list[str]
    run: list[str]


def _failed(
    instance: dg.DagsterInstance, tables: Sequence[SyncedTable], run: dg.DagsterRun
) -> _Failed:
    ops, at = every_op(tables, "").ops, _ended(instance, run)
    failed, alone = dict(_step_failures(instance, run, at)), list[str]()
    keys = {specs.target_key(synced) for synced in tables}
    died = _death(instance, run, at)
    if died and (run.asset_selection is None or keys & run.asset_selection):
        left = steps_of(instance, run)
        lost = (left.planned | left.begun.keys()) & ops.keys() - failed.keys()
        failed |= dict.fromkeys(lost, died)
        alone += [] if lost else [died.what]
    checks = {
        specs.check_op(specs.target_key(each), name): f"{each.table.target}: its check {name}"
        for name in Checks.model_fields
        for each in tables
    }
    return _Failed(
        {target: each for step, each in failed.items() for target in ops.get(step, ())},
        [f"{checks[step]}: {each.what}" for step, each in failed.items() if step in checks],
        alone,
    )


def _step_failures(
    instance: dg.DagsterInstance, run: dg.DagsterRun, at: float
) -> Iterator[tuple[str, Failure]]:
    """What each failed step says, in the words that a look finds for the same error."""
    for event in _events(instance, run, dg.DagsterEventType.STEP_FAILURE):
        data = event.step_failure_data
        told = data.user_failure_data
        known = {name: str(each.value) for name, each in told.metadata.items()} if told else {}
        said = (told and told.description) or (data.error.message if data.error else "it failed")
        kind, message = known.get("kind", ""), known.get("message", said)
        what = f"{kind}: {message}" if kind else message.strip().partition("\n")[0]
        yield event.step_key or "", Failure(kind, what, known.get("remedy", ""), at)


def _death(instance: dg.DagsterInstance, run: dg.DagsterRun, at: float) -> Failure | None:
    """What ended a run other than its failed steps."""
    for event in _events(instance, run, dg.DagsterEventType.RUN_FAILURE)[-1:]:
        reason = getattr(event.event_specific_data, "failure_reason", None)
        if reason is None or reason.value != "STEP_FAILURE":
            said = (event.message or "the run failed").strip().partition("\n")[0]
            return Failure(DIED, f"{DIED}: {said}", "Look at the log of the run.", at)
    return None


def _events(
    instance: dg.DagsterInstance, run: dg.DagsterRun, kind: dg.DagsterEventType
) -> list[dg.DagsterEvent]:
    found = instance.all_logs(run.run_id, of_type=kind)
    return [entry.get_dagster_event() for entry in found]


def _ended(instance: dg.DagsterInstance, run: dg.DagsterRun) -> float:
    kept = instance.get_run_record_by_id(run.run_id)
    return (kept and kept.end_time) or clock()
