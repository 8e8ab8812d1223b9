"""What the demo starts among the machine's processes, and how all of it ends when we do."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from sync_assets.private_server.account import Account

STOP_SERVER = """\
trap '' INT TERM HUP
program=$1 data=$2 room=$3
read -r _
"$program" stop -D "$data" -m fast -t 30 || { sleep 2; "$program" stop -D "$data" -m immediate; }
cd / && rm -rf "$room"
"""
STOP_GROUP = """\
trap '' INT TERM HUP
read -r _
kill -INT -"$1" && sleep 4 && kill -KILL -"$1"
"""


def start_watch(
    account: Account, pg_ctl: Path, address: str, room: Path
) -> subprocess.Popen[bytes]:
    """Start a process that waits for our end, stops the server at `address` and removes `room`."""
    return _watch(account, STOP_SERVER, str(pg_ctl), address, str(room))


def _watch(account: Account, script: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a shell that waits for our end.

    Its only link to us is a pipe, which breaks however we end. (The kernel's parent-death signal
    would follow the thread that started the process, and is lost when the account changes.)
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "sh", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **account.popen,
    )


def end_watch(watch: subprocess.Popen[bytes]) -> None:
    """End the watch without letting it act."""
    watch.kill()
    watch.communicate()


@contextlib.contextmanager
def leashed(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a program in a session of its own, of which nothing is left when the block or we end."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, **options
    ) as process:
        watch = _watch(Account(), STOP_GROUP, str(process.pid))
        try:
            yield process
        finally:
            signal_group(process.pid, signal.SIGKILL)
            end_watch(watch)


def signal_group(group: int, number: int) -> bool:
    """Send a signal to a group of processes; say whether there is one."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_with_children(process: subprocess.Popen[bytes], patience: float) -> None:
    """Kill a process and all below it at once, as a power cut would."""
    try:
        parent = psutil.Process(process.pid)
        children = parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return
    # The parent first: a postmaster takes a killed child for a crash and starts its recovery.
    for victim in (parent, *children):
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    process.wait()
    deadline = time.monotonic() + patience
    while any(_runs(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.01)


def _runs(process: psutil.Process) -> bool:
    """Whether it does; a zombie is the init process's to bury, which may look only now and then."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
