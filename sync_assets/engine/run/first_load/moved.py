"""What a run has loaded by pieces so far, and what it has read of one."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from sync_assets.engine.export.batches import Batch
from sync_assets.engine.export.copy_piece import Place
from sync_assets.engine.snapshot.snapshot import Snapshot
from sync_assets.engine.state.ledger import Loaded


@dataclass(slots=True)
class Moved:
    """What this run has done: `loaded` counts what other runs have, too, `pieces` its own alone.

    `snapshot_seconds` is the longest that a piece held its snapshot; `place` is where the last scan was.
    """

    loaded: Loaded
    pieces: int = 0
    rows: int = 0
    bytes: int = 0
    workers: int = 0
    snapshot_seconds: float = 0.0
    interrupted: int = 0
    place: Place | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True)
class Read:
    """A piece in batch files; `held` is for how many seconds its snapshot, `seen`, was."""

    began: float | None = None
    held: float = 0.0
    seen: Snapshot | None = None
    batches: list[Batch] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0

    def forget(self) -> None:
        """Begin anew with the rows; the files go with the others."""
        self.batches.clear()
        self.rows = 0
