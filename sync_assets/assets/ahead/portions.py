"""The work of many ops as the engine takes it best: small tables travel together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from sync_assets.assets.ahead.begun import Begun, Job
from sync_assets.assets.work import Done, Work, age_of, seen_before
from sync_assets.engine import DataCopyEngine
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.holders import WatermarkAge
from sync_assets.engine.limits import Limits
from sync_assets.engine.progress import Progress
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.table import Table
from sync_assets.engine.workers import WorkerConfig
from sync_assets.runs.listener import Listener

PORTION = 50
"""Ops whose work is done at once: enough to share what a table costs whatever its size, and so few
that Dagster is not kept waiting for the first."""


def jobs_of(
    works: Sequence[Work], listener: Listener, parallel: int, kept: ExitStack
) -> Iterator[tuple[Sequence[str], Job]]:
    """The works as jobs, each with its ops: those of single tables in portions, a group by itself.

    They have the same ends. There are enough of them for `parallel` at once, and `kept` closes the
    connections that they share.
    """
    alike: dict[tuple[WorkerConfig, Limits], list[Work]] = {}
    for work in works:
        (first, *others) = work.members
        if others or first.table.target in work.op.rivals:
            yield [work.op.name], partial(_alone, work, listener)
        else:
            alike.setdefault((work.workers, first.limits), []).append(work)
    for those in alike.values():
        by_target = {str(work.members[0].table.target): work for work in those}
        engine = those[0].engine(partial(_follow, by_target, listener))
        kept.enter_context(engine.lending())
        size = min(PORTION, math.ceil(len(those) / parallel))
        for start in range(0, len(those), size):
            portion = those[start : start + size]
            yield [work.op.name for work in portion], partial(_each, portion, engine, listener)


def _alone(work: Work, listener: Listener, begun: Mapping[str, Begun]) -> None:
    for each in begun.values():
        each.done.set_result(work.followed(each.log, each.watched, listener))


def _follow(works: Mapping[str, Work], listener: Listener, progress: Progress) -> None:
    listener.progressed(works[progress.table].members[0], progress)


def _each(
    portion: Sequence[Work], engine: DataCopyEngine, listener: Listener, begun: Mapping[str, Begun]
) -> None:
    """Each has its outcome as soon as that is known; raises SyncError for all that have none."""
    for each in begun.values():
        each.engine = engine
    portion = [work for work in portion if work.op.name in begun]
    for work in portion:
        listener.started(work.members[0])
    relations = [work.members[0].table.source for work in portion]
    seen = engine.ask(partial(seen_before, relations=relations))
    ops = {work.members[0].table.target: work.op.name for work in portion}
    ages: dict[int, WatermarkAge | None] = {}

    def ended(table: Table, outcome: Receipt | SyncError) -> None:
        done = begun[ops[table.target]].done
        if isinstance(outcome, SyncError):
            done.set_exception(outcome)
            return
        mark = outcome.watermark
        if mark not in ages:
            ages[mark] = engine.ask(partial(age_of, watermark=mark))
        done.set_result(Done([outcome], [seen[table.source].aged(ages[mark])]))

    engine.sync_each([table for work in portion for table in work.tables], ended)
