"""The databases a sync connects to, as Dagster resources."""

import os

import dagster as dg
from pydantic import Field

from sync_assets.connections import command_variable, password_lifetime, ssh_variable, url_variable
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.postgres.access.database import Database


class PostgresResource(dg.ConfigurableResource["PostgresResource"]):
    """One PostgreSQL database."""

    url: str = Field(
        description="Any libpq URL or key=value connection string; bind it with dg.EnvVar.",
        repr=False,
    )
    password_command: str | None = Field(
        default=None,
        description="A command, run without a shell, that prints the password, in place of one in the URL.",
        repr=False,
    )

    ssh: str | None = Field(
        default=None,
        description="The SSH destination to go through: user@host, a Host of ~/.ssh/config or ssh://user@host:port.",
    )

    def connection_url(self) -> str:
        """The URL to connect to; raises ConfigurationError if it is empty."""
        if not self.url.strip():
            raise ConfigurationError(
                "the database's URL is empty",
                remedy="Set the variable it is bound to (SYNC_SOURCE_URL, SYNC_TARGET_URL).",
            )
        return self.url

    def database(self) -> Database:
        """The database with what it takes to get in; raises ConfigurationError if the URL is empty."""
        command, ssh = (self.password_command or "").strip(), (self.ssh or "").strip()
        lifetime = password_lifetime(os.environ)
        return Database(self.connection_url(), command or None, lifetime, ssh or None)


def bound_from_environment(connections: set[str]) -> dict[str, PostgresResource]:
    """A resource for each connection, whose variables are read when a run starts."""
    return {name: _bound(name) for name in sorted(connections)}


def _bound(connection: str) -> PostgresResource:
    variables = {
        "password_command": command_variable(connection),
        "ssh": ssh_variable(connection),
    }
    # Dagster refuses a variable that is not set, and these need not be.
    given = {
        field: dg.EnvVar(name)
        for field, name in variables.items()
        if os.environ.get(name, "").strip()
    }
    return PostgresResource(url=dg.EnvVar(url_variable(connection)), **given)
