"""Leave idle tables out of a run, and let Dagster know as much as that run would have told it."""

from __future__ import annotations

from collections.abc import Sequence

from sync_assets.assets import specs
from sync_assets.assets.lineage import told_of
from sync_assets.automation.idle import keep_fresh
from sync_assets.config.model import SyncedTable
from sync_assets.engine.receipt import Receipt
from sync_assets.launch.instance import opened_instance
from sync_assets.runs.in_flight import end_dead_runs


def left_out(idle: Sequence[tuple[SyncedTable, Receipt]]) -> set[tuple[str, str]]:
    """Those of the idle tables, by address, of whose last run Dagster knows.

    Those with a freshness count as looked at. Runs that died are ended: where all tables are idle,
    as after a run that was killed when it had published them, no run does that.
    """
    tables = {specs.target_key(synced): synced for synced, _ in idle}
    with opened_instance() as instance:
        end_dead_runs(instance)
        told = told_of(instance, {specs.target_key(synced): receipt for synced, receipt in idle})
        keep_fresh(instance, ((tables[key], last) for key, last in told.items()))
    return {tables[key].address for key in told}
