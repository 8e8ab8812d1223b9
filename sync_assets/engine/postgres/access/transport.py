"""How the bytes of a connection travel: through which way, encrypted or not, and to a server proven by what."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sync_assets.engine.postgres.access.tunnels import tunnel_of
from sync_assets.engine.postgres.session import Connection

Way = Literal["socket", "loopback", "network", "tunnel"]
"""A Unix socket, this machine's own loopback, a network, or an SSH tunnel and what is behind it."""

ROOT_CERTIFICATE = "~/.postgresql/root.crt"
"""Where libpq looks for an authority to verify with, unless it is told."""


@dataclass(frozen=True, slots=True)
class Transport:
    """What one connection has.

    `encrypted_by` is a version of TLS or GSSAPI, None where it is plain text; `verified` is what the
    server's certificate was compared with: its authority, or that and the host's name.
    """

    way: Way
    encrypted_by: str | None
    verified: Literal["authority", "name"] | None
    sslmode: str

    def __str__(self) -> str:
        through = " through SSH" if self.way == "tunnel" else ""
        if self.encrypted_by is None:
            return f"not encrypted{through}" if self.way in ("network", "tunnel") else ""
        if self.encrypted_by == GSSAPI:
            return f"{GSSAPI}{through}"
        proven = f"verified ({self.sslmode})" if self.verified else "not verified"
        return f"{self.encrypted_by}, {proven}{through}"


GSSAPI = "GSSAPI"


def transport_of(connection: Connection, *, gssapi: bool) -> Transport:
    """What a connection has; whether it is encrypted by GSSAPI, only the server can tell."""
    given, info = connection.info.dsn_parameters, connection.info
    mode = given.get("sslmode", "prefer")
    if info.ssl_in_use:
        protocol = info.ssl_attribute("protocol") or "TLS"
        return Transport(_way(connection), protocol, _verified(mode, given), mode)
    return Transport(_way(connection), GSSAPI if gssapi else None, None, mode)


def _verified(mode: str, given: Mapping[str, str]) -> Literal["authority", "name"] | None:
    if mode == "verify-full":
        return "name"
    authority = Path(given.get("sslrootcert") or ROOT_CERTIFICATE).expanduser()
    # With an authority at hand libpq takes `require` for `verify-ca`, as it did before there was that.
    return (
        "authority" if mode == "verify-ca" or (mode == "require" and authority.exists()) else None
    )


def _way(connection: Connection) -> Way:
    if tunnel_of(connection) is not None:
        return "tunnel"
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        if ours.family == socket.AF_UNIX:
            return "socket"
        return "loopback" if is_loopback(ours.getpeername()[0]) else "network"


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own, which no network carries."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)
