"""Leave idle tables out of a run, and tell Dagster of those whose freshness asks for it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sync_assets.assets import specs
from sync_assets.assets.lineage import looked_at, tells_of
from sync_assets.config.model import SyncedTable
from sync_assets.engine.receipt import Receipt
from sync_assets.launch.instance import opened_instance


def left_out(idle: Sequence[tuple[SyncedTable, Receipt]]) -> set[tuple[str, str]]:
    """Those of the idle tables, by address, of whose last run Dagster knows."""
    keys = {specs.target_key(synced): synced for synced, _ in idle}
    receipts = {specs.target_key(synced): receipt for synced, receipt in idle}
    found: set[tuple[str, str]] = set()
    with opened_instance() as instance:
        # One query; an asset without a materialization has never been shown as synced.
        for record in instance.get_asset_records(list(keys)):
            last, key = record.asset_entry.last_materialization_record, record.asset_entry.asset_key
            if last is None or last.asset_materialization is None:
                continue
            if not tells_of(last.asset_materialization, receipts[key]):
                continue
            freshness = keys[key].automation.freshness_seconds
            if freshness is not None and time.time() - last.timestamp >= freshness / 2:
                instance.report_runless_asset_event(looked_at(key, last.asset_materialization))
            found.add(keys[key].address)
    return found
