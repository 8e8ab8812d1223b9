"""Sensors that tell people: of syncs that failed, and of tables that got too old."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from time import time as clock

import dagster as dg

from sync_assets.assets import specs
from sync_assets.automation.alerts import send
from sync_assets.automation.change_sensor import last_successes
from sync_assets.config.automation import Alerts, Checks
from sync_assets.config.model import SyncedTable

LOOK_SECONDS, FAILURE_SECONDS = 60, 10
NAMED_AT_MOST = 20


def alert_sensors(
    component: str, tables: Sequence[SyncedTable], alerts: Alerts
) -> list[dg.SensorDefinition]:
    """None where no alert is configured; they run by themselves where one is."""
    if not alerts.webhook and alerts.email is None:
        return []
    dated = [synced for synced in tables if synced.automation.freshness]
    failures = _failure_sensor(component, tables, alerts)
    return [failures, _stale_sensor(component, dated, alerts)] if dated else [failures]


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


def _stale_sensor(
    component: str, tables: Sequence[SyncedTable], alerts: Alerts
) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{component}_stale",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells of tables that were last synced longer ago than their freshness allows.",
    )
    def stale(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now = clock()
        since, before = json.loads(context.cursor) if context.cursor else (now, [])
        old = dict(_too_old(context.instance, tables, since, now))
        news = {name: text for name, text in old.items() if name not in before}
        back = [name for name in before if name not in old]
        if news:
            send(alerts, os.environ, f"{component}: stale data", _listed(news.values()))
        if back:
            told = _listed(f"{name} is in step again." for name in back)
            send(alerts, os.environ, f"{component}: fresh again", told)
        context.update_cursor(json.dumps([since, sorted(old)]))
        return dg.SkipReason(f"{len(old)} of {len(tables)} tables are too old.")

    return stale


def _too_old(
    instance: dg.DagsterInstance, tables: Sequence[SyncedTable], since: float, now: float
) -> Iterator[tuple[str, str]]:
    """Tables beyond their freshness; one that was never synced counts from the first look."""
    successes = last_successes(instance, [specs.target_key(synced) for synced in tables])
    for synced in tables:
        success, allowed = (
            successes.get(specs.target_key(synced)),
            synced.automation.freshness_seconds,
        )
        age = now - (success.at if success else since)
        if allowed is not None and age > allowed:
            name = str(synced.table.target)
            last = f"was last synced {age / 60:,.0f} minutes ago" if success else "was never synced"
            yield name, f"{name} {last}; {allowed / 60:,.0f} are allowed."


def _listed(lines: Iterable[str]) -> str:
    told = list(lines)
    more = [f"… and {len(told) - NAMED_AT_MOST} more"] if len(told) > NAMED_AT_MOST else []
    return "\n".join([*told[:NAMED_AT_MOST], *more])
