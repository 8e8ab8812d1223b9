"""What can strike a run, where it can strike, and the two ends between which it does.

`test_faults.py` goes through every step with every fault; `test_torture.py` throws dice.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args
from unittest import mock

from psycopg2.extensions import make_dsn

from sync_assets.engine import Database, DataCopyEngine, Phase, Receipt, SyncError, TransientError
from sync_assets.engine.errors import OutOfSpace
from sync_assets.engine.plan import chunks
from sync_assets.engine.progress import Progress
from sync_assets.private_server.account import server_account
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.bastion import tunnels
from sync_assets_tests.fixtures.full_disk import SmallDisk, small_disk
from sync_assets_tests.fixtures.guarded import Token
from sync_assets_tests.fixtures.pair import Pair, eventually, execute
from sync_assets_tests.fixtures.proxy import Proxy

STEPS: tuple[Phase, ...] = tuple(
    phase for phase in get_args(Phase) if phase not in {"wait", "compare", "list", "repair"}
)

MANY_WORKERS = partial(mock.patch.multiple, chunks, SMALL_CHUNK=8, WORTH_A_WORKER=1 << 14)
"""Chunks and shares so small that our small tables are cut and read like large ones."""

NUMBERS = itertools.count(1)
PATIENCE = 0.4
"""Seconds that a half-open or a stalled connection lasts: keepalives would take a minute."""


Step = str
"""A moment: when this step begins."""


@dataclass(frozen=True)
class Bytes:
    """A moment: once so many bytes have passed between the run and one side."""

    side: str
    count: int

    def of(self, ends: Ends) -> Proxy:
        """The proxy that counts them."""
        proxy: Proxy = getattr(ends, f"{self.side}_proxy")
        return proxy


@dataclass
class Ends:
    """A source and a target that a run reaches through proxies, and the disks it writes to.

    `direct` leads past the proxies: to change, to compare, to look for what was left.
    """

    source_server: PostgresServer
    target_server: PostgresServer
    direct: Pair
    source_proxy: Proxy
    target_proxy: Proxy
    batch_disk: SmallDisk
    target_disk: SmallDisk
    batch_dir: Path
    bastion: str | None = None
    """Where runs go through SSH, on top of the proxies."""
    tokens: dict[str, Token] = field(default_factory=dict)
    """What lets runs in, by the side, where that is no trust."""

    @property
    def through(self) -> Pair:
        """The two databases as the run sees them."""
        source, target = self.direct.source_url, self.direct.target_url
        return Pair(self.source_proxy.url(source), self.target_proxy.url(target))

    def sync(
        self, source: str, target: str, strike: Callable[[Progress], None], **options: Any
    ) -> Receipt:
        """One run in this process; `strike` hears of each of its steps."""
        mode = options.pop("mode", "xmin_incremental")
        ends = (self._database("source"), self._database("target"))
        engine = DataCopyEngine(*ends, batch_dir=self.batch_dir, on_progress=strike)
        with MANY_WORKERS():
            return engine.copy_table_data(source, target, mode, **options)

    def _database(self, side: str) -> Database:
        url: str = getattr(self.through, f"{side}_url")
        token = self.tokens.get(side)
        if token is None:
            return Database(url, ssh=self.bastion)
        return Database(make_dsn(url, user=token.role), token.command, ssh=self.bastion)

    def sync_and_die(
        self, source: str, target: str, moment: Step | Bytes, **options: Any
    ) -> int | None:
        """One run in a process of its own that is killed at some moment; return its exit code."""
        pair = self.through
        step = moment if isinstance(moment, str) else None
        arguments = (pair.source_url, pair.target_url, self.batch_dir, source, target, step)
        process = PROCESSES.Process(target=_die_at, args=(*arguments, options))
        if isinstance(moment, Bytes):
            moment.of(self).after(moment.count, process.kill)
        process.start()
        process.join()
        return process.exitcode

    def mend(self) -> None:
        """Undo every fault: servers up, network good, disks free."""
        for proxy in (self.source_proxy, self.target_proxy):
            proxy.heal()
        for disk in (self.batch_disk, self.target_disk):
            disk.free()
        self.source_server.start()
        self.target_server.start()

    def left(self) -> list[str]:
        """What a run should not leave, on servers and on disk.

        Not the temporary tables of a server that was killed: those are autovacuum's to drop. While
        their session lives, it is the session that is found here.
        """
        found = self.direct.leftovers()
        temporary = "SELECT relname::text FROM pg_class WHERE relpersistence = 't'"
        dropped = {name for (name,) in self.direct.target(temporary)}
        files = [str(each) for each in self.batch_dir.iterdir()]
        return [*(each for each in found if each not in dropped), *files]

    def held(self) -> list[str]:
        """What of it must go even where the target could not be reached any more.

        The staging table of a first load is then the next run's to drop.
        """
        return [each for each in self.left() if not each.startswith("sync_assets_staging")]

    def nothing_is_left(self) -> bool:
        """Whether all has gone; a server needs a moment to end a session."""
        return eventually(lambda: self.left() == [])

    def nothing_is_held(self) -> bool:
        """The same of sessions, locks and batch files."""
        return eventually(lambda: self.held() == [])


Strike = Callable[[Ends], None]


def _kill(side: str) -> Strike:
    def strike(ends: Ends) -> None:
        getattr(ends, f"{side}_server").kill()

    return strike


def _restart(side: str) -> Strike:
    def strike(ends: Ends) -> None:
        getattr(ends, f"{side}_server").restart("immediate")

    return strike


def _cut(side: str) -> Strike:
    def strike(ends: Ends) -> None:
        getattr(ends, f"{side}_proxy").cut()

    return strike


def _half_open(side: str) -> Strike:
    """The replies vanish; in a while the network's own time-outs would end the connection."""

    def strike(ends: Ends) -> None:
        proxy: Proxy = getattr(ends, f"{side}_proxy")
        proxy.lose("replies", PATIENCE)

    return strike


def _stall(side: str) -> Strike:
    def strike(ends: Ends) -> None:
        proxy: Proxy = getattr(ends, f"{side}_proxy")
        proxy.stall(PATIENCE)

    return strike


def _slow(side: str) -> Strike:
    def strike(ends: Ends) -> None:
        getattr(ends, f"{side}_proxy").delay(0.02)

    return strike


def _fill(side: str) -> Strike:
    def strike(ends: Ends) -> None:
        getattr(ends, f"{side}_disk").fill()

    return strike


def _end_sessions(side: str, how: str) -> Strike:
    def strike(ends: Ends) -> None:
        execute(
            getattr(ends.direct, f"{side}_url"),
            f"SELECT {how}(pid) FROM pg_stat_activity WHERE application_name = 'sync_assets' "
            "AND datname = current_database()",
        )

    return strike


def _kill_tunnel(side: str) -> Strike:
    def strike(ends: Ends) -> None:
        leads_to = f":127.0.0.1:{getattr(ends, f'{side}_proxy').port}"
        (ssh,) = (each for each in tunnels() if leads_to in " ".join(each.cmdline()))
        ssh.kill()

    return strike


def _expire(side: str) -> Strike:
    def strike(ends: Ends) -> None:
        ends.tokens[side].renew()

    return strike


OUR_KILL = "our SIGKILL"
THROUGH_A_BASTION = frozenset({"source tunnel killed", "target tunnel killed"})
"""Faults of a run whose connections go through SSH."""

FAULTS: Mapping[str, Strike] = MappingProxyType(
    {
        "source killed": _kill("source"),
        "target killed": _kill("target"),
        "source cut": _cut("source"),
        "target cut": _cut("target"),
        "disk of batch files full": _fill("batch"),
        "disk of the target full": _fill("target"),
        "source restarted": _restart("source"),
        "target restarted": _restart("target"),
        "source sessions terminated": _end_sessions("source", "pg_terminate_backend"),
        "target sessions terminated": _end_sessions("target", "pg_terminate_backend"),
        "source statements cancelled": _end_sessions("source", "pg_cancel_backend"),
        "target statements cancelled": _end_sessions("target", "pg_cancel_backend"),
        "source half-open": _half_open("source"),
        "target half-open": _half_open("target"),
        "source stalled": _stall("source"),
        "target stalled": _stall("target"),
        "source 20 ms away": _slow("source"),
        "target 20 ms away": _slow("target"),
        "source tunnel killed": _kill_tunnel("source"),
        "target tunnel killed": _kill_tunnel("target"),
        "source token expired": _expire("source"),
        "target token expired": _expire("target"),
    }
)
HARMLESS = frozenset(
    fault for fault in FAULTS if any(each in fault for each in ("stalled", "20 ms", "token"))
)
"""Faults that a run outlives."""

Outcome = Literal["fails", "goes through", "either"]


def outcome(fault: str, step: Phase) -> Outcome:
    """What becomes of a run that a fault strikes as a step begins."""
    if fault in HARMLESS:
        return "goes through"
    if step == "carry":
        # The rows are published, and what else the target refuses costs no run; to remember that takes
        # room, too.
        if fault.startswith("disk of the target"):
            return "either"
        return "fails" if fault.startswith("target") else "goes through"
    if "cancelled" in fault:
        # Only what a server is executing can be.
        return "either"
    last, perhaps = LAST_NEEDED[next(start for start in LAST_NEEDED if fault.startswith(start))]
    if STEPS.index(step) <= STEPS.index(last):
        return "fails"
    return "either" if step in perhaps else "goes through"


LAST_NEEDED: Mapping[str, tuple[Phase, tuple[Phase, ...]]] = MappingProxyType(
    {
        "source": ("load", ()),
        "target": ("commit", ()),
        "our": ("clean up", ()),
        "disk of batch": ("export", ("load",)),
        "disk of the target": ("load", ("merge", "state", "commit")),
    }
)
"""The last step that fails without what a fault takes away, and those that only may.

The source is asked once more, after the load, whether its WAL is on its disk.
"""

MATRIX = (OUR_KILL, *list(FAULTS)[:6])
"""Faults that strike at every step in every run of the tests; the others take turns."""

OTHERS = tuple(FAULTS)[6:]


def at(moment: Step | Bytes, ends: Ends, fault: str) -> Callable[[Progress], None]:
    """Strike once, at some moment of the run that hears of its progress."""
    if isinstance(moment, Bytes):
        moment.of(ends).after(moment.count, lambda: FAULTS[fault](ends))
        return lambda _: None
    struck: list[str] = []

    def strike(progress: Progress) -> None:
        if progress.phase == moment and not struck:
            struck.append(moment)
            FAULTS[fault](ends)

    return strike


def is_of_the_right_kind(error: SyncError, fault: str) -> bool:
    """Whether what a run said under a fault is one clear line, and tells whether to try again."""
    kind = OutOfSpace if "full" in fault else TransientError
    return isinstance(error, kind) and "\n" not in str(error) and bool(error.table and error.remedy)


def _die_at(  # noqa: PLR0913, PLR0917 - what another process is to know, one by one
    source_url: str,
    target_url: str,
    folder: Path,
    source: str,
    target: str,
    step: str | None,
    options: dict[str, Any],
) -> None:
    def die(progress: Progress) -> None:
        if progress.phase == step:
            os.kill(os.getpid(), signal.SIGKILL)

    mode = options.pop("mode", "xmin_incremental")
    engine = DataCopyEngine(source_url, target_url, batch_dir=folder, on_progress=die)
    with MANY_WORKERS():
        engine.copy_table_data(source, target, mode, **options)


PROCESSES = multiprocessing.get_context("forkserver")
"""Processes that are there at once: their modules are loaded before the fork."""

PROCESSES.set_forkserver_preload([__name__])


@contextlib.contextmanager
def two_ends(source: PostgresServer, target: PostgresServer, megabytes: int = 64) -> Iterator[Ends]:
    """Fresh databases on two servers; batch files and the target's have small disks of their own.

    `megabytes` is the size of each.
    """
    with contextlib.ExitStack() as cleanup:
        batch_disk = cleanup.enter_context(small_disk(megabytes))
        target_disk = cleanup.enter_context(small_disk(megabytes))
        batch_dir = batch_disk.folder / "batches"
        batch_dir.mkdir()
        space = target_disk.folder / "space"
        space.mkdir()
        server_account().own(space)
        name = f"faults_{next(NUMBERS)}"
        source_url = source.create_database(name)
        cleanup.callback(_drop, source, name)
        execute(target.url(), f"CREATE TABLESPACE {name} LOCATION '{space}'")
        cleanup.callback(_drop_space, target, name)
        execute(target.url(), f"CREATE DATABASE {name}_target TABLESPACE {name}")
        cleanup.callback(_drop, target, f"{name}_target")
        before_source, before_target = (
            cleanup.enter_context(Proxy(server.sockets / ".s.PGSQL.5432"))
            for server in (source, target)
        )
        pair = Pair(source_url, target.url(f"{name}_target"))
        disks = (batch_disk, target_disk)
        ends = Ends(source, target, pair, before_source, before_target, *disks, batch_dir)
        cleanup.callback(ends.mend)
        yield ends


def _drop(server: PostgresServer, name: str) -> None:
    server.start()
    server.drop_database(name)


def _drop_space(server: PostgresServer, name: str) -> None:
    execute(server.url(), f"DROP TABLESPACE {name}")
