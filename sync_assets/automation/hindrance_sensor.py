"""The hindrance sensor: it looks, whatever syncs the tables, for what stands in their way."""

import os
from collections.abc import Iterator, Sequence
from time import time as clock
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from sync_assets.assets import specs
from sync_assets.automation.alert_sensors import tell_what_was_not_sent
from sync_assets.automation.alerts import AlertNotSent, send
from sync_assets.automation.switches import SWITCHED_OFF, switches
from sync_assets.config.automation import Alerts
from sync_assets.config.model import SyncedTable
from sync_assets.engine.names import RelationName
from sync_assets.hindrances.circumstances import look
from sync_assets.hindrances.record import record, recorded
from sync_assets.hindrances.telling import (
    NAMED_AT_MOST,
    Judged,
    Known,
    Place,
    judge,
    lines,
    standing,
)
from sync_assets.plain_text import shown

LOOK_SECONDS = 60
NOTHING = "Nothing is in the way of a sync."

Requester = dg.SensorDefinition | dg.ScheduleDefinition


def hindrance_sensor(
    component: str,
    tables: Sequence[SyncedTable],
    alerts: Alerts,
    requesters: Sequence[Requester],
) -> dg.SensorDefinition:
    """One for a component; `requesters` are its sensor and schedules, which somebody may stop."""
    source, target = tables[0].source_connection, tables[0].target_connection

    @dg.sensor(
        name=f"{component}_hindrances",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={source, target},
        description="Tells what stands in the way of the tables, and when it is over. Syncs nothing.",
    )
    def look_around(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        seen = look(
            getattr(context.resources, source).connection_url(),
            getattr(context.resources, target).connection_url(),
            tables,
            _switched_off(context, requesters, tables),
        )
        before = recorded(context.instance, tables)
        judged = judge(seen, before, now := clock())
        _send(component, alerts, judged)
        record(context.instance, tables, before, judged.memory)
        standing_now = standing(seen, judged.memory, now)
        told = " ".join(lines(standing_now.items(), NAMED_AT_MOST)) or NOTHING
        try:
            tell_what_was_not_sent(context.instance, component, tables, alerts)
        except AlertNotSent as error:
            context.log.warning("%s", error)
        return dg.SensorResult(
            skip_reason=dg.SkipReason(told), asset_events=list(_observations(tables, judged))
        )

    return look_around


def _switched_off(
    context: dg.SensorEvaluationContext,
    requesters: Sequence[Requester],
    tables: Sequence[SyncedTable],
) -> dict[str, list[RelationName]]:
    """What starts by itself, and was stopped by a person, with its tables."""
    origin = context.code_location_origin
    kept = switches(context.instance, origin.location_name if origin else None)
    return {
        each.name: list(_targets(context, each, tables))
        for each in requesters
        if kept.get(each.name) == SWITCHED_OFF and each.default_status.value != SWITCHED_OFF
    }


def _targets(
    context: dg.SensorEvaluationContext, requester: Requester, tables: Sequence[SyncedTable]
) -> Iterator[RelationName]:
    job, repository = requester.job, context.repository_def
    if isinstance(job, UnresolvedAssetJobDefinition) and repository is not None:
        keys = job.selection.resolve(repository.asset_graph)
        yield from (each.table.target for each in tables if specs.target_key(each) in keys)


def _send(component: str, alerts: Alerts, judged: Judged) -> None:
    if not alerts.webhook and alerts.email is None:
        return
    for subject, told in (
        ("something is in the way of a sync", judged.begun),
        ("no longer in the way", judged.over),
    ):
        if told:
            text = "\n".join(lines(told.items(), NAMED_AT_MOST))
            send(alerts, os.environ, f"{component}: {subject}", text)


def _observations(tables: Sequence[SyncedTable], judged: Judged) -> Iterator[dg.AssetObservation]:
    """What is told, on the page of each asset."""
    keys = {str(synced.table.target): specs.target_key(synced) for synced in tables}
    told: list[tuple[Place, Known]] = [*judged.begun.items(), *judged.over.items()]
    for (table, kind, _), known in told:
        metadata: dict[str, Any] = {
            "sync/hindrance": kind,
            "sync/hindrance_what": shown(known.what),
            "sync/hindrance_remedy": shown(known.remedy),
            "sync/hindrance_since": dg.MetadataValue.timestamp(known.since),
        }
        if known.ended is not None:
            metadata["sync/hindrance_ended"] = dg.MetadataValue.timestamp(known.ended)
        yield dg.AssetObservation(keys[table], metadata=metadata)
