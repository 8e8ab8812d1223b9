"""One target table has one writer: two connections that lead to one database are one target."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from sync_assets.config.model import SyncedTable
from sync_assets.connections import database_of, url_variable
from sync_assets.engine.errors import ConfigurationError, SyncError
from sync_assets.engine.inspection.one_database import lead_to_one_database
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.access.database import DatabaseOrUrl

Rivals = Mapping[RelationName, frozenset[str]]
"""The connections on which a table is a target, where there are several."""


def rivals_among(tables: Iterable[SyncedTable]) -> Rivals:
    """The targets that are written through more than one connection."""
    found: dict[RelationName, set[str]] = {}
    for synced in tables:
        found.setdefault(synced.table.target, set()).add(synced.target_connection)
    return {name: frozenset(those) for name, those in found.items() if len(those) > 1}


def refuse_shared_target(synced: SyncedTable, url: DatabaseOrUrl, rivals: Rivals) -> None:
    """Raise ConfigurationError where `url`, the table's target, is that of another one, too.

    Asks nobody where the table has no rival. One that does not answer now cannot be judged.
    """
    target = synced.table.target
    for other in sorted(rivals.get(target, frozenset()) - {synced.target_connection}):
        try:
            its = database_of(other, os.environ) if os.environ.get(url_variable(other)) else None
            shared = its is not None and lead_to_one_database(url, its)
        except SyncError:
            continue
        if shared:
            both = f"{synced.target_connection} and {other}"
            raise ConfigurationError(
                f"it is written through the connections {both}, which lead to one database",
                table=str(target),
                remedy="Take one of the two out of defs.yaml, or name another target.",
            )
