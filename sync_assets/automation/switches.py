"""Schedules and sensors that a change of the definitions has switched off.

Dagster keeps a switch under two names, the code location's and the schedule's or sensor's: one
that is called otherwise is another one, and off. A switch without its schedule or sensor is
dropped after twelve hours.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from sync_assets.assets import specs
from sync_assets.automation.schedules import PURPOSES
from sync_assets.automation.shares import LEFT_OUT
from sync_assets.engine.check.finding import Finding, Severity
from sync_assets.engine.errors import ConfigurationError
from sync_assets.runs.home import alone_in
from sync_assets.runs.unexported import unexported

logger = logging.getLogger(__name__)

SWITCHED_ON = "RUNNING"
"""How Dagster keeps what a person has started; DECLARED_IN_CODE is what starts by itself."""

SWITCHED_OFF = "STOPPED"
"""How Dagster keeps what a person has stopped."""

Requester = dg.SensorDefinition | dg.ScheduleDefinition

KIN = re.compile(rf"(.+?_(?:{'|'.join(purpose for purpose, *_ in PURPOSES)}))(?:__.+)?")


def switches(instance: dg.DagsterInstance, location: str | None) -> dict[str, str]:
    """How Dagster keeps each switch of a code location, of any where it is None."""
    storage = instance.schedule_storage
    return {
        state.instigator_name: state.status.value
        for state in (storage.all_instigator_state() if storage else ())
        if location in (None, state.origin.location_name)
    }


def switch_on(instance: dg.DagsterInstance, location: str | None, names: Collection[str]) -> None:
    """Start again what a person has stopped, as the UI does."""
    storage = instance.schedule_storage
    for state in storage.all_instigator_state() if storage else ():
        if state.instigator_name in names and location in (None, state.origin.location_name):
            on = state.with_status(type(state.status)(SWITCHED_ON))
            data: Any = on.instigator_data
            if hasattr(data, "start_timestamp"):
                # A schedule: what it has missed is not made up for.
                on = on.with_data(data._replace(start_timestamp=time.time()))
            instance.update_instigator_state(on)


def lost_switches(
    instance: dg.DagsterInstance, location: str, definitions: dg.Definitions
) -> Iterator[Finding]:
    """What is switched on and no longer there, or no longer for all; what is off beside its like."""
    kept = switches(instance, location)
    on = sorted(name for name, how in kept.items() if how == SWITCHED_ON)
    repository = definitions.get_repository_def()
    present = {each.name: each.default_status.value for each in repository.schedule_defs}
    present |= {each.name: each.default_status.value for each in repository.sensor_defs}
    untouched = sorted(
        name
        for name, from_the_start in present.items()
        if name not in kept and from_the_start != SWITCHED_ON
    )
    for name in on:
        if name not in present:
            what = f"{name} is switched on in Dagster and no longer there: nothing runs by it"
            others = f" ({', '.join(untouched)})" if untouched else ""
            yield _finding(what, f"switch on in the UI what stands in its place{others}")
    requesters: list[Requester] = [*repository.schedule_defs, *repository.sensor_defs]
    for each in requesters:
        rest = each.metadata.get(LEFT_OUT)
        if each.name in on and isinstance(rest, dg.JsonMetadataValue):
            tables = ", ".join(map(str, rest.data or ()))
            what = (
                f"{each.name} is switched on in Dagster, and does not sync {tables}: it is for the"
            )
            what += " tables that say automation: running, as soon as one does"
            yield _finding(
                what, "write automation: running at them too, or stopped if that is meant"
            )
    for name in untouched:
        kin = [each for each in on if each in present and _kind(each) == _kind(name)]
        if kin:
            what = f"{name} is off, and was so from the beginning; {', '.join(kin)} is on"
            yield _finding(what, "switch it on in the UI, or on and off if it is to be off")


def _kind(name: str) -> str:
    kin = KIN.fullmatch(name)
    return kin[1] if kin else name


def _finding(what: str, mend: str) -> Finding:
    return Finding(Severity.WARNING, "Dagster", what, mend, check="switches")


def tell_lost_switches(definitions: dg.Definitions) -> None:
    """Warn of them where a code server loads these definitions and knows Dagster's home.

    Beside the load, which neither waits for Dagster's storage nor fails with it.
    """
    try:
        location = loaded_location()
    except ConfigurationError as error:
        # Nothing else needs it.
        logger.error("What a change switches off is not told: %s", error)  # noqa: TRY400 (it is said)
        return
    if location is None or not os.environ.get("DAGSTER_HOME"):
        return

    def tell() -> None:
        try:
            with alone_in(Path(os.environ["DAGSTER_HOME"]).expanduser()):
                opened = dg.DagsterInstance.get()
            with opened as instance:
                for lost in lost_switches(instance, location, definitions):
                    logger.warning("%s: %s", lost.what, lost.mend)
        except Exception:
            logger.debug("Dagster was not asked for its switches", exc_info=True)

    threading.Thread(target=tell, name="lost-switches", daemon=True).start()


def loaded_location() -> str | None:
    """The code location that is being loaded; None in a run, or where nothing serves it."""
    # Dagster's own components ask it; what it exports has no word for it.
    with unexported():
        from dagster._core.definitions.definitions_load_context import (
            DefinitionsLoadContext,
            DefinitionsLoadType,
        )

    context = DefinitionsLoadContext.get()
    first = context.load_type is DefinitionsLoadType.INITIALIZATION
    if not DefinitionsLoadContext.is_set() or not first:
        return None
    # Older releases do not say.
    name: str | None = getattr(context, "code_location_name", None)
    return name or specs.code_location(os.environ)
