"""Whether two URLs, however they are written, lead to one database."""

from __future__ import annotations

from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.connection import ask
from sync_assets.engine.snapshot.identity import place_of


def lead_to_one_database(url: DatabaseOrUrl, other: DatabaseOrUrl) -> bool:
    """Ask both servers which they are; raises SyncError."""
    return url == other or ask(url, place_of, "target").shows(ask(other, place_of, "target"))
