"""What a run works with."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from sync_assets.engine.limits import Limits, Throttle
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import Connection
from sync_assets.engine.progress import Reporter
from sync_assets.engine.snapshot.give_way import MAX_BLOCKING
from sync_assets.engine.workers import WorkerConfig

MAX_BATCH_DISK = 2 << 30


@dataclass(frozen=True, slots=True)
class Run:
    """What a run works with besides its table.

    `throttle` keeps the rate of `limits`, for all that reads from the same source in this process.
    """

    sessions: Sessions
    report: Reporter
    workers: WorkerConfig
    batch_dir: Path | None = None
    max_batch_disk: int = MAX_BATCH_DISK
    max_blocking: float = MAX_BLOCKING
    limits: Limits = field(default_factory=Limits)
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    throttle: Throttle | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A run between its snapshot and its end.

    `source` is inside the transaction of the snapshot, `target` holds the locks of the tables;
    `cleanup` undoes at the end what must not be left behind.
    """

    run: Run
    source: Connection
    target: Connection
    cleanup: contextlib.ExitStack
