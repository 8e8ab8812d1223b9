"""What `run` shows while it works, and what it gathers on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sync_assets.cli.errors import described_error
from sync_assets.cli.output import say
from sync_assets.cli.selection import Address
from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import SyncError
from sync_assets.engine.progress import Progress as Step
from sync_assets.engine.receipt import Receipt
from sync_assets.plain_text import shown
from sync_assets.runs.listener import Listener

SIGN_OF_LIFE_SECONDS = 10.0


class PlainDisplay(Listener):
    """A line when a table begins and ends, and now and then between; gathers the results."""

    def __init__(self, names: Mapping[Address, str]) -> None:
        self.receipts: dict[Address, Receipt] = {}
        self.errors: dict[Address, SyncError] = {}
        self._names = names
        self._said: dict[Address, float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left on the screen."""

    def started(self, synced: SyncedTable) -> None:
        """Say that the table begins, or begins again and why."""
        error = self.errors.pop(synced.address, None)
        self._said[synced.address] = time.monotonic()
        begins = f"trying again after {described_error(error)}" if error else "begins"
        self.say(f"{self._names[synced.address]}: {begins}")

    def progressed(self, synced: SyncedTable, progress: Step) -> None:
        """Give a sign of life."""
        with self._lock:
            now = time.monotonic()
            if now - self._said.get(synced.address, now) < SIGN_OF_LIFE_SECONDS:
                return
            self._said[synced.address] = now
        self.say(f"{self._names[synced.address]}: {described(progress)}")

    def finished(self, synced: SyncedTable, receipt: Receipt) -> None:
        """Keep the receipt."""
        self.receipts[synced.address] = receipt
        seconds = receipt.seconds.get("total", 0.0)
        done = f"done, {receipt.rows_written:,} rows written in {seconds:.1f} s"
        self.say(f"{self._names[synced.address]}: {done}")

    def failed(self, synced: SyncedTable, error: SyncError) -> None:
        """Keep the error; it is told at the end, unless another attempt succeeds."""
        self.errors[synced.address] = error

    def say(self, line: str) -> None:
        """Write one line to stderr."""
        say(line, err=True)


class LiveDisplay(PlainDisplay):
    """One line per table that moves, for a terminal."""

    def __init__(self, names: Mapping[Address, str]) -> None:
        super().__init__(names)
        self._bars = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[Address, TaskID] = {}

    def __enter__(self) -> LiveDisplay:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def started(self, synced: SyncedTable) -> None:
        """Give the table its line."""
        # A name with brackets is no markup.
        label = escape(shown(self._names[synced.address]))
        if synced.address in self._tasks:
            super().started(synced)
        else:
            self._tasks[synced.address] = self._bars.add_task("begins", name=label, total=None)

    def progressed(self, synced: SyncedTable, progress: Step) -> None:
        """Move its bar."""
        self._bars.update(
            self._tasks[synced.address],
            description=described(progress),
            completed=progress.chunks_done,
            total=progress.chunks or None,
        )

    def finished(self, synced: SyncedTable, receipt: Receipt) -> None:
        """Fill its bar."""
        self.receipts[synced.address] = receipt
        self._end(synced, f"[green]{receipt.rows_written:,} rows written")

    def failed(self, synced: SyncedTable, error: SyncError) -> None:
        """Empty its bar."""
        super().failed(synced, error)
        self._end(synced, f"[red]{error.kind}")

    def say(self, line: str) -> None:
        """Write above the bars."""
        self._bars.console.print(shown(line), markup=False, highlight=False)

    def _end(self, synced: SyncedTable, text: str) -> None:
        task = self._tasks[synced.address]
        self._bars.update(task, description=text, total=1, completed=1)
        self._bars.stop_task(task)


def described(progress: Step) -> str:
    """The step in words: `export, 120,000 rows, 3 of 8 chunks`."""
    parts = [
        str(progress.phase),
        f"{progress.rows:,} rows" if progress.rows else "",
        f"{progress.chunks_done} of {progress.chunks} chunks" if progress.chunks else "",
    ]
    return ", ".join(part for part in parts if part)
