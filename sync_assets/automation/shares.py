"""What a sensor or schedule may ask for now, and how that is shared out over runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import dagster as dg

from sync_assets.assets import specs
from sync_assets.config.model import SyncedTable
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.runs.in_flight import Flight, Part, in_flight

Op = tuple[SyncedTable, ...]
"""The tables that one op syncs: one, or a snapshot group."""

AT_ONCE = 4
"""So many ops of a component may be under way before others overtake, where its pool has no limit."""

LEFT_OUT = "sync/left_out"
"""Metadata of a sensor or schedule: the tables that it leaves out for those that say `running`."""

Due = TypeVar("Due")


def part_of(requester: str, ops: Sequence[Op], target_url: Callable[[], DatabaseOrUrl]) -> Part:
    """What a sensor or schedule asks runs for."""
    targets = {specs.op_of(op[0]): [each.table.target for each in op] for op in ops}
    return Part(requester, targets, target_url)


def left_out(ops: Sequence[Op], chosen: Sequence[Op]) -> dict[str, list[str]]:
    """The metadata for what is not chosen, and does not say that it is to be stopped."""
    rest = [each for op in ops if op not in chosen for each in op if not each.automation.stopped]
    return {LEFT_OUT: [str(each.table.target) for each in rest]} if rest else {}


@dataclass(frozen=True, slots=True)
class Traffic:
    """The ops of a part that are in flight, and how many steps more could begin beside them."""

    flying: Mapping[str, Flight]
    places: int

    def is_free(self, op: str) -> bool:
        """Whether a run may be asked for it: not in flight, or behind a slow one with room beside it."""
        return op not in self.flying or bool(self.flying[op].behind and self.places)

    def shares(self, due: Sequence[tuple[str, Due]]) -> list[list[Due]]:
        """One run for all that is due, as a process costs more than most syncs.

        A run in one process works step by step. Once some wait behind a slow one, all that is due
        goes into as many runs as the pool has room for, so that the next slow one holds back a part
        of them, and for one interval at most. The pool itself counts steps: more runs than that
        would wait in it.
        """
        slowed = any(op in self.flying for op, _ in due)
        count = max(min(self.places, len(due)), 1) if slowed else 1
        cut = ([each for _, each in due[start::count]] for start in range(count))
        return [share for share in cut if share]

    @property
    def in_words(self) -> str:
        """What is in flight, for the reason of a tick that asks for nothing."""
        runs = sorted({flight.run_id for flight in self.flying.values()})
        return f"In flight: {len(self.flying)}, in run {', '.join(runs)}."


def traffic(instance: dg.DagsterInstance, part: Part, pool: str) -> Traffic:
    """What is in flight of this part now; runs that are dead are ended on the way."""
    flying = in_flight(instance, part)
    if not flying:
        return Traffic(flying, 1)
    info = instance.event_log_storage.get_concurrency_info(pool)
    begun = sum(flight.begun for flight in flying.values())
    limit = AT_ONCE if info.limit is None else info.limit
    return Traffic(flying, max(limit - max(begun, info.active_slot_count), 0))
