"""Forget old runs with their events: Dagster itself keeps every one for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log import SqliteEventLogStorage

AT_ONCE = 20
"""Runs that one call forgets at most: each takes some hundredths of a second."""


def forget_runs(
    instance: dg.DagsterInstance, tags: Mapping[str, str | Sequence[str]], kept: int
) -> int:
    """Delete the oldest finished runs with these tags beyond `kept`; return how many.

    One that holds an asset's last materialization stays: it is what is known of that asset.
    """
    ended = dg.RunsFilter(statuses=list(FINISHED_STATUSES), tags=tags)
    left, forgotten, stays = instance.get_runs_count(ended) - kept, 0, None
    while left > 0 and forgotten < AT_ONCE:
        oldest = instance.get_run_records(
            ended, limit=min(left, AT_ONCE), ascending=True, cursor=stays
        )
        for run in (record.dagster_run for record in oldest):
            if _is_last(instance, run):
                # What comes after it is looked for next: one that is deleted is no place to go on from.
                stays = run.run_id
            else:
                instance.compute_log_manager.delete_logs(prefix=[run.run_id])
                instance.delete_run(run.run_id)
                _remove_file(instance, run.run_id)
                forgotten += 1
        left = left - len(oldest) if oldest else 0
    return forgotten


def _remove_file(instance: dg.DagsterInstance, run_id: str) -> None:
    """Of a home in SQLite, the file that held the run's events."""
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        for ending in ("", "-wal", "-shm"):
            Path(f"{storage.path_for_shard(run_id)}{ending}").unlink(missing_ok=True)


def _is_last(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether an asset was materialized in this run and in none since."""
    records = instance.get_asset_records(list(run.asset_selection or ()))
    last = (record.asset_entry.last_materialization for record in records)
    return any(event is not None and event.run_id == run.run_id for event in last)
