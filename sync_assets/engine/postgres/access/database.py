"""A database as callers name it: its URL, and what else it takes to get in."""

from __future__ import annotations

from dataclasses import dataclass, field

PASSWORD_LIFETIME = 600.0
"""Seconds for which a printed password is used again: less than the 15 minutes of an IAM token on AWS."""


@dataclass(frozen=True, slots=True)
class Database:
    """One database by its libpq URL or DSN; `repr` shows none of what may hold a password.

    `password_command` is run, without a shell, and prints the password, which is then used for
    `password_lifetime` seconds by all connections of this process. `ssh` is the destination, as `ssh`
    takes it, of a tunnel that connections go through; the URL's host and port are then as seen from there.
    """

    url: str = field(repr=False)
    password_command: str | None = field(default=None, repr=False)
    password_lifetime: float = PASSWORD_LIFETIME
    ssh: str | None = None


DatabaseOrUrl = str | Database
"""A database, or its URL where nothing else is needed to get in."""


def as_database(given: DatabaseOrUrl) -> Database:
    """The database, of which the URL alone may be given."""
    return Database(given) if isinstance(given, str) else given
