"""Run the Dagster UI until somebody stops it, and leave no process behind."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType

from sync_assets.engine.errors import ConfigurationError, SyncError
from sync_assets.engine.threads import in_thread
from sync_assets.private_server.processes import leashed, signal_group

GRACE = 20.0
"""Seconds Dagster gets to end its runs and servers before it is killed."""

LAST_WORDS = 2.0
"""Seconds in which what it has printed is read to the end."""

KEPT = 40
"""Lines of what is not passed on that are printed after all where Dagster ends by itself."""

STOPPING = (signal.SIGINT, signal.SIGTERM)

RECORD = re.compile(rb"\S+ \S+ \S+ - \S+ - ([A-Z]+) - ")
"""How a line begins with which a process of Dagster's logs something, with its level."""

GOES_WELL = (b"DEBUG", b"INFO")
"""Levels of what is no fault: its runs log each of their events, which the UI shows."""

TRACES = (b"Stack Trace:", b"Traceback (")


class DagsterStopped(SyncError):
    """Its last lines above say why."""


@contextmanager
def stop_on_termination() -> Iterator[None]:
    """Let SIGTERM, like SIGINT, unwind the stack, so that servers started here are stopped."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        # Once is enough: a second signal must not interrupt the stopping.
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    with _stopping(interrupt):
        yield


@contextmanager
def _stopping(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Let a handler have the signals that stop us."""
    before = {number: signal.signal(number, handler) for number in STOPPING}
    try:
        yield
    finally:
        for number, own in before.items():
            signal.signal(number, own)


def check_port(host: str, port: int) -> None:
    """Raise ConfigurationError if nothing can listen on this port here."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the UI's own server does: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}",
            remedy="Choose another port with --port, or another address with --host.",
        ) from None


def serve(
    folder: Path,
    workspace: Path,
    environment: Mapping[str, str],
    address: tuple[str, int],
    say: Callable[[str], None],
) -> None:
    """Run `dagster dev` in `folder` until SIGINT or SIGTERM; raise DagsterStopped if it ends.

    It gets a session of its own: a Ctrl-C in the terminal reaches us alone, and we stop Dagster
    before PostgreSQL, without which it could not end its runs. Of what it prints, warnings and
    errors are passed on, without their stack traces.
    """
    stop, hidden = threading.Event(), deque[bytes](maxlen=KEPT)
    # With these handlers in place a child starts with the default ones, even where this process was
    # started with SIGINT ignored (a shell's background job).
    with (
        _stopping(lambda *_: stop.set()),
        _heard(stop, hidden) as mouth,
        leashed(
            _command(workspace, address),
            cwd=folder,
            env=dict(environment),
            stdout=mouth,
            stderr=mouth,
        ) as child,
    ):
        try:
            _wait(child, address, stop, say)
        finally:
            _stop(child)
    if not stop.is_set():
        _print(hidden)
        raise DagsterStopped(f"dagster dev ended by itself ({_ending(child.returncode)})")


@contextmanager
def _heard(stop: threading.Event, hidden: deque[bytes]) -> Iterator[int]:
    """Give a file descriptor to print to: what is worth it is printed until `stop`, the rest `hidden`."""
    ear, mouth = os.pipe()
    told = in_thread(partial(_pass_on, ear, stop, hidden), "dagster-says", daemon=True)
    try:
        yield mouth
    finally:
        os.close(mouth)
        wait([told], timeout=LAST_WORDS)


def _pass_on(ear: int, stop: threading.Event, hidden: deque[bytes]) -> None:
    shown = True
    with os.fdopen(ear, "rb") as lines:
        for line in lines:
            if record := RECORD.match(line):
                shown = record[1] not in GOES_WELL
            elif line.startswith(TRACES):
                shown = False
            if shown and line.strip() and not stop.is_set():
                _print([line])
            elif not record:
                hidden.append(line)


def _print(lines: Iterable[bytes]) -> None:
    # Who has closed our own output does not hold Dagster up.
    with suppress(OSError):
        sys.stderr.buffer.writelines(lines)
        sys.stderr.buffer.flush()


def _command(workspace: Path, address: tuple[str, int]) -> list[str]:
    host, port = address
    return [
        *(sys.executable, "-W", "ignore", "-m", "dagster", "dev"),
        *("--workspace", str(workspace), "--host", host, "--port", str(port)),
        *("--log-level", "error", "--code-server-log-level", "warning"),
    ]


def _wait(
    child: subprocess.Popen[bytes],
    address: tuple[str, int],
    stop: threading.Event,
    say: Callable[[str], None],
) -> None:
    ready = False
    while child.poll() is None and not stop.wait(0.25):
        if not ready and _answers(address):
            ready = True
            host, port = address
            say(f"Dagster UI: http://{host}:{port} (Ctrl-C stops it)")


def _answers(address: tuple[str, int]) -> bool:
    web = http.client.HTTPConnection(*address, timeout=2)
    try:
        web.request("GET", "/server_info")
        return web.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        web.close()


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End Dagster gently, then whatever is left of its session."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        signal_group(child.pid, number)
        deadline = time.monotonic() + seconds
        while signal_group(child.pid, 0) and time.monotonic() < deadline:
            time.sleep(0.1)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
