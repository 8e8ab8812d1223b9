"""The SSH tunnels of this process: one for all connections to a server, opened anew once it has ended."""

from __future__ import annotations

import atexit
import os
import shutil
import threading
from weakref import WeakKeyDictionary

from sync_assets.engine import errors
from sync_assets.engine.postgres.access.ssh_errors import NOT_INSTALLED, PORT_TAKEN
from sync_assets.engine.postgres.access.tunnel import Place, Tunnel
from sync_assets.engine.postgres.session import Connection

PORTS_TRIED = 3


class _Tunnels:
    """The tunnels of this process, and what goes through them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._each: dict[tuple[str, Place], threading.Lock] = {}
        self._open: dict[tuple[str, Place], Tunnel] = {}
        self.carried: WeakKeyDictionary[Connection, Tunnel] = WeakKeyDictionary()

    def to(self, destination: str, place: Place, side: str) -> Tunnel:
        key = (destination, place)
        with self._lock:
            its = self._each.setdefault(key, threading.Lock())
        with its:
            found = self._open.get(key)
            if found is None or not found.is_alive:
                self._open[key] = found = _opened(destination, place, side)
            return found

    def end(self) -> None:
        while self._open:
            _, tunnel = self._open.popitem()
            tunnel.end()

    def leave(self) -> None:
        for tunnel in self._open.values():
            tunnel.leave()


def _opened(destination: str, place: Place, side: str) -> Tunnel:
    program = shutil.which("ssh")
    if program is None:
        raise errors.ConfigurationError(
            f"the {side} is to be reached through SSH, and there is no ssh", remedy=NOT_INSTALLED
        )
    for left in reversed(range(PORTS_TRIED)):
        tunnel = Tunnel(destination, place, program)
        try:
            tunnel.await_ready(side)
        except errors.SyncError as error:
            # Somebody took the port between our look and ssh's.
            if left and PORT_TAKEN.search(error.message):
                continue
            raise
        return tunnel
    raise AssertionError  # the last try returns or raises


_tunnels = _Tunnels()


def tunnel_to(destination: str, place: Place, side: str) -> Tunnel:
    """A tunnel that is open, the one of this process where there is one; raises SyncError."""
    return _tunnels.to(destination, place, side)


def carry(connection: Connection, tunnel: Tunnel) -> None:
    """Remember what a connection goes through, for as long as it is there."""
    _tunnels.carried[connection] = tunnel


def tunnel_of(connection: Connection) -> Tunnel | None:
    """The tunnel that a connection goes through, if any."""
    return _tunnels.carried.get(connection)


def end_tunnels() -> None:
    """End all of this process."""
    _tunnels.end()


def _begin_anew() -> None:
    """Leave the tunnels to the process that was forked; this one opens its own."""
    global _tunnels  # noqa: PLW0603 - its locks may be held by threads that are not here
    _tunnels.leave()
    _tunnels = _Tunnels()


atexit.register(end_tunnels)
os.register_at_fork(after_in_child=_begin_anew)
