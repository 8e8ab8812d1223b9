"""A private server among the machine's processes: its port, and how it ends."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from pathlib import Path

import psutil

from sync_assets.demo.account import Account

WATCH = """\
trap '' INT TERM HUP
program=$1 data=$2 room=$3
read -r _
"$program" stop -D "$data" -m fast -t 30 || { sleep 2; "$program" stop -D "$data" -m immediate; }
cd / && rm -rf "$room"
"""


def start_watch(
    account: Account, pg_ctl: Path, address: str, room: Path
) -> subprocess.Popen[bytes]:
    """Start a process that waits for our end, stops the server at `address` and removes `room`.

    Its only link to us is a pipe, which breaks however we end. (The kernel's parent-death signal
    would follow the thread that started the server, and is lost when the account changes.)
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", WATCH, "sh", str(pg_ctl), address, str(room)],
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
    psutil.wait_procs(children, timeout=patience)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
