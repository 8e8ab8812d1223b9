"""The sensor that tells people of syncs that failed; `hindrance_sensor` of what does not happen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import dagster as dg

from sync_assets.assets import specs
from sync_assets.automation.alerts import send
from sync_assets.config.automation import Alerts, Checks
from sync_assets.config.model import SyncedTable
from sync_assets.hindrances.telling import NAMED_AT_MOST

FAILURE_SECONDS = 10


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
    ops = {specs.op_of(synced) for synced in tables}
    ops |= {
        specs.check_op(specs.target_key(each), name)
        for name in Checks.model_fields
        for each in tables
    }
    keys = {specs.target_key(synced) for synced in tables}

    @dg.run_failure_sensor(
        name=f"{component}_failures",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=FAILURE_SECONDS,
        description="Tells of syncs and checks that failed.",
    )
    def failures(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        told = list(_step_failures(context, ops))
        concerned = run.asset_selection is None or keys & run.asset_selection
        if not told and concerned and not list(context.get_step_failure_events()):
            told = [context.failure_event.message or "the run failed"]
        if told:
            link = [f"{alerts.ui_url}/runs/{run.run_id}"] if alerts.ui_url else []
            text = "\n".join([*told[:NAMED_AT_MOST], f"Run {run.run_id}", *link])
            send(alerts, os.environ, f"{component}: a sync failed", text)

    return failures


def _step_failures(context: dg.RunFailureSensorContext, ops: set[str]) -> Iterator[str]:
    for event in context.get_step_failure_events():
        if event.step_key not in ops:
            continue
        data = event.step_failure_data
        told = data.user_failure_data.description if data.user_failure_data else None
        said = data.error.message.strip().partition("\n")[0] if data.error else "it failed"
        yield f"{event.step_key}: {told or said}"
