"""Where a tunnel leads: host and port of a URL, as the SSH destination sees them."""

from __future__ import annotations

import re

import psycopg2.extensions

from sync_assets.engine import errors
from sync_assets.engine.postgres.access.database import Database
from sync_assets.engine.postgres.access.tunnel import Place

PORT = "5432"


def check_destination(database: Database, name: str) -> None:
    """Refuse what ssh would take for an option, and a URL that names no one server to go to.

    `name` says which database it is. Raises ConfigurationError.
    """
    if not re.fullmatch(r"[^\s-]\S*", database.ssh or ""):
        raise errors.ConfigurationError(
            f"the {name} cannot be reached through SSH at {database.ssh!r}",
            remedy="Write user@host, a Host of ~/.ssh/config, or ssh://user@host:port.",
        )
    host, port = _host_and_port(database)
    if not host or host.startswith(("/", "@")):
        raise errors.ConfigurationError(
            f"the {name} URL has no host for an SSH tunnel to lead to",
            remedy="Write the database's host as the bastion sees it; localhost is the bastion itself.",
        )
    # libpq takes the next of several only where nobody answers, and at a tunnel ssh always does.
    if "," in host + port:
        raise errors.ConfigurationError(
            f"the {name} URL names several servers, and an SSH tunnel leads to one",
            remedy="Write one host and port, or a name that always leads to the right server.",
        )


def place_behind(database: Database) -> Place:
    """Host and port of the one server of a URL that `check_destination` has let pass."""
    host, port = _host_and_port(database)
    return host, int(port)


def _host_and_port(database: Database) -> tuple[str, str]:
    parts = psycopg2.extensions.parse_dsn(database.url)
    return parts.get("hostaddr") or parts.get("host") or "", parts.get("port") or PORT
