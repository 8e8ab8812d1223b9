"""What Dagster's home says that keeps tables from being synced; changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version

import dagster as dg

from sync_assets.assets import specs
from sync_assets.assets.lineage import last_looks
from sync_assets.automation.change_sensor import last_successes
from sync_assets.automation.shares import part_of
from sync_assets.automation.switches import SWITCHED_OFF, SWITCHED_ON, Requester, switches
from sync_assets.config.model import SyncedTable
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.hindrances.circumstances import Failures, Home, Trouble
from sync_assets.hindrances.kinds import FIX, MINUTE, PATIENCE
from sync_assets.hindrances.record import recorded_failures
from sync_assets.runs.in_flight import Part, Unfinished, unfinished
from sync_assets.runs.pools import held_by_ended

WATCHES = "sync/watches"
"""Metadata of a hindrance sensor: the assets that it looks after."""

SIGN_OF_LIFE = 5 * MINUTE
"""Seconds; a daemon gives one every thirty."""

# What Dagster calls its daemons.
SENSOR, SCHEDULER, QUEUE = "SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR"

IN_THE_UI = "Switch it on in the UI"

Targets = frozenset[RelationName]


def every_op(tables: Iterable[SyncedTable], target_url: DatabaseOrUrl) -> Part:
    """The ops of these tables, whoever asks for them."""
    return part_of("", specs.by_op(tables), lambda: target_url)


@dataclass(frozen=True)
class HomeLook:
    """One look at a home, as it concerns these tables, which share their connections."""

    instance: dg.DagsterInstance
    repository: dg.RepositoryDefinition
    location: str | None
    tables: Sequence[SyncedTable]
    part: Part

    def from_within(self) -> Home:
        """What a sensor sees, which proves that the daemon lives."""
        found = [*self._switched_off(), *self._dead(), *self._pools()]
        return Home(found, self._working(), self._looks())

    def from_outside(self) -> Home:
        """What a command sees: also whether anybody looks from within."""
        within = self.from_within()
        seen = *self._unwatched(), *self._daemons(), *self._versions()
        return Home([*within.troubles, *seen], within.working, within.looks)

    def failures(self) -> Failures:
        """With what these tables failed, where no sync has followed."""
        found = recorded_failures(self.instance, self.tables)
        keys = {specs.target_key(each): each.table.target for each in self.tables}
        synced = last_successes(self.instance, [key for key in keys if keys[key] in found])
        later = {keys[key] for key, last in synced.items() if last.at > found[keys[key]].at}
        return {target: failure for target, failure in found.items() if target not in later}

    def off(self) -> Iterator[str]:
        """The names of what starts by itself and was switched off."""
        for each in (*self._requesters, *self._watchers):
            if self._switches.get(each.name) == SWITCHED_OFF and _starts(each):
                yield each.name

    def requested_by(self) -> list[str]:
        """The names of what asks for runs of these tables."""
        return [each.name for each in self._requesters]

    @cached_property
    def _runs(self) -> Sequence[Unfinished]:
        return list(unfinished(self.instance, self.part))

    @cached_property
    def _switches(self) -> Mapping[str, str]:
        return switches(self.instance, self.location)

    @cached_property
    def _requesters(self) -> Mapping[Requester, Targets]:
        """The sensors and schedules that sync these tables."""
        sensors, schedules = self.repository.sensor_defs, self.repository.schedule_defs
        every: list[Requester] = [*sensors, *schedules]
        found = {each: self._among(_synced_by(each, self.repository)) for each in every}
        return {each: targets for each, targets in found.items() if targets}

    @cached_property
    def _watchers(self) -> Mapping[Requester, Targets]:
        """The hindrance sensors that look after these tables."""
        found: dict[Requester, Targets] = {}
        for each in self.repository.sensor_defs:
            watched = each.metadata.get(WATCHES)
            if isinstance(watched, dg.JsonMetadataValue) and isinstance(watched.data, list):
                found[each] = self._among(map(str, watched.data))
        return {each: targets for each, targets in found.items() if targets}

    def _among(self, keys: Iterable[str]) -> Targets:
        named = set(keys)
        found = (each for each in self.tables if specs.target_key(each).to_user_string() in named)
        return frozenset(each.table.target for each in found)

    def _targets_of(self, ops: Iterable[str]) -> Targets:
        return frozenset(target for op in ops for target in self.part.ops.get(op, ()))

    def _switched_off(self) -> Iterator[Trouble]:
        off = set(self.off())
        for each, targets in self._requesters.items():
            if each.name in off:
                what = f"{each.name} is switched off, and the table says automation: running"
                mend = f"{IN_THE_UI}, or write automation: stopped."
                yield Trouble("switched_off", what, mend, targets, each.name, FIX)

    def _unwatched(self) -> Iterator[Trouble]:
        off = set(self.off())
        for each, targets in self._watchers.items():
            if each.name in off:
                what = f"{each.name} is switched off: nobody is told of what stands in the way"
                yield Trouble("unwatched", what, f"{IN_THE_UI}.", targets, each.name, FIX)

    def _dead(self) -> Iterator[Trouble]:
        for each in self._runs:
            if each.death:
                run_id, targets = each.run.run_id, self._targets_of(each.held)
                what = f"run {run_id} is dead and not ended: {each.death}"
                yield Trouble("run_dead", what, "End it as failed.", targets, run_id, FIX)

    def _working(self) -> Targets:
        living = (each for each in self._runs if not each.death)
        return frozenset().union(*(self._targets_of(each.begun) for each in living))

    def _looks(self) -> dict[RelationName, float]:
        asked = {specs.target_key(e): e.table.target for e in self.tables if e.automation.freshness}
        return {asked[key]: at for key, at in last_looks(self.instance, list(asked)).items()}

    def _pools(self) -> Iterator[Trouble]:
        dead = {each.run.run_id for each in self._runs if each.death}
        storage, pools = self.instance.event_log_storage, {specs.pool(each) for each in self.tables}
        for pool in sorted(pools) if storage.supports_global_concurrency_limits else ():
            info = storage.get_concurrency_info(pool)
            taken = f"of its pool {pool} {info.active_slot_count} places are taken"
            larger = f"dagster instance concurrency set {pool} {2 * (info.limit or 1)}"
            full = info.limit is not None and info.active_slot_count >= info.limit
            if info.limit == 0:
                told = f"its pool {pool} lets no step begin", "Give it a limit above 0.", larger
            elif ended := held_by_ended(self.instance, pool, dead):
                told = f"{taken} by runs that have ended: {_listed(ended)}", "Free them.", FIX
            elif full and any(
                _since(each.enqueued_timestamp) > PATIENCE for each in info.pending_steps
            ):
                runs = (
                    f"{taken}, all of them, and steps wait for long: {_listed(info.active_run_ids)}"
                )
                told = runs, "Look at those runs, or give it a larger limit.", larger
            else:
                continue
            what, remedy, command = told
            targets = frozenset(e.table.target for e in self.tables if specs.pool(e) == pool)
            yield Trouble("pool_full", what, remedy, targets, pool, command)

    def _daemons(self) -> Iterator[Trouble]:
        """Those of Dagster's daemons that these tables wait for."""
        awaited = {daemon: set[RelationName]() for daemon in (SENSOR, SCHEDULER, QUEUE)}
        for each, targets in self._requesters.items():
            switch = self._switches.get(each.name)
            if switch == SWITCHED_ON or (_starts(each) and switch != SWITCHED_OFF):
                sensor = isinstance(each, dg.SensorDefinition)
                awaited[SENSOR if sensor else SCHEDULER] |= targets
                awaited[QUEUE] |= targets
        if self.instance.daemon_skip_heartbeats_without_errors:
            return
        heard = self.instance.get_daemon_heartbeats()
        for daemon in self.instance.get_required_daemon_types():
            last = heard[daemon].timestamp if daemon in heard else None
            targets = frozenset(awaited.get(daemon, ()))
            if targets and (last is None or time.time() - last > SIGN_OF_LIFE):
                said = (
                    f"no sign of life since {datetime.fromtimestamp(last, timezone.utc):%Y-%m-%d %H:%M} UTC"
                    if last
                    else "no sign of life yet"
                )
                what = f"Dagster's daemon {daemon} has given {said}"
                mend = "Start it, with this DAGSTER_HOME."
                yield Trouble("daemon_down", what, mend, targets, daemon, "dagster-daemon run")

    def _versions(self) -> Iterator[Trouble]:
        key = {each: looked(each.name) for each in self._watchers}
        kept = self.instance.run_storage.get_cursor_values(set(key.values()))
        for each, targets in self._watchers.items():
            theirs = kept.get(key[each], program())
            if theirs != program():
                what = f"the code server works with {theirs}, and this command with {program()}"
                mend = "Restart what runs the older one: a process keeps what it has loaded."
                yield Trouble("versions_differ", what, mend, targets, each.name)


