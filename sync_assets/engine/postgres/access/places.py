"""Where a tunnel leads: the hosts and ports of a URL, as the SSH destination sees them."""

from __future__ import annotations

import re

import psycopg2.extensions

from sync_assets.engine import errors
from sync_assets.engine.postgres.access.database import Database

PORT = "5432"


def check_destination(database: Database, name: str) -> None:
    """Refuse what ssh would take for an option, and a URL that says no host to go to.

    `name` says which database it is. Raises ConfigurationError.
    """
    if not re.fullmatch(r"[^\s-]\S*", database.ssh or ""):
        raise errors.ConfigurationError(
            f"the {name} cannot be reached through SSH at {database.ssh!r}",
            remedy="Write user@host, a Host of ~/.ssh/config, or ssh://user@host:port.",
        )
    hosts = [host for host, _ in places_behind(database)]
    if not all(hosts) or any(host.startswith(("/", "@")) for host in hosts):
        raise errors.ConfigurationError(
            f"the {name} URL has no host and port for an SSH tunnel to lead to",
            remedy="Write the database's host as the bastion sees it; localhost is the bastion itself.",
        )


def places_behind(database: Database) -> tuple[tuple[str, int], ...]:
    """Host and port of each server that the URL names, in its order; the host is empty where it names none."""
    parts = psycopg2.extensions.parse_dsn(database.url)
    hosts = (parts.get("hostaddr") or parts.get("host") or "").split(",")
    ports = (parts.get("port") or PORT).split(",")
    # One port holds for all hosts, as libpq has it.
    each = ports if len(ports) == len(hosts) else ports[:1] * len(hosts)
    return tuple((host, int(port or PORT)) for host, port in zip(hosts, each, strict=True))
