"""The listener of a sync that Dagster runs in this process.

Dagster hands an op its resources and configuration, both of which belong to the definitions; a
command that starts a run in its own process wants to hear from the op without changing either. A
context variable reaches exactly the ops run by that call, and is empty in every other process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import SyncError
from sync_assets.engine.progress import Progress
from sync_assets.engine.receipt import Receipt


class Listener:
    """Follows the tables of one run; this one does nothing about it."""

    def started(self, synced: SyncedTable) -> None:
        """An attempt at this table begins."""

    def progressed(self, synced: SyncedTable, progress: Progress) -> None:
        """The engine has moved on; called from the engine's threads, one call at a time."""

    def finished(self, synced: SyncedTable, receipt: Receipt) -> None:
        """The table is in step."""

    def failed(self, synced: SyncedTable, error: SyncError) -> None:
        """The attempt failed; another may follow."""


_current: ContextVar[Listener] = ContextVar("sync_assets_listener", default=Listener())  # noqa: B039


def current_listener() -> Listener:
    """The listener of the run that this code is part of."""
    return _current.get()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let `listener` follow the syncs run inside the block, in this thread."""
    token = _current.set(listener)
    try:
        yield
    finally:
        _current.reset(token)
