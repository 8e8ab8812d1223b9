"""The work of many ops as the engine takes it best: small tables travel together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from sync_assets.assets import specs
from sync_assets.assets.ahead import Begun, Job
from sync_assets.assets.metadata import Around
from sync_assets.assets.work import Done, Work, age_of
from sync_assets.engine import observe
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.describe import describe
from sync_assets.engine.inspection.holders import WatermarkAge
from sync_assets.engine.progress import Progress
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.table import Table
from sync_assets.runs.listener import Listener

PORTION = 50
"""Ops whose work is done at once: enough to share what a table costs whatever its size, and so few
that Dagster is not kept waiting for the first."""


def jobs_of(
    works: Sequence[Work], listener: Listener, parallel: int
) -> Iterator[tuple[Sequence[str], Job]]:
    """The works as jobs, each with its ops: those of single tables in portions, a group by itself.

    There are enough of them for `parallel` at once.
    """
    alike: dict[tuple[object, ...], list[Work]] = {}
    for work in works:
        (first, *others) = work.members
        if others or first.table.target in work.rivals:
            yield [specs.op_of(first)], partial(_alone, work, listener)
        else:
            alike.setdefault((work.urls, work.workers), []).append(work)
    for those in alike.values():
        size = min(PORTION, math.ceil(len(those) / parallel))
        for start in range(0, len(those), size):
            portion = those[start : start + size]
            ops = [specs.op_of(work.members[0]) for work in portion]
            yield ops, partial(_each, portion, listener)


def _alone(work: Work, listener: Listener, begun: Mapping[str, Begun]) -> None:
    for each in begun.values():
        each.done.set_result(work.followed(each.log, each.watched, listener))


def _each(portion: Sequence[Work], listener: Listener, begun: Mapping[str, Begun]) -> None:
    """Each has its outcome as soon as that is known; raises SyncError for all that have none."""
    works = {
        str(work.members[0].table.target): work
        for work in portion
        if specs.op_of(work.members[0]) in begun
    }
    if not works:
        return
    first, *_ = works.values()
    source, _ = first.urls
    relations = [work.members[0].table.source for work in works.values()]
    # Seen before the snapshots: what changes later asks for another run.
    markers, described = observe(source, relations).markers, describe(source, relations)
    ages: dict[int, WatermarkAge | None] = {}

    def follow(progress: Progress) -> None:
        listener.progressed(works[progress.table].members[0], progress)

    def ended(table: Table, outcome: Receipt | SyncError) -> None:
        done = begun[specs.op_of(works[str(table.target)].members[0])].done
        if isinstance(outcome, SyncError):
            done.set_exception(outcome)
            return
        if outcome.watermark not in ages:
            ages[outcome.watermark] = age_of(source, outcome.watermark)
        age = ages[outcome.watermark]
        seen = Around(markers.get(table.source), described.get(table.source), age)
        done.set_result(Done([outcome], [seen]))

    engine = first.engine(follow)
    for each in begun.values():
        each.engine = engine
    for work in works.values():
        listener.started(work.members[0])
    engine.sync_each([table for work in works.values() for table in work.tables], ended)