def program() -> str:
    """What runs here."""
    try:
        ours = version("sync-assets")
    except PackageNotFoundError:
        ours = "(not installed)"
    return f"sync-assets {ours} on Dagster {dg.__version__}"


def looked(sensor: str) -> str:
    """Where a hindrance sensor keeps what runs it."""
    return f"sync_assets looked {sensor}"


def note_program(instance: dg.DagsterInstance, sensor: str) -> None:
    """Let a command see what runs this hindrance sensor."""
    kept = instance.run_storage.get_cursor_values({looked(sensor)})
    if kept.get(looked(sensor)) != program():
        instance.run_storage.set_cursor_values({looked(sensor): program()})


def _starts(requester: Requester) -> bool:
    return bool(requester.default_status.value == SWITCHED_ON)


def _synced_by(requester: Requester, repository: dg.RepositoryDefinition) -> Iterator[str]:
    try:
        selection = getattr(requester.job, "selection", None)
    except dg.DagsterInvalidDefinitionError:
        # It has no job, or several: it is none of ours.
        return
    if isinstance(selection, dg.AssetSelection):
        for key in selection.resolve(repository.asset_graph):
            yield key.to_user_string()


def _since(moment: datetime) -> float:
    return time.time() - moment.timestamp()


def _listed(run_ids: Iterable[str]) -> str:
    return ", ".join(sorted(run_ids))
