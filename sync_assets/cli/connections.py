"""Commands that ask the databases themselves do it once for each pair of connections."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sync_assets.config import SyncedTable, url_variable


@dataclass(frozen=True)
class Ends:
    """Two databases, and the tables that go from one to the other."""

    source_url: str
    target_url: str
    tables: list[SyncedTable]


def by_connections(tables: Iterable[SyncedTable]) -> Iterator[Ends]:
    """The tables by their connections, in order; the URLs are set: `require_urls` has seen them."""
    groups: dict[tuple[str, str], list[SyncedTable]] = {}
    for synced in tables:
        names = (synced.source_connection, synced.target_connection)
        groups.setdefault(names, []).append(synced)
    for names, group in groups.items():
        source_url, target_url = (os.environ[url_variable(name)] for name in names)
        yield Ends(source_url, target_url, group)
