"""The change sensor: ask for a run when a source table is not what was synced last."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from sync_assets.assets import specs
from sync_assets.assets.lineage import MARKER, looked_at, observation
from sync_assets.automation.demand import (
    Asked,
    Candidate,
    Success,
    asked_again,
    is_due,
    open_demand,
)
from sync_assets.automation.idle import idle_ops
from sync_assets.automation.shares import Op, Traffic, left_out, part_of, traffic
from sync_assets.config.automation import chosen_and_status
from sync_assets.config.model import SyncedTable
from sync_assets.engine import observe
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.describe import describe
from sync_assets.engine.inspection.observe import Observed
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.hindrances.record import in_the_way
from sync_assets.runs.in_flight import REQUESTED_BY, Part, in_one_process


def change_sensor(
    component: str, ops: Sequence[Op], interval: int, observed: Collection[dg.AssetKey]
) -> dg.SensorDefinition:
    """One sensor for the tables of a component; `interval` in seconds.

    It starts by itself for tables that say `automation: running` and have no schedule of their own.
    """
    watched, running = chosen_and_status(ops, lambda op: _starts(op[0]))
    first, name = watched[0][0], f"{component}_changes"
    connection, target = first.source_connection, first.target_connection
    state = dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name=name,
        target=dg.AssetSelection.assets(*(specs.target_key(each) for op in watched for each in op)),
        minimum_interval_seconds=interval,
        default_status=state,
        required_resource_keys={connection, target},
        description=f"Syncs {sum(map(len, watched))} tables when their source has changed.",
        metadata=left_out([op for op in ops if op[0].automation.schedule is None], watched),
    )
    def changes(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        url = getattr(context.resources, connection).database()
        part = part_of(name, watched, lambda: getattr(context.resources, target).database())
        tick = _Tick(context, part, watched, interval, observed)
        try:
            return tick.evaluate(url)
        except SyncError as error:
            # Nothing is lost: what changes meanwhile still differs from the last success.
            return dg.SkipReason(f"The connection {connection} cannot be asked: {error}")

    return changes


def _starts(synced: SyncedTable) -> bool:
    return synced.automation.running and synced.automation.schedule is None


@dataclass(frozen=True)
class _Memory:
    """What a tick leaves to the next: demands by op, and the last look at a standby."""

    asked: Mapping[str, Asked] = field(default_factory=dict)
    look: Observed | None = None

    @classmethod
    def read(cls, text: str | None) -> "_Memory":
        values = json.loads(text) if text else {}
        asked = {name: Asked(*each) for name, each in values.get("asked", {}).items()}
        look = values.get("look")
        return cls(asked, _look(look) if look else None)

    def written(self) -> str:
        values: dict[str, Any] = {
            "asked": {name: dataclasses.astuple(each) for name, each in self.asked.items()}
        }
        # Only a standby is spared a look; a primary answers all of it with one query.
        if self.look and self.look.position:
            suspected = [str(each) for each in self.look.suspected]
            markers = {str(name): marker for name, marker in self.look.markers.items()}
            values["look"] = [markers, self.look.position, suspected]
        return json.dumps(values)


def _look(values: list[Any]) -> Observed:
    markers, position, suspected = values
    return Observed(
        {RelationName.parse(name): marker for name, marker in markers.items()},
        position,
        frozenset(map(RelationName.parse, suspected)),
    )


@dataclass(frozen=True)
class _Tick:
    """One evaluation of the sensor."""

    context: dg.SensorEvaluationContext
    part: Part
    ops: Sequence[Op]
    interval: float
    observed: Collection[dg.AssetKey]

    def evaluate(self, url: DatabaseOrUrl) -> dg.SensorResult | dg.SkipReason:
        """Ask for runs of all tables that are due and free; raises SyncError."""
        beside = traffic(self.context.instance, self.part, specs.pool(self.ops[0][0]))
        memory, now = _Memory.read(self.context.cursor), time.time()
        look = observe(url, [each.table.source for op in self.ops for each in op], memory.look)
        due: list[tuple[str, tuple[Op, str]]] = []
        doubtful: list[Op] = []
        asked: dict[str, Asked] = {}
        for op, candidates in self._candidates(look):
            name = specs.op_of(op[0])
            demand = open_demand(candidates, memory.asked.get(name))
            # What waits behind a slow table has not been tried yet.
            before = None if name in beside.flying else demand
            if beside.is_free(name) and is_due(candidates, before, self.interval, now):
                demand = asked_again(candidates, demand, now)
                key = f"{name} {demand.times} {demand.seen} {_markers(candidates)}"
                due.append((name, (op, key)))
                if all(each.doubtful for each in candidates.values()):
                    doubtful.append(op)
            if demand:
                asked[name] = demand
        idle = idle_ops(self.context.instance, doubtful, (url, self.part.target_url()))
        for name in idle:
            asked.pop(name)
        due = [(name, each) for name, each in due if name not in idle]
        # A small event for each table that need not be synced: freshness counts from it.
        events = [
            looked_at(specs.target_key(each), last.event, look.markers[each.table.source])
            for op in doubtful
            for each, last in zip(op, idle.get(specs.op_of(op[0]), ()), strict=False)
        ]
        memory = _Memory(asked, look)
        return self._result(url, beside.shares(due), look, beside, memory, events)

    def _candidates(self, look: Observed) -> Iterator[tuple[Op, dict[str, Candidate]]]:
        """Each op whose sources exist, with what is known of its tables."""
        successes = last_successes(
            self.context.instance, [specs.target_key(each) for op in self.ops for each in op]
        )
        for op in self.ops:
            missing = [str(e.table.source) for e in op if e.table.source not in look.markers]
            if missing:
                self.context.log.warning("the source has no table %s", ", ".join(missing))
                continue
            yield (
                op,
                {
                    str(each.table.target): Candidate(
                        look.markers[each.table.source],
                        successes.get(specs.target_key(each)),
                        each.table.source in look.suspected,
                        each.automation.freshness_seconds,
                    )
                    for each in op
                },
            )

    def _result(
        self,
        url: DatabaseOrUrl,
        runs: Sequence[Sequence[tuple[Op, str]]],
        look: Observed,
        beside: Traffic,
        memory: _Memory,
        events: Sequence[dg.AssetMaterialization],
    ) -> dg.SensorResult:
        if not runs:
            waiting = f"{len(memory.asked)} wait for another attempt" if memory.asked else "none"
            reason = f"Source tables that differ from their last sync: {waiting}."
            if beside.flying:
                reason += f" {beside.in_words}"
            every = [each for op in self.ops for each in op]
            reason += in_the_way(self.context.instance, every, look.markers)
            return dg.SensorResult(
                skip_reason=dg.SkipReason(reason), asset_events=events, cursor=memory.written()
            )
        tables = [each for run in runs for op, _ in run for each in op]
        return dg.SensorResult(
            run_requests=[self._request(run) for run in runs],
            asset_events=[*events, *self._observations(url, tables, look)],
            cursor=memory.written(),
        )

    def _request(self, run: Sequence[tuple[Op, str]]) -> dg.RunRequest:
        name, keys = self.part.requester, [key for _, key in run]
        return dg.RunRequest(
            # The same demand made twice, by a daemon that stopped in between, is one run.
            run_key=hashlib.sha256("\n".join([name, *keys]).encode()).hexdigest(),
            asset_selection=[specs.target_key(each) for op, _ in run for each in op],
            run_config=in_one_process(self.context.repository_def),
            tags={REQUESTED_BY: name},
        )

    def _observations(
        self, url: DatabaseOrUrl, tables: Sequence[SyncedTable], look: Observed
    ) -> Iterator[dg.AssetObservation]:
        seen = {specs.source_key(each): each.table.source for each in tables}
        wanted = {key: relation for key, relation in seen.items() if key in self.observed}
        described = describe(url, list(wanted.values()))
        for key, relation in wanted.items():
            yield observation(key, look.markers[relation], described.get(relation))


def _markers(candidates: Mapping[str, Candidate]) -> str:
    return " ".join(each.marker for each in candidates.values())


def last_successes(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]
) -> dict[dg.AssetKey, Success]:
    """The last materialization of each asset that has one, by one query."""
    found = {}
    for record in instance.get_asset_records(keys):
        last = record.asset_entry.last_materialization_record
        if last is None or last.asset_materialization is None:
            continue
        marker = last.asset_materialization.metadata.get(MARKER)
        text = str(marker.value) if marker else None
        key = record.asset_entry.asset_key
        found[key] = Success(last.storage_id, text, last.timestamp)
    return found
