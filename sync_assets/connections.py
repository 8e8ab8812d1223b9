"""The connections by name, as the environment has them: `source` is what SYNC_SOURCE_… says."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.postgres.access.database import PASSWORD_LIFETIME, Database

SET_URL = "Write the database's URL there, for example postgresql://user@host/database."
"""The remedy where the variable of a connection is not set."""

URL_VARIABLE = re.compile(r"SYNC_(\w+)_URL")
"""A variable that holds a connection's URL."""

LIFETIME = "SYNC_PASSWORD_LIFETIME"
"""For how many seconds a printed password is used again, whatever connection it is for."""


def url_variable(connection: str) -> str:
    """The environment variable that holds a connection's URL: SYNC_SOURCE_URL for `source`."""
    return _variable(connection, "URL")


def named_connections(environment: Mapping[str, str]) -> list[str]:
    """The connections that have a URL, in alphabetical order."""
    found = (URL_VARIABLE.fullmatch(name) for name, url in environment.items() if url.strip())
    return sorted(each[1].lower() for each in found if each)


def command_variable(connection: str) -> str:
    """The variable of the command that prints a connection's password."""
    return _variable(connection, "PASSWORD_COMMAND")


def ssh_variable(connection: str) -> str:
    """The variable of the SSH destination that a connection goes through."""
    return _variable(connection, "SSH")


def database_of(connection: str, environment: Mapping[str, str]) -> Database:
    """The database of a connection; raises ConfigurationError where it has no URL."""
    variable = url_variable(connection)
    url = environment.get(variable, "").strip()
    if not url:
        raise ConfigurationError(f"{variable} is not set", remedy=SET_URL)
    command = environment.get(command_variable(connection), "").strip()
    ssh = environment.get(ssh_variable(connection), "").strip()
    return Database(url, command or None, password_lifetime(environment), ssh or None)


def password_lifetime(environment: Mapping[str, str]) -> float:
    """For how many seconds a printed password is used again; raises ConfigurationError."""
    text = environment.get(LIFETIME, "").strip()
    try:
        seconds = float(text) if text else PASSWORD_LIFETIME
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ConfigurationError(
            f"{LIFETIME} is {text!r}",
            remedy="Write seconds, from 0 up: 0 runs the command for each connection.",
        )
    return seconds


def _variable(connection: str, what: str) -> str:
    return f"SYNC_{connection.upper()}_{what}"
