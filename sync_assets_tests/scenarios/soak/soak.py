"""Event after event until the time is over: after each, all is in step, told once, and nothing left."""

from __future__ import annotations

import contextlib
import logging
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dagster as dg

from sync_assets.demo.compare import compare
from sync_assets.runs.in_flight import SILENCE, UNFINISHED
from sync_assets.runs.process import PROCESS
from sync_assets_tests.fixtures.inbox import running_inbox
from sync_assets_tests.scenarios.soak.alerts import Ledger
from sync_assets_tests.scenarios.soak.events import KINDS, Kind
from sync_assets_tests.scenarios.soak.growth import grown_too_fast, sample
from sync_assets_tests.scenarios.soak.home import Home, watching
from sync_assets_tests.scenarios.soak.report import Happened, Report
from sync_assets_tests.scenarios.soak.servers import is_caught_up, running_servers
from sync_assets_tests.scenarios.soak.stage import NOTHING, Stage, Told
from sync_assets_tests.scenarios.soak.tables import Tables, Writer

BOUND = 240.0
"""Seconds within which all must be well again after an event, on a machine that does other things."""

BURIED = SILENCE + BOUND
"""Seconds, where a run died before its first step and only ten minutes of silence tell of that."""

LOOK = 70.0
"""Seconds within which the hindrance sensor has looked."""

log = logging.getLogger(__name__)


class Soak:
    """A stage, what was told of it, and the report."""

    def __init__(self, stage: Stage, writer: Writer, report: Report) -> None:
        self.stage, self.writer, self.report = stage, writer, report
        self.ledger = Ledger(stage.inbox, stage.instance)

    def begin(self) -> None:
        """Wait until everything is loaded and in step for the first time."""
        wrong: list[str] = []
        self._settle(NOTHING, wrong)
        self._note(f"the first loads: {each}" for each in wrong)

    def live_through(self, kind: Kind) -> None:
        """Let an event happen, and wait until all is well again."""
        if reason := kind.why_not(self.stage):
            self.report.impossible[kind.name] = reason
            return
        wrong: list[str] = []
        began = time.monotonic()
        log.info("%s …", kind.name)
        wanted = NOTHING
        try:
            with kind.event(self.stage) as told:
                wanted = self.ledger.wanted(told)
                told_of = lambda: self.ledger.is_told(wanted)  # noqa: E731
                self._await(wrong, "telling", told_of, lambda: str(wanted))
                threading.Event().wait(kind.lasts if wanted.hindered == told.hindered else LOOK)
        except Exception as error:  # noqa: BLE001 - the soak goes on, and tells of it
            wrong.append(f"the event itself failed: {error!r}")
            self.stage.servers.mend()
            self.stage.home.start_missing()
        over = time.monotonic()
        in_step, quiet = self._settle(wanted, wrong)
        self.report.events.append(
            Happened(kind.name, began, over - began, in_step - over, quiet - over, tuple(wrong))
        )
        self._note(f"{kind.name}: {each}" for each in wrong)
        log.info(
            "%s: lasted %.0f s, in step after %.0f s, quiet after %.0f s%s",
            *(kind.name, over - began, in_step - over, quiet - over),
            "".join(f"\n  WRONG {each}" for each in wrong),
        )

    def _settle(self, told: Told, wrong: list[str]) -> tuple[float, float]:
        """Wait until all is well; return when everything was in step, and when all was quiet."""
        tables = self.stage.tables
        with self.writer.at_rest():
            self._await(wrong, "the processes", self.stage.home.is_up, str)
            tables.touch([*tables.synced])
            in_step = self._in_step(wrong, tables.watched)
            self._in_step(wrong, tables.scheduled)
            self._await(wrong, "quiet", lambda: self._left() == [], lambda: str(self._left()))
            self._await(wrong, "the end", lambda: self.ledger.is_settled(told), lambda: str(told))
            wrong += self.ledger.settle(told)
            self.report.samples.append(sample(self.stage))
        self.report.expected, self.report.sent = self.ledger.expected, self.ledger.sent
        self.report.commits = self.writer.commits
        self.report.runs = self.stage.instance.get_runs_count()
        return in_step, time.monotonic()

    def _in_step(self, wrong: list[str], names: Sequence[str]) -> float:
        """Wait until these tables are in step; return when they were."""

        def behind() -> list[str]:
            pair = self.stage.servers.pair
            pairs = [(("public", name),) * 2 for name in names]
            found = compare(pair.source_url, pair.target_url, pairs)
            return [f"{each.target} {each.problem}" for each in found if not each.equal]

        self._await(
            wrong,
            "being in step",
            lambda: behind() == [],
            lambda: f"{behind()}; the sensor: {_last_tick(self.stage.instance)}",
        )
        return time.monotonic()

    def _left(self) -> list[str]:
        """What nothing should have left once all is quiet."""
        stage = self.stage
        runs = stage.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        files = [str(path) for path in stage.home.batch_dir.glob("*")]
        storage = stage.instance.event_log_storage
        pools = [
            f"{pool}: {info.claimed_slots or info.pending_steps}"
            for pool in storage.get_concurrency_keys()
            if (info := storage.get_concurrency_info(pool)).claimed_slots or info.pending_steps
        ]
        leftovers = stage.servers.pair.leftovers()
        return [*(f"{run.status.value} {run.run_id}" for run in runs), *leftovers, *files, *pools]

    def _await(
        self,
        wrong: list[str],
        what: str,
        condition: Callable[[], bool],
        said: Callable[[], str],
    ) -> None:
        """Wait for a condition; what does not come is noted, and not waited for any longer."""
        began = time.monotonic()
        if not _comes(condition, BOUND) and not (self._nameless() and _comes(condition, BURIED)):
            wrong.append(f"{what} did not come within {time.monotonic() - began:.0f} s: {said()}")

    def _nameless(self) -> bool:
        """Whether there is a run whose process nobody has noted, and which may be dead."""
        runs = self.stage.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        return any(run.run_id not in run.tags.get(PROCESS, "") for run in runs)

    def _note(self, wrong: Iterator[str]) -> None:
        self.report.wrong += wrong


