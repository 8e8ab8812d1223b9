"""Plan tables as their runs would, for what only looks and leaves both ends as they are."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

from sync_assets.engine.context import Run, Work
from sync_assets.engine.plan.changed_pages import probe_wal
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.plan.planner import plan_tables
from sync_assets.engine.plan.unchanged import SEVERAL
from sync_assets.engine.postgres.session import Connection
from sync_assets.engine.postgres.time_outs import at_most
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.snapshot.give_way import giving_way
from sync_assets.engine.state.state import States
from sync_assets.engine.table import Table

PATIENCE = 1_000
"""Milliseconds; a run waits ten times as long."""


def plans_of(
    run: Run,
    target: Connection,
    tables: Sequence[Table],
    known: States,
    *,
    least: int = SEVERAL,
) -> list[Plan]:
    """The plans of the next runs, on a snapshot that is gone by then; raises SyncError.

    So many tables, at `least`, are asked about all at once. A lock on the source is waited for
    PATIENCE, a summary of the WAL not at all, and the source writes no checkpoint for it.
    """
    looking = [dataclasses.replace(table, blocks_wait=0.0) for table in tables]
    with run.sessions.connected("source") as source:
        with source.cursor() as cursor:
            cursor.execute(f"SELECT {at_most('lock_timeout', PATIENCE, local=False)}")
        outlook = probe_wal(source, looking).without_checkpoint()
        with (
            snapshot.taken(source, looking, run.report.begin) as views,
            giving_way(run.sessions, run.max_blocking),
            contextlib.ExitStack() as nothing_left,
        ):
            work = Work(run, source, target, nothing_left)
            return plan_tables(work, looking, views, known, outlook, least=least)
