"""The databases a sync connects to, as Dagster resources."""

import dagster as dg
from pydantic import Field

from sync_assets.config.model import url_variable
from sync_assets.engine.errors import ConfigurationError


class PostgresResource(dg.ConfigurableResource["PostgresResource"]):
    """One PostgreSQL database."""

    url: str = Field(
        description="Any libpq URL or key=value connection string; bind it with dg.EnvVar.",
        repr=False,
    )

    def connection_url(self) -> str:
        """The URL to connect to; raises ConfigurationError if it is empty."""
        if not self.url.strip():
            raise ConfigurationError(
                "the database's URL is empty",
                remedy="Set the variable it is bound to (SYNC_SOURCE_URL, SYNC_TARGET_URL).",
            )
        return self.url


def bound_from_environment(connections: set[str]) -> dict[str, PostgresResource]:
    """A resource for each connection, whose URL is read when a run starts."""
    return {
        name: PostgresResource(url=dg.EnvVar(url_variable(name))) for name in sorted(connections)
    }
