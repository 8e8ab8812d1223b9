"""The hindrance sensor: it looks, whatever syncs the tables, for what stands in their way."""

import os
from collections.abc import Iterator, Sequence
from time import time as clock
from typing import Any

import dagster as dg

from sync_assets.assets import specs
from sync_assets.assets.discovery import NewTables
from sync_assets.automation.alert_sensors import tell_what_was_not_sent
from sync_assets.automation.alerts import AlertNotSent, send
from sync_assets.automation.home import WATCHES, HomeLook, every_op, note_program
from sync_assets.config.automation import Alerts
from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import SyncError
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.state.recent import recent
from sync_assets.engine.table import SyncMode
from sync_assets.hindrances.circumstances import look
from sync_assets.hindrances.kinds import KINDS
from sync_assets.hindrances.record import keep, recalled, record, recorded
from sync_assets.hindrances.telling import (
    BEGUN,
    NAMED_AT_MOST,
    OVER,
    Judged,
    Known,
    Place,
    by_text,
    judge,
    lines,
    standing,
)
from sync_assets.plain_text import shown
from sync_assets.runs.home import runs_kept
from sync_assets.runs.in_flight import REQUESTED_BY, Part, end_dead_runs
from sync_assets.runs.retention import forget_runs

LOOK_SECONDS = 60
NOTHING = "Nothing is in the way of a sync."
NEW = "new tables on the source"
CHANGED = "columns changed on the source, and the target followed"
PASSED = "all of a table was read"
RELATIONS = "relations"
"""The name under which those are kept that people know of."""

RECEIPTS = "receipts"
"""The name under which those are kept that people were told of."""

WANTED_AS = {kind.name: kind.alert for kind in KINDS}


def hindrance_sensor(
    component: str,
    tables: Sequence[SyncedTable],
    alerts: Alerts,
    new_tables: NewTables | None = None,
) -> dg.SensorDefinition:
    """One for a component; `new_tables` looks for what the source has only now."""
    source, target = tables[0].source_connection, tables[0].target_connection
    name = f"{component}_hindrances"
    watched = [specs.target_key(synced).to_user_string() for synced in tables]

    @dg.sensor(
        name=name,
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={source, target},
        description="Tells what stands in the way of the tables, and when it is over. Syncs nothing.",
        metadata={WATCHES: dg.MetadataValue.json(watched)},
    )
    def look_around(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        instance, resources = context.instance, context.resources
        source_url = getattr(resources, source).database()
        target_url = getattr(resources, target).database()
        part = every_op(tables, target_url)
        # What waits for a dead run's place in the pool may be started by hand alone.
        end_dead_runs(instance, part)
        home = _home(context, tables, part)
        within = home.from_within(), home.failures()
        seen, now = look(source_url, target_url, tables, *within), clock()
        try:
            tell_what_was_not_sent(instance, component, tables, alerts)
        except AlertNotSent as error:
            context.log.warning("%s", error)
        before = recorded(instance, tables)
        judged = judge(seen, before, now)
        _send(component, alerts, judged)
        record(instance, tables, before, judged.memory)
        kept = runs_kept(os.environ)
        if kept:
            forget_runs(instance, {REQUESTED_BY: home.requested_by()}, kept)
        note_program(instance, name)
        standing_now = standing(seen, judged.memory, now)
        told = " ".join(lines(standing_now.items(), NAMED_AT_MOST)) or NOTHING
        if new_tables and (new := _tell_new(context, component, alerts, new_tables, source_url)):
            told = f"{new} {told}"
        _tell_done(context, component, tables, alerts, target_url)
        return dg.SensorResult(
            skip_reason=dg.SkipReason(told), asset_events=list(_observations(tables, judged))
        )

    return look_around


def _tell_new(
    context: dg.SensorEvaluationContext,
    component: str,
    alerts: Alerts,
    new_tables: NewTables,
    source_url: DatabaseOrUrl,
) -> str:
    """Tell once of what is new, whichever process finds it, and keep what was told."""
    told = recalled(context.instance, _whose(context, component), RELATIONS)
    try:
        news = new_tables(source_url, told)
    except SyncError as error:
        # Of a source that does not answer the look around has told.
        context.log.warning("the source was not asked for new tables: %s", error)
        return ""
    if news.text and alerts.tell("new_table"):
        _send_text(component, alerts, NEW, news.text)
    if told is None or news.relations != set(told):
        keep(context.instance, _whose(context, component), RELATIONS, sorted(news.relations))
    return news.text


def _tell_done(
    context: dg.SensorEvaluationContext,
    component: str,
    tables: Sequence[SyncedTable],
    alerts: Alerts,
    target_url: DatabaseOrUrl,
) -> None:
    """Tell once of what runs have done that people want to hear of; what was done before the first look, not."""
    if not alerts.reach_somebody:
        return
    before = recalled(context.instance, _whose(context, component), RECEIPTS)
    targets = [synced.table.target for synced in tables]
    try:
        found = recent(target_url, targets, before and before["since"])
    except SyncError as error:
        context.log.warning("the target was not asked for its receipts: %s", error)
        return
    told = {*before["told"]} if before else {each.number for each in found.done}
    new = [each for each in found.done if each.number not in told]
    changed = [
        (str(each.target), "; ".join(each.schema_changes)) for each in new if each.schema_changes
    ]
    passes = [
        (str(each.target), f"every row was read: {each.reason}")
        for each in new
        if each.full and each.mode != SyncMode.FULL_SYNC.value
    ]
    if changed and alerts.tell("schema_change"):
        _send_text(component, alerts, CHANGED, "\n".join(by_text(changed, NAMED_AT_MOST)))
    if passes and alerts.tell("full_pass"):
        _send_text(component, alerts, PASSED, "\n".join(by_text(passes, NAMED_AT_MOST)))
    left = [each.number for each in found.done if each.number > found.since]
    now = {"since": found.since, "told": left}
    if now != before:
        keep(context.instance, _whose(context, component), RECEIPTS, now)


def _whose(context: dg.SensorEvaluationContext, component: str) -> str:
    """The component, told apart from those of other code locations that bear its name."""
    return f"{_location(context) or specs.code_location(os.environ)} {component}"


def _location(context: dg.SensorEvaluationContext) -> str | None:
    origin = context.code_location_origin
    return origin.location_name if origin else None


def _home(
    context: dg.SensorEvaluationContext, tables: Sequence[SyncedTable], part: Part
) -> HomeLook:
    repository = context.repository_def
    if repository is None:
        raise AssertionError("a sensor is evaluated with the definitions that it is one of")
    return HomeLook(context.instance, repository, _location(context), tables, part)


def _send(component: str, alerts: Alerts, judged: Judged) -> None:
    for subject, told in ((BEGUN, judged.begun), (OVER, judged.over)):
        wanted = [each for each in told.items() if alerts.tell(WANTED_AS[each[0][1]])]
        if wanted:
            _send_text(component, alerts, subject, "\n".join(lines(wanted, NAMED_AT_MOST)))


def _send_text(component: str, alerts: Alerts, subject: str, text: str) -> None:
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
