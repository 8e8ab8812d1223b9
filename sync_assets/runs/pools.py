"""What holds the places of a pool: runs at work, and runs that have ended without giving theirs back."""

from __future__ import annotations

from collections.abc import Collection

import dagster as dg


def held_by_ended(
    instance: dg.DagsterInstance, pool: str, dead: Collection[str] = ()
) -> frozenset[str]:
    """The runs that hold places of the pool, and have ended or are among the `dead` ones."""
    if not instance.event_log_storage.supports_global_concurrency_limits:
        return frozenset()
    held = instance.event_log_storage.get_concurrency_info(pool).active_run_ids
    return frozenset(run_id for run_id in held if run_id in dead or _has_ended(instance, run_id))


def free_of_ended(instance: dg.DagsterInstance, pool: str) -> None:
    """Give the places of ended runs back."""
    for run_id in held_by_ended(instance, pool):
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def _has_ended(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished
