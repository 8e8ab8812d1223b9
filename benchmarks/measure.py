"""Run one command and account for it: its time, its CPU, its memory, and the servers' CPU."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_EVERY = 0.05
REAPED_AFTER = 0.1
"""Seconds until a postmaster has counted the backends that ended."""

# Fields of /proc/PID/stat after the command's name; see proc(5).
PARENT, SESSION, UTIME, STIME, CUTIME, CSTIME, RSS = 1, 3, 11, 12, 13, 14, 21


@dataclass(frozen=True)
class Measured:
    """One run of a command: seconds, bytes.

    `cpu` is that of the command and of all that it waited for, `memory` the highest sum of the
    resident sets of its session, sampled 20 times a second; pages that processes share count for
    each. `server_cpu` has an entry for each server.
    """

    code: int
    seconds: float
    cpu: float
    memory: int
    server_cpu: tuple[float, ...]
    timed_out: bool
    output: str


def measured(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    limit: float,
    servers: Sequence[int] = (),
    log: Path,
) -> Measured:
    """Run a command for at most `limit` seconds; its standard error goes to the end of `log`."""
    before = [cpu_of_server(pid) for pid in servers]
    with log.open("ab") as errors:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        watch = _Watch(process.pid, began + limit)
        said: list[bytes] = []
        reader = threading.Thread(target=lambda: said.append(process.stdout.read()))  # type: ignore[union-attr]
        reader.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.end()
        reader.join()
    time.sleep(REAPED_AFTER)
    return Measured(
        process.returncode,
        seconds,
        usage.ru_utime + usage.ru_stime,
        watch.peak,
        tuple(cpu_of_server(pid) - was for pid, was in zip(servers, before, strict=True)),
        watch.expired,
        b"".join(said).decode(errors="replace"),
    )


class _Watch:
    """Samples the memory of a session, and kills it when its time is over.

    The kernel's own maximum is of no use here: it counts what we were when the command began.
    """

    def __init__(self, session: int, deadline: float) -> None:
        self.peak, self.expired = 0, False
        self._session, self._deadline = session, deadline
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop sampling; no process of the session is left."""
        self._ended.set()
        self._thread.join()
        self._kill()

    def _run(self) -> None:
        while True:
            sizes = [int(fields[RSS]) for _, fields in self._members()]
            self.peak = max(self.peak, sum(sizes) * PAGE)
            if time.monotonic() > self._deadline:
                self.expired = True
                self._kill()
            if self._ended.wait(SAMPLE_EVERY):
                return

    def _members(self) -> Iterator[tuple[int, list[str]]]:
        mine = str(self._session)
        return ((pid, fields) for pid, fields in _processes() if fields[SESSION] == mine)

    def _kill(self) -> None:
        for pid, _ in self._members():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def cpu_of_server(postmaster: int) -> float:
    """CPU seconds of a server so far: its postmaster, and its backends that live or are gone."""
    ticks = 0
    for pid, fields in _processes():
        if pid == postmaster:
            ticks += sum(int(fields[at]) for at in (UTIME, STIME, CUTIME, CSTIME))
        elif int(fields[PARENT]) == postmaster:
            ticks += int(fields[UTIME]) + int(fields[STIME])
    return ticks / TICK


def _processes() -> Iterator[tuple[int, list[str]]]:
    for entry in os.listdir("/proc"):  # noqa: PTH208 (20 times a second)
        if entry.isdigit():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{entry}/stat").read_text(errors="replace")
                yield int(entry), text.rsplit(")", 1)[1].split()
