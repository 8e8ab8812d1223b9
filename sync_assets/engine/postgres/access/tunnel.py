"""An SSH tunnel: the system's own `ssh`, with its configuration, agent and known_hosts.

It listens on a port of 127.0.0.1, and ends with this process, whatever ends that.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Mapping

from sync_assets.engine import errors
from sync_assets.engine.postgres.access.programs import environment_for_others
from sync_assets.engine.postgres.access.ssh_errors import ended, not_forwarded

CONNECT_TIMEOUT = 15
"""Whole seconds that a bastion may take to answer, and to agree on keys."""

TIME_OUT = 30.0
"""Seconds until the tunnel is there: a jump host, or an agent that asks somebody, comes on top."""

ALIVE_EVERY, ALIVE_TRIES = 15, 3
LAST_WORDS = 1.0
"""Seconds for which a broken connection waits for the reason that its tunnel gives."""

LOOPBACK = "127.0.0.1"

# ssh -N does not read its input, so it would outlive us. The shell lets it run until its own input, a
# pipe that only we can write to, ends: which it does when we end, by SIGKILL too.
_WITH_US = """\
exec 3<&0
"$@" </dev/null 3<&- &
tunnel=$!
{ read -r _ <&3; kill "$tunnel"; } >/dev/null 2>&1 &
watch=$!
exec 3<&- </dev/null
wait "$tunnel"
code=$?
kill "$watch" 2>/dev/null
exit "$code"
"""


class Tunnel:
    """A running `ssh` that forwards a port of 127.0.0.1 to a place that its destination reaches."""

    def __init__(self, destination: str, place: Place, program: str) -> None:
        self._destination, self._place = destination, place
        port = _free_port()
        self._ready, self._over = threading.Event(), threading.Event()
        self._changed = threading.Condition()
        self._said: deque[str] = deque(maxlen=100)
        self.lines = 0
        word = f"ready-{secrets.token_hex(8)}"
        self._process = subprocess.Popen(
            [
                "/bin/sh",
                "-c",
                _WITH_US,
                "sh",
                program,
                *_arguments(destination, place, port, word),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # The shell of an account that cannot log in would not run LocalCommand.
            env={**environment_for_others(), "SHELL": "/bin/sh"},
            # Ctrl-C is for us, who then cancel on the server, through the tunnel.
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(word,), name="ssh", daemon=True).start()
        # The host stays the URL's: verify-full compares the certificate with that.
        self.way: Mapping[str, str] = {"hostaddr": LOOPBACK, "port": str(port)}

    def _listen(self, word: str) -> None:
        assert self._process.stderr is not None  # noqa: S101 (for mypy)
        assert self._process.stdin is not None  # noqa: S101 (for mypy)
        for line in self._process.stderr:
            text = line.decode(errors="replace").strip()
            with self._changed:
                if text == word:
                    # What was said until then, a banner perhaps, is no reason for what comes.
                    self._said.clear()
                    self._ready.set()
                elif text:
                    self._said.append(text)
                    self.lines += 1
                self._changed.notify_all()
        self._process.wait()
        self._process.stderr.close()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with self._changed:
            self._over.set()
            self._changed.notify_all()

    def await_ready(self, side: str) -> None:
        """Wait until it forwards; raises SyncError, with the tunnel ended, where it does not."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready.is_set() or self._over.is_set(), TIME_OUT)
        if not self._ready.is_set():
            late = not self._over.is_set()
            self.end()
            raise ended(self._destination, side, self._lines(), TIME_OUT if late else None)

    @property
    def is_alive(self) -> bool:
        """Whether it still forwards."""
        return not self._over.is_set()

    def failure(self, side: str, since: int) -> errors.SyncError | None:
        """Why a connection through it has broken off, where that is the tunnel's doing.

        `since` is what `lines` was before; what is said from then on counts.
        """

        def refusal() -> errors.SyncError | None:
            new = self._lines()[-(self.lines - since) :] if self.lines > since else []
            return not_forwarded(self._destination, side, self._place, new)

        with self._changed:
            self._changed.wait_for(lambda: self._over.is_set() or refusal(), LAST_WORDS)
            if self._over.is_set():
                return ended(self._destination, side, self._lines())
            return refusal()

    def death(self, side: str) -> errors.SyncError | None:
        """Why it has ended, or does so within a moment; None where it goes on."""
        if not self._over.wait(LAST_WORDS):
            return None
        return ended(self._destination, side, self._lines())

    def end(self) -> None:
        """End it, and wait until it has gone."""
        assert self._process.stdin is not None  # noqa: S101 (for mypy)
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._over.wait(LAST_WORDS)
        if not self._over.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._over.wait()

    def leave(self) -> None:
        """Forget it in a forked process: it is the other's, and ends with that one alone."""
        assert self._process.stdin is not None  # noqa: S101 (for mypy)
        self._process.stdin.close()
        # No child of this process, which would otherwise warn of one that it does not wait for.
        self._process.returncode = 0

    def _lines(self) -> list[str]:
        return list(self._said)


Place = tuple[str, int]
"""Host and port of a server, as the destination sees them."""


def _arguments(destination: str, place: Place, local: int, word: str) -> list[str]:
    options = {
        # It never asks: nobody is there to answer. What it does with an unknown host key stays its own.
        "BatchMode": "yes",
        "ConnectTimeout": str(CONNECT_TIMEOUT),
        "ServerAliveInterval": str(ALIVE_EVERY),
        "ServerAliveCountMax": str(ALIVE_TRIES),
        "ExitOnForwardFailure": "yes",
        # A connection that is shared with others would go on forwarding after us.
        "ControlMaster": "no",
        "ControlPath": "none",
        "LogLevel": "INFO",
        "RemoteCommand": "none",
        # It is run once the ports are there, which ssh tells in no other way.
        "PermitLocalCommand": "yes",
        "LocalCommand": f"echo {word} >&2",
    }
    given = [each for name, value in options.items() for each in ("-o", f"{name}={value}")]
    host, port = place
    there = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    forward = f"{LOOPBACK}:{local}:{there}"
    return ["-N", "-T", "-a", "-x", *given, "-L", forward, "--", destination]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        port: int = found.getsockname()[1]
        return port
