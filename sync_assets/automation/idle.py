"""Tables that a run would find nothing for, and what Dagster is told of them instead."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from sync_assets.assets import specs
from sync_assets.assets.lineage import Told, looked_at, told_of
from sync_assets.automation.shares import Op
from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.idle import idle_among
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.receipt import Receipt

LOOKED_AT_ONCE = 200
"""Tables that one tick looks at before it asks for them: some seconds, of its sixty."""


def idle_ops(
    instance: dg.DagsterInstance, ops: Sequence[Op], urls: tuple[DatabaseOrUrl, DatabaseOrUrl]
) -> dict[str, list[Told]]:
    """The idle ones by name, with the event that told of each table's last run; changes nothing.

    What is too much to look at, or cannot be looked at, is left to a run.
    """
    tables = [each for op in ops for each in op][:LOOKED_AT_ONCE]
    found: Mapping[RelationName, Receipt] = {}
    with contextlib.suppress(SyncError):  # a run will tell
        asked = [each.between_sweeps for each in tables]
        found = idle_among(*urls, asked) if asked else {}
    receipts = {
        specs.target_key(each): found[each.table.target]
        for each in tables
        if each.table.target in found
    }
    told = told_of(instance, receipts)
    keys = {specs.op_of(op[0]): [specs.target_key(each) for each in op] for op in ops}
    return {name: [told[key] for key in of] for name, of in keys.items() if told.keys() >= set(of)}


def keep_fresh(instance: dg.DagsterInstance, idle: Iterator[tuple[SyncedTable, Told]]) -> None:
    """Tell Dagster of those by whose freshness it will soon ask, by one small event each."""
    for synced, last in idle:
        freshness = synced.automation.freshness_seconds
        if freshness is not None and time.time() - last.at >= freshness / 2:
            event = looked_at(specs.target_key(synced), last.event)
            instance.report_runless_asset_event(event)
