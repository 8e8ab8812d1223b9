"""What `run`, `verify` and `compare` show while they work, and what `run` gathers on the way."""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sync_assets.cli.output import say
from sync_assets.cli.selection import Address
from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import SyncError
from sync_assets.engine.progress import Progress as Step
from sync_assets.engine.receipt import Receipt
from sync_assets.plain_text import shown
from sync_assets.runs.listener import Listener
from sync_assets.runs.progress_log import WAIT_SECONDS, duration, in_words

SIGN_OF_LIFE_SECONDS = 5.0
SHOWN_AT_ONCE = 8
"""Tables in work that have a line of their own."""


@dataclasses.dataclass(slots=True)
class _InWork:
    """A table that is worked on: its latest step, and when that phase began."""

    step: Step
    began: float

    @property
    def told(self) -> str:
        """The step in words."""
        return in_words(self.step, time.monotonic() - self.began)


class PlainDisplay(Listener):
    """A line every few seconds while there is work; gathers receipts, and errors to be told at the end."""

    def __init__(self, names: Mapping[Address, str]) -> None:
        self.receipts: dict[Address, Receipt] = {}
        self.errors: dict[Address, SyncError] = {}
        self.began = time.monotonic()
        self.names = names
        self._done: set[Address] = set()
        self._in_work: dict[Address, _InWork] = {}
        self._doing = ""
        self._lock = threading.Lock()
        self._over = threading.Event()

    def __enter__(self) -> PlainDisplay:
        threading.Thread(target=self._go_on, name="display", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def doing(self, what: str) -> None:
        """Say what all of them wait for."""
        self._doing = what

    def begin(self, at: Address) -> None:
        """The table begins, or begins again."""
        with self._lock:
            self.errors.pop(at, None)
            self._in_work[at] = _InWork(Step(self.names[at], "identify"), time.monotonic())

    def move(self, at: Address, step: Step) -> None:
        """The table moves on."""
        with self._lock:
            known = self._in_work.get(at)
            if known is None:
                # Done, while those that travel with it are not.
                return
            if known.step.phase != step.phase:
                known.began = time.monotonic()
            known.step = step

    def end(self, at: Address, error: SyncError | None = None) -> None:
        """The table is done, or has failed: the error is told at the end, unless another attempt succeeds."""
        with self._lock:
            self._in_work.pop(at, None)
            if error is None:
                self._done.add(at)
            else:
                self.errors[at] = error

    def started(self, synced: SyncedTable) -> None:
        """The table begins, or begins again."""
        self.begin(synced.address)

    def progressed(self, synced: SyncedTable, progress: Step) -> None:
        """The table moves on."""
        self.move(synced.address, progress)

    def finished(self, synced: SyncedTable, receipt: Receipt) -> None:
        """Keep the receipt."""
        self.receipts[synced.address] = receipt
        self.end(synced.address)

    def failed(self, synced: SyncedTable, error: SyncError) -> None:
        """Keep the error."""
        self.end(synced.address, error)

    def say(self, line: str) -> None:
        """Write one line to stderr."""
        say(line, err=True)

    @property
    def standing(self) -> str:
        """How far all of them are, in a few words."""
        done, failed = len(self._done), len(self.errors)
        rows = sum(receipt.rows_written for receipt in self.receipts.values())
        left = self._seconds_left()
        parts = (
            f"{done:,} of {len(self.names):,} tables",
            f"{failed:,} failed" if failed else "",
            f"{rows:,} rows written" if rows else "",
            f"about {duration(left)} left" if left else "",
        )
        return ", ".join(filter(None, parts)) if done or failed or self._in_work else self._doing

    def _seconds_left(self) -> float | None:
        # Those that were done at once, for they were idle, say nothing of the others.
        worked = len(self._done) - sum(not receipt.run_id for receipt in self.receipts.values())
        left = len(self.names) - len(self._done) - len(self.errors)
        if not worked or not left:
            return None
        return (time.monotonic() - self.began) / worked * left

    def _go_on(self) -> None:
        again_at = 0.0
        while not self._over.wait(SIGN_OF_LIFE_SECONDS):
            now, waits = time.monotonic(), self._only_waits()
            if not waits or now >= again_at:
                # A wait may last for hours.
                again_at = now + WAIT_SECONDS if waits else 0.0
                self.say(self._line())

    def _only_waits(self) -> bool:
        with self._lock:
            phases = {each.step.phase for each in self._in_work.values()}
        return phases == {"wait"}

    def _line(self) -> str:
        with self._lock:
            works = [f"{self.names[at]}: {each.told}" for at, each in self._in_work.items()]
            more = f" and {len(works) - 1:,} more" if len(works) > 1 else ""
            told = "; ".join((self.standing, *(f"{work}{more}" for work in works[:1])))
        return f"{duration(time.monotonic() - self.began)}: {told}"


class LiveDisplay(PlainDisplay):
    """A bar over all tables and a line for each that is in work, for a terminal."""

    def __init__(self, names: Mapping[Address, str]) -> None:
        super().__init__(names)
        self._bars = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            refresh_per_second=5,
            transient=True,
        )
        self._all = self._bars.add_task("", name="", total=len(names))
        self._tasks: dict[Address, TaskID] = {}

    def __enter__(self) -> LiveDisplay:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def doing(self, what: str) -> None:
        """Show what all of them wait for beside the bar."""
        super().doing(what)
        self._show_all()

    def begin(self, at: Address) -> None:
        """Give the table a line."""
        super().begin(at)
        if len(self._tasks) < SHOWN_AT_ONCE:
            # A name with brackets is no markup.
            label = escape(shown(self.names[at]))
            self._tasks[at] = self._bars.add_task("begins", name=label, total=None)
        self._show_all()

    def move(self, at: Address, step: Step) -> None:
        """Move its bar."""
        super().move(at, step)
        task, known = self._tasks.get(at), self._in_work.get(at)
        if task is not None and known is not None:
            told = escape(known.told)
            total = step.chunks or None
            self._bars.update(task, description=told, completed=step.chunks_done, total=total)

    def end(self, at: Address, error: SyncError | None = None) -> None:
        """Take its line away."""
        super().end(at, error)
        task = self._tasks.pop(at, None)
        if task is not None:
            self._bars.remove_task(task)
        self._show_all()

    def say(self, line: str) -> None:
        """Write above the bars."""
        self._bars.console.print(shown(line), markup=False, highlight=False)

    def _show_all(self) -> None:
        done = len(self._done) + len(self.errors)
        self._bars.update(self._all, description=escape(self.standing), completed=done)


def display(names: Mapping[Address, str]) -> PlainDisplay:
    """What shows work on these tables, where stderr goes."""
    return LiveDisplay(names) if sys.stderr.isatty() else PlainDisplay(names)
