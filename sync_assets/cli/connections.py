"""Commands that ask the databases themselves do it once for each pair of connections."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sync_assets.config.model import SyncedTable
from sync_assets.connections import database_of
from sync_assets.engine.postgres.access.database import DatabaseOrUrl


@dataclass(frozen=True)
class Ends:
    """Two databases, and the tables that go from one to the other."""

    source_url: DatabaseOrUrl
    target_url: DatabaseOrUrl
    tables: list[SyncedTable]
    target_connection: str


def urls_of(synced: SyncedTable) -> tuple[DatabaseOrUrl, DatabaseOrUrl]:
    """Where its source and its target are; raises ConfigurationError where no variable says so."""
    return (
        database_of(synced.source_connection, os.environ),
        database_of(synced.target_connection, os.environ),
    )


def by_connections(tables: Iterable[SyncedTable]) -> Iterator[Ends]:
    """The tables by their connections, in order."""
    groups: dict[tuple[str, str], list[SyncedTable]] = {}
    for synced in tables:
        names = (synced.source_connection, synced.target_connection)
        groups.setdefault(names, []).append(synced)
    for group in groups.values():
        yield Ends(*urls_of(group[0]), group, group[0].target_connection)