def _comes(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition holds within so many seconds; a server that is away answers nothing."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(Exception):
            if condition():
                return True
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.5)


def _last_tick(instance: dg.DagsterInstance) -> str:
    with contextlib.suppress(Exception):
        states = instance.all_instigator_state()
        (state,) = (each for each in states if each.instigator_name.endswith("_changes"))
        (tick,) = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        said = tick.skip_reason or (tick.error.message if tick.error else "")
        return f"{tick.status.value} {said.strip().splitlines()[:1]}"
    return "unknown"


def _commit() -> str:
    head = ("git", "rev-parse", "--short", "HEAD")
    return subprocess.run(head, check=False, capture_output=True, text=True).stdout.strip()


def orders(seed: str, chosen: Sequence[str] | None = None) -> Iterator[Kind]:
    """Every kind once in a random order, and again in another; or those that are chosen, once."""
    chance = random.Random(seed)
    by_name = {kind.name: kind for kind in KINDS}
    if chosen is not None:
        yield from (by_name[name] for name in chosen)
        return
    while True:
        yield from chance.sample(KINDS, len(KINDS))


def soak(
    seconds: float, seed: str, place: Path | None, chosen: Sequence[str] | None = None
) -> Report:
    """Soak for so long; the report is written to `place` after each event."""
    report = Report(seed, _commit())
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="sync-test-soak-") as name,
        _stage(Path(name), seed, short=chosen is not None) as stage,
        Writer(stage.tables, seed) as writer,
    ):
        found = Soak(stage, writer, report)
        log.info("seed %s, in %s", seed, name)
        found.begin()
        try:
            for kind in orders(seed, chosen):
                found.live_through(kind)
                report.minutes = (time.monotonic() - began) / 60
                if place:
                    report.write(place)
                if time.monotonic() > began + seconds:
                    break
        finally:
            report.wrong += grown_too_fast(report.samples)
            if place:
                report.write(place)
    return report


@contextlib.contextmanager
def _stage(folder: Path, seed: str, *, short: bool) -> Iterator[Stage]:
    folder.chmod(0o711)
    with (
        running_servers(folder) as servers,
        running_inbox() as inbox,
        watching(folder / "watch", servers) as instance,
    ):
        tables = Tables(servers)
        tables.create(scheduled=not short)
        home = Home(folder, servers, inbox)
        stage = Stage(
            servers, home, tables, inbox, instance, random.Random(seed), 2 if short else 5
        )
        home.write(tables.entries(), stage.interval)
        try:
            home.start(*home.names)
            assert is_caught_up(servers)
            assert _comes(home.is_up, BOUND), "Dagster does not come up"
            yield stage
        finally:
            home.end()
