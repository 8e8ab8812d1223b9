"""Whether two URLs, however they are written, lead to one database."""

from __future__ import annotations

from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import transaction
from sync_assets.engine.snapshot.identity import Place, place_of


def lead_to_one_database(url: str, other: str) -> bool:
    """Ask both servers which they are; raises SyncError."""
    return url == other or _place(url).shows(_place(other))


def _place(url: str) -> Place:
    sessions = Sessions(url, url, "sync_assets")

    def read() -> Place:
        with sessions.connected("target") as connection, transaction(connection) as cursor:
            return place_of(cursor)

    return sessions.translating(read)
