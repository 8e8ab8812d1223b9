"""What strikes a run of the torture, beside the faults of the matrix, and how it is told."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psycopg2

from sync_assets.engine import DataCopyEngine, Receipt, SyncError, TransientError, WorkerConfig
from sync_assets.engine.errors import Cancelled, OutOfSpace
from sync_assets.engine.progress import Progress
from sync_assets.engine.table import Table
from sync_assets_tests.fixtures.pair import Pair, execute
from sync_assets_tests.scenarios.faults import faults
from sync_assets_tests.scenarios.faults.faults import MANY_WORKERS, PATIENCE, PROCESSES, STEPS, Ends
from sync_assets_tests.scenarios.storms.storm import SETBACKS
from sync_assets_tests.scenarios.storms.torture_tables import (
    ATTACH,
    DETACH,
    FILL,
    MIDDLE,
    PARTED,
    SWAP,
    Subject,
)

Moment = str | float
"""A step of the run, or seconds after its begin."""

FAILED = 3
"""Exit code of a process whose run failed before it was struck."""

REFUSALS = (*SETBACKS, psycopg2.errors.UndefinedTable)
"""What a server says to a change that comes at the wrong moment: then nothing has struck."""


@dataclass
class Attempt:
    """One run of a table, what strikes it and when, and what came of it."""

    ends: Ends
    subject: Subject
    chance: random.Random
    fault: Fault | None = None
    moment: Moment = ""
    struck: bool = False
    receipts: list[Receipt] = field(default_factory=list)
    errors: list[SyncError] = field(default_factory=list)
    _began: threading.Event = field(default_factory=threading.Event)
    _hit: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)
    _failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = new_engine(self.ends.through, self.ends.batch_dir, self._heard, self.chance)

    def __str__(self) -> str:
        fault = f"{self.fault.name} at {self.moment}" if self.fault else "no fault"
        missed = "" if self.struck or not self.fault else " (missed)"
        said = [*(repr(error) for error in self.errors), *map(_worded, self.receipts)]
        return f"{self.subject.name}, {fault}{missed}: {'; '.join(said) or 'killed'}"

    def run(self) -> None:
        """Run to whatever end; raises what is not a SyncError, and what the fault did not expect."""
        if self.fault is not None and self.fault.ends_process:
            self._run_elsewhere(self.fault.ends_process)
            return
        striker = threading.Thread(target=self._strike)
        striker.start()
        try:
            self.sync()
        finally:
            self._over.set()
            self._began.set()
            striker.join()
        if self._failures:
            raise self._failures[0]

    def sync(self, engine: DataCopyEngine | None = None) -> None:
        """One run in this process; keep its receipt or its error."""
        try:
            self.receipts.append((engine or self.engine).sync(self.subject.table))
        except SyncError as error:
            self.errors.append(error)

    def lasts(self, seconds: float) -> None:
        """Wait for so long, at most until the run is over."""
        self._over.wait(seconds)

    def _heard(self, progress: Progress) -> None:
        if progress.phase == self.moment and not self._began.is_set():
            self._began.set()
            self._hit.wait(0.3)

    def _strike(self) -> None:
        if self.fault is None or self.fault.strike is None:
            return
        if isinstance(self.moment, float):
            self._over.wait(self.moment)
        else:
            self._began.wait()
        try:
            if not self._over.is_set():
                self.fault.strike(self)
                self.struck = True
        except REFUSALS:
            pass
        except BaseException as error:  # noqa: BLE001 - raised where the run is waited for
            self._failures.append(error)
        finally:
            self._hit.set()

    def _run_elsewhere(self, how: signal.Signals) -> None:
        """In a process of its own, which signals itself at a step, or is signalled by us."""
        pair = self.ends.through
        step = self.moment if isinstance(self.moment, str) else ""
        seed = self.chance.random()
        arguments = (pair, self.ends.batch_dir, self.subject.table, step, how, seed)
        process = PROCESSES.Process(target=_run_and_die, args=arguments)
        process.start()
        if isinstance(self.moment, float):
            process.join(self.moment)
            if process.exitcode is None and process.pid is not None:
                os.kill(process.pid, how)
        process.join(60)
        assert process.exitcode is not None, f"{self}: a process does not end"
        self.struck = process.exitcode not in (0, FAILED)


@dataclass(frozen=True)
class Fault:
    """One kind of fault: how often it is drawn, what it does, and which errors it may bring.

    What a run that outlived it has left is `compared`, unless the fault is on the target itself.
    """

    name: str
    weight: float
    strike: Callable[[Attempt], None] | None = None
    brings: tuple[type[SyncError], ...] = (TransientError,)
    compared: bool = True
    ends_process: signal.Signals | None = None
    only: str | None = None


def new_engine(
    pair: Pair, folder: Path, on_progress: Callable[[Progress], None], chance: random.Random
) -> DataCopyEngine:
    """An engine with few or many workers."""
    workers = WorkerConfig(
        default_workers=chance.choice((1, 2, 3)),
        min_workers=1,
        batch_size=chance.choice((50, 1000)),
    )
    return DataCopyEngine(
        pair.source_url, pair.target_url, batch_dir=folder, on_progress=on_progress, workers=workers
    )


def _worded(receipt: Receipt) -> str:
    left_out = {"columns", "source", "target"}
    return str({name: value for name, value in receipt.as_dict().items() if name not in left_out})


def _run_and_die(
    pair: Pair, folder: Path, table: Table, step: str, how: signal.Signals, seed: float
) -> None:
    def die(progress: Progress) -> None:
        if progress.phase == step:
            os.kill(os.getpid(), how)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    # Whoever reads the test's output is not told of what was meant to happen.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        with MANY_WORKERS():
            new_engine(pair, folder, die, random.Random(seed)).sync(table)
    except SyncError:
        sys.exit(FAILED)


PROCESSES.set_forkserver_preload([faults.__name__, __name__])

Side = Literal["source", "target"]


def _url(attempt: Attempt, side: Side) -> str:
    pair = attempt.ends.direct
    return pair.source_url if side == "source" else pair.target_url


def _of_the_matrix(name: str) -> Callable[[Attempt], None]:
    return lambda attempt: faults.FAULTS[name](attempt.ends)


def _stalled_then_cut(side: Side) -> Callable[[Attempt], None]:
    def strike(attempt: Attempt) -> None:
        proxy = attempt.ends.source_proxy if side == "source" else attempt.ends.target_proxy

        proxy.stall(PATIENCE)
        attempt.lasts(PATIENCE / 2)
        proxy.cut()

    return strike


def _change(side: Side, *choices: str) -> Callable[[Attempt], None]:
    """Execute one of several changes of the table."""

    def strike(attempt: Attempt) -> None:
        chosen = attempt.chance.choice(choices).format(
            t=attempt.subject.name, k=attempt.chance.randrange(3), n=attempt.chance.randrange(9)
        )
        execute(_url(attempt, side), "SET lock_timeout = '1500ms'", chosen)

    return strike


def _move_partition(attempt: Attempt) -> None:
    source = attempt.ends.direct.source_url
    attached = f"SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass('{MIDDLE}')"
    patience = "SET lock_timeout = '1500ms'"
    if execute(source, attached):
        execute(source, patience, attempt.chance.choice((DETACH, SWAP)))
        return
    try:
        execute(source, patience, ATTACH)
    except psycopg2.errors.DatatypeMismatch:
        # Meanwhile the others have gained a column.
        execute(source, patience, SWAP)


def _second_run(attempt: Attempt) -> None:
    pair = attempt.ends.through
    engine = new_engine(pair, attempt.ends.batch_dir, lambda _: None, attempt.chance)
    attempt.sync(engine)


def _cancelled(attempt: Attempt) -> None:
    attempt.engine.cancel()


SERVERS = 1 / 15
"""The share of the faults that take a whole server down, which costs a second or two."""

_ADD = (
    "ALTER TABLE {t} ADD COLUMN IF NOT EXISTS extra_{k} integer DEFAULT {n}",
    "ALTER TABLE {t} ADD COLUMN IF NOT EXISTS extra_{k} text",
    "ALTER TABLE {t} ADD COLUMN IF NOT EXISTS extra_{k} float DEFAULT random()",
)

ALL = (
    Fault("our SIGKILL", 3, ends_process=signal.SIGKILL),
    Fault("our SIGTERM", 3, ends_process=signal.SIGTERM),
    Fault("source cut", 2, _of_the_matrix("source cut")),
    Fault("target cut", 2, _of_the_matrix("target cut")),
    Fault("source sessions terminated", 2, _of_the_matrix("source sessions terminated")),
    Fault("target sessions terminated", 2, _of_the_matrix("target sessions terminated")),
    Fault("source stalled, then cut", 1, _stalled_then_cut("source")),
    Fault("target stalled, then cut", 1, _stalled_then_cut("target")),
    Fault("source half-open", 0.5, _of_the_matrix("source half-open")),
    Fault("target half-open", 0.5, _of_the_matrix("target half-open")),
    Fault("source statements cancelled", 2, _of_the_matrix("source statements cancelled")),
    Fault("target statements cancelled", 2, _of_the_matrix("target statements cancelled")),
    Fault("our run cancelled", 1, _cancelled, (Cancelled,)),
    Fault("disk of batch files full", 2, _of_the_matrix("disk of batch files full"), (OutOfSpace,)),
    Fault("a second run", 2, _second_run),
    Fault("source truncated", 1, _change("source", "TRUNCATE {t}; " + FILL, "TRUNCATE {t}")),
    Fault(
        "source rewritten", 1, _change("source", "ALTER TABLE {t} ALTER n TYPE integer USING n + 1")
    ),
    Fault("source column added", 1, _change("source", *_ADD)),
    Fault(
        "source column dropped",
        1,
        _change("source", "ALTER TABLE {t} DROP COLUMN IF EXISTS extra_{k}"),
    ),
    Fault("source VACUUM FULL", 1, _change("source", "VACUUM FULL {t}")),
    Fault("source partition moved", 3, _move_partition, only=PARTED.name),
    Fault("target truncated", 1, _change("target", "TRUNCATE {t}"), compared=False),
    Fault("target rewritten", 0.5, _change("target", "VACUUM FULL {t}"), compared=False),
    Fault("target dropped", 1, _change("target", "DROP TABLE IF EXISTS {t}"), compared=False),
)


def _down(name: str) -> Fault:
    weight = SERVERS * sum(fault.weight for fault in ALL) / 4
    return Fault(name, weight, _of_the_matrix(name))


FAULTS = (
    *ALL,
    *(_down(f"{side} {how}") for side in ("source", "target") for how in ("restarted", "killed")),
)


def draw(chance: random.Random, subject: Subject, usual: float) -> tuple[Fault, Moment]:
    """A fault for a table and the moment it strikes; `usual` is how many seconds a run takes."""
    ours = (fault for fault in FAULTS if fault.only in (None, subject.name))
    fit = [fault for fault in ours if fault.name not in subject.spared]
    (fault,) = chance.choices(fit, [each.weight for each in fit])
    moment: Moment = chance.choice(STEPS)
    if chance.random() < 0.4:
        moment = chance.uniform(0, 1.1 * usual)
    return fault, moment
