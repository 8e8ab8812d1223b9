"""Which of the configured tables a command is about."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from sync_assets.config import SyncedTable, url_variable
from sync_assets.defs_folder import locate, read_components
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.session import check_url

NAMED_AT_MOST = 10


def configured_tables() -> tuple[Path, list[SyncedTable]]:
    """Where the tables are written down, and all of them; raises ConfigurationError if none is."""
    place = locate(os.environ)
    tables = [
        synced
        for component in read_components(place)
        for synced in component.config.synced_tables(component.folder.name)
    ]
    if not tables:
        raise ConfigurationError(
            "no tables are configured",
            remedy="Name the folder or defs.yaml that lists them in SYNC_DEFS.",
        )
    return place, tables


def selected(tables: Sequence[SyncedTable], patterns: Sequence[str]) -> list[SyncedTable]:
    """The tables whose target is named or matched, and those that are synced at once with them.

    Each pattern must find one.
    """
    for pattern in patterns:
        if not any(_matches(synced, pattern) for synced in tables):
            names = ", ".join(str(synced.table.target) for synced in tables[:NAMED_AT_MOST])
            raise ConfigurationError(
                f"no target table matches {pattern!r}",
                remedy=f"Configured are {names}{' and others' if len(tables) > NAMED_AT_MOST else ''}.",
            )
    chosen = {
        (synced.target_connection, target)
        for synced in tables
        if not patterns or any(_matches(synced, pattern) for pattern in patterns)
        for target in (synced.table.target, *synced.snapshot_targets)
    }
    return [s for s in tables if (s.target_connection, s.table.target) in chosen]


def require_urls(tables: Sequence[SyncedTable]) -> None:
    """Raise ConfigurationError naming each variable that is not set, or no URL."""
    connections = {c for s in tables for c in (s.source_connection, s.target_connection)}
    missing = sorted(v for v in map(url_variable, connections) if not os.environ.get(v, "").strip())
    if missing:
        raise ConfigurationError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
            remedy="Set it to the database's URL, for example postgresql://user@host/database.",
        )
    for connection in sorted(connections):
        check_url(os.environ[url_variable(connection)], connection)


def _matches(synced: SyncedTable, pattern: str) -> bool:
    name = str(synced.table.target)
    return name == pattern or fnmatchcase(name, pattern) or name == f"public.{pattern}"
