"""What a run works with, and what it leaves: its receipt and the state after it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path

from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.progress import Reporter
from sync_assets.engine.snapshot.give_way import MAX_BLOCKING
from sync_assets.engine.table import WorkerConfig

MAX_BATCH_DISK = 2 << 30


@dataclass(frozen=True, slots=True)
class Run:
    """What a run works with besides its table."""

    sessions: Sessions
    report: Reporter
    workers: WorkerConfig
    batch_dir: Path | None = None
    max_batch_disk: int = MAX_BATCH_DISK
    max_blocking: float = MAX_BLOCKING
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
