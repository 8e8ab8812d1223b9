"""The sensor that tells people of syncs that failed; `hindrance_sensor` of what does not happen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import dagster as dg

from sync_assets.assets import specs
from sync_assets.automation.alerts import AlertNotSent, send
from sync_assets.config.automation import Alerts, Checks
from sync_assets.config.model import SyncedTable
from sync_assets.hindrances.telling import NAMED_AT_MOST

FAILURE_SECONDS = 10
NOT_SENT = "sync/alert_not_sent"
"""The tag on a failed run whose alert nobody took: component and run, for one that is tried again
inherits the tags of the one before it."""


def alert_sensors(
    component: str, tables: Sequence[SyncedTable], alerts: Alerts
) -> list[dg.SensorDefinition]:
    """None where no alert is configured; it runs by itself where one is."""
    if not alerts.webhook and alerts.email is None:
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
    """Tell of a failed run what of it concerns these tables."""
    failed = _events(instance, run, dg.DagsterEventType.STEP_FAILURE)
    told = list(_step_failures(failed, _ops(tables)))
    keys = {specs.target_key(synced) for synced in tables}
    concerned = run.asset_selection is None or keys & run.asset_selection
    if not told and concerned and not failed:
        ends = _events(instance, run, dg.DagsterEventType.RUN_FAILURE)
        told = [(ends[-1].message if ends else None) or "the run failed"]
    if told:
        link = [f"{alerts.ui_url}/runs/{run.run_id}"] if alerts.ui_url else []
        text = "\n".join([*told[:NAMED_AT_MOST], f"Run {run.run_id}", *link])
        send(alerts, os.environ, f"{component}: a sync failed", text)


def _events(
    instance: dg.DagsterInstance, run: dg.DagsterRun, kind: dg.DagsterEventType
) -> list[dg.DagsterEvent]:
    found = instance.all_logs(run.run_id, of_type=kind)
    return [entry.get_dagster_event() for entry in found]


def _ops(tables: Sequence[SyncedTable]) -> set[str]:
    checks = {
        specs.check_op(specs.target_key(each), name)
        for name in Checks.model_fields
        for each in tables
    }
    return checks | {specs.op_of(synced) for synced in tables}


def _step_failures(events: Sequence[dg.DagsterEvent], ops: set[str]) -> Iterator[str]:
    for event in events:
        if event.step_key not in ops:
            continue
        data = event.step_failure_data
        told = data.user_failure_data.description if data.user_failure_data else None
        said = data.error.message.strip().partition("\n")[0] if data.error else "it failed"
        yield f"{event.step_key}: {told or said}"
