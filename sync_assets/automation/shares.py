"""What a sensor or schedule may ask for now, and how that is shared out over runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import dagster as dg

from sync_assets.assets import specs
from sync_assets.config.model import SyncedTable
from sync_assets.runs.in_flight import Flight, Part

Op = tuple[SyncedTable, ...]
"""The tables that one op syncs: one, or a snapshot group."""

AT_ONCE = 4
"""So many ops of a component may be under way before others overtake, where its pool has no limit."""

Due = TypeVar("Due")


def part_of(requester: str, ops: Sequence[Op], target_url: Callable[[], str]) -> Part:
    """What a sensor or schedule asks runs for."""
    targets = {specs.op_of(op[0]): [each.table.target for each in op] for op in ops}
    return Part(requester, targets, target_url)


def room(instance: dg.DagsterInstance, pool: str, flying: Mapping[str, Flight]) -> int:
    """How many steps more could begin now: what the pool's limit leaves."""
    info = instance.event_log_storage.get_concurrency_info(pool)
    begun = sum(flight.begun for flight in flying.values())
    limit = AT_ONCE if info.limit is None else info.limit
    return max(limit - max(begun, info.active_slot_count), 0)


def free(ops: Sequence[str], flying: Mapping[str, Flight], places: int) -> set[str]:
    """The ops that a run may be asked for: not in flight, or behind a slow one with room beside it."""
    return {op for op in ops if op not in flying or (flying[op].behind and places)}


def shares(
    due: Sequence[tuple[str, Due]], flying: Mapping[str, Flight], places: int
) -> list[list[Due]]:
    """One run for all that is due, as a process costs more than most syncs.

    A run in one process works step by step. Once some wait behind a slow one, all that is due goes
    into as many runs as the pool has room for, so that the next slow one holds back a part of them,
    and for one interval at most. The pool itself counts steps: more runs than that would wait in it.
    """
    slowed = any(op in flying for op, _ in due)
    count = max(min(places, len(due)), 1) if slowed else 1
    return [[each for _, each in due[start::count]] for start in range(count) if due[start::count]]


def in_words(flying: Mapping[str, Flight]) -> str:
    """What is in flight, for the reason of a tick that asks for nothing."""
    runs = sorted({flight.run_id for flight in flying.values()})
    return f"In flight: {len(flying)}, in run {', '.join(runs)}."
