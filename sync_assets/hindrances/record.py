"""What is known to stand in the way of each table, kept beside Dagster's runs, where commands see it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import dagster as dg

from sync_assets.config.model import SyncedTable
from sync_assets.engine.inspection.health import SourceHealth, missing
from sync_assets.engine.names import RelationName
from sync_assets.hindrances.circumstances import Circumstances, Failure, Failures
from sync_assets.hindrances.kinds import KINDS
from sync_assets.hindrances.telling import NAMED_AT_MOST, Known, Memory, Place, lines, standing


def recorded(instance: dg.DagsterInstance, tables: Iterable[SyncedTable]) -> dict[Place, Known]:
    """What the last looks left of these tables."""
    keys = {_key(synced): str(synced.table.target) for synced in tables}
    kinds = {kind.name for kind in KINDS}
    kept = instance.run_storage.get_cursor_values(set(keys))
    return {
        (target, kind, about): Known(*values)
        for key, target in keys.items()
        for kind, about, *values in json.loads(kept.get(key, "[]"))
        if kind in kinds
    }


def record(
    instance: dg.DagsterInstance, tables: Iterable[SyncedTable], before: Memory, now: Memory
) -> None:
    """Keep what a look has left, of the tables where it changed."""
    changed = {
        place[0] for place in before.keys() | now.keys() if before.get(place) != now.get(place)
    }
    texts = {
        _key(synced): json.dumps(
            [
                (*place[1:], *dataclasses.astuple(known))
                for place, known in now.items()
                if place[0] == str(synced.table.target)
            ]
        )
        for synced in tables
        if str(synced.table.target) in changed
    }
    if texts:
        instance.run_storage.set_cursor_values(texts)


def recorded_failures(instance: dg.DagsterInstance, tables: Iterable[SyncedTable]) -> Failures:
    """With what each of these tables failed last, also where it was synced since."""
    keys = {_key(synced, "failure"): synced.table.target for synced in tables}
    kept = instance.run_storage.get_cursor_values(set(keys))
    return {keys[key]: Failure(*json.loads(text)) for key, text in kept.items()}


def record_failures(
    instance: dg.DagsterInstance, tables: Iterable[SyncedTable], failures: Failures
) -> None:
    """Keep with what these of the tables failed."""
    texts = {
        _key(synced, "failure"): json.dumps(dataclasses.astuple(failures[synced.table.target]))
        for synced in tables
        if synced.table.target in failures
    }
    if texts:
        instance.run_storage.set_cursor_values(texts)


def recalled(instance: dg.DagsterInstance, component: str, what: str) -> Any:
    """What was kept of this for a component; None before the first time."""
    key = f"sync_assets {what} {component}"
    return json.loads(instance.run_storage.get_cursor_values({key}).get(key, "null"))


def keep(instance: dg.DagsterInstance, component: str, what: str, value: object) -> None:
    """Keep a value that JSON can hold."""
    text = json.dumps(value, ensure_ascii=False)
    instance.run_storage.set_cursor_values({f"sync_assets {what} {component}": text})


def _key(synced: SyncedTable, what: str = "hindrances") -> str:
    return f"sync_assets {what} {synced.target_connection} {synced.table.target}"


def in_the_way(
    instance: dg.DagsterInstance, tables: Sequence[SyncedTable], there: Collection[RelationName]
) -> str:
    """What a skipped tick says besides: what is known, and which tables are not `there`."""
    gone = [each.table.source for each in tables if each.table.source not in there]
    seen = Circumstances(tables, SourceHealth({name: missing(name) for name in gone}))
    kept = {place: known for place, known in recorded(instance, tables).items() if known.stands}
    told = lines({**standing(seen, {}, 0.0), **kept}.items(), NAMED_AT_MOST)
    return "".join(f" {line}" for line in told)
