"""Move the pieces of a first load, several at a time."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from sync_assets.engine.context import Run
from sync_assets.engine.export.batches import DiskBudget
from sync_assets.engine.export.copy_piece import is_scanned
from sync_assets.engine.export.pace import in_turn
from sync_assets.engine.postgres.session import Connection, transaction
from sync_assets.engine.postgres.time_outs import at_most
from sync_assets.engine.run.first_load.begin import Load
from sync_assets.engine.run.first_load.moved import Moved
from sync_assets.engine.run.first_load.mover import Mover
from sync_assets.engine.snapshot.give_way import giving_way
from sync_assets.engine.state import ledger
from sync_assets.engine.state.ledger import Loaded
from sync_assets.engine.threads import TaskGroup

AGAIN = 0.5
"""Seconds between two looks at pieces that another process works on."""


def move_pieces(run: Run, load: Load, folder: Path, workers: int) -> Moved:
    """Load all pieces that are left, over so many connections to the source: one that scans is alone.

    There are twice as many to the target, so that one piece is read while another is loaded. Raises
    LeafChanged, and what reading and loading raise; what is loaded stays loaded.
    """
    moved = Moved(_so_far(run, load))
    while moved.loaded.pieces_left:
        _move_all(run, load, folder, workers, moved)
        moved.loaded = _so_far(run, load)
        if moved.loaded.pieces_left:
            # Another process works on them.
            run.sessions.check()
            time.sleep(AGAIN)
    return moved


def move_claimable(run: Run, load: Load, folder: Path, workers: int) -> int:
    """Load all pieces that nobody works on, as `move_pieces` does; return how many it were."""
    moved = Moved(_so_far(run, load))
    _move_all(run, load, folder, workers, moved)
    return moved.pieces


def _so_far(run: Run, load: Load) -> Loaded:
    with run.sessions.connected("target") as target, transaction(target) as cursor:
        return ledger.progress(cursor, load.target)


def _move_all(run: Run, load: Load, folder: Path, workers: int, moved: Moved) -> None:
    """Move all pieces that nobody works on."""
    most = min(workers, moved.loaded.pieces_left)
    moved.workers = max(moved.workers, most)
    sources: queue.SimpleQueue[Connection] = queue.SimpleQueue()
    with contextlib.ExitStack() as held:
        opening = threading.Lock()

        def opened() -> Connection:
            with opening:
                return _bounded(run, held.enter_context(run.sessions.connected("source")))

        # All of them before the watch, which looks after those that it finds.
        scans = any(map(is_scanned, load.plan.view.relation.leaves))
        spare = [opened() for _ in range(min(most, 2) if scans else most)]
        readers = 1 if scans else most
        places = threading.Semaphore(readers)

        @contextlib.contextmanager
        def turn(source: Connection) -> Iterator[None]:
            """While one session scans, another takes its snapshot; a third would come out of turn."""
            with in_turn(places, run.sessions, source, group.stopped):
                while spare:
                    sources.put(spare.pop())
                yield

        for _ in range(readers):
            sources.put(spare.pop())
        targets = [
            held.enter_context(run.sessions.connected("target"))
            for _ in range(min(2 * workers, moved.loaded.pieces_left))
        ]
        held.enter_context(giving_way(run.sessions, run.max_blocking))
        group = held.enter_context(TaskGroup(run.sessions.cancel_statements))
        budget = DiskBudget(run.max_batch_disk)
        for number, target in enumerate(targets):
            mover = Mover(
                run,
                load,
                sources,
                opened,
                turn,
                target,
                folder,
                number,
                moved,
                budget,
                group.stopped,
            )
            group.start(mover.work)


def _bounded(run: Run, source: Connection) -> Connection:
    """A session whose statements end before their snapshot is too old."""
    limit = round(run.limits.max_snapshot_age * 1000)
    with source.cursor() as cursor:
        cursor.execute(f"SELECT {at_most('statement_timeout', limit, local=False)}")
    return source
