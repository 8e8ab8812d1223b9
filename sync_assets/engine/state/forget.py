"""Drop what the target remembers of a table, never its rows."""

from __future__ import annotations

from dataclasses import dataclass

from sync_assets.engine import errors
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.connection import Sessions, ask
from sync_assets.engine.postgres.lock import locked
from sync_assets.engine.postgres.session import Cursor, rows, transaction
from sync_assets.engine.state import state
from sync_assets.engine.state.tables import are_there


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the target remembers of a table; `source` is where it last came from."""

    source: str
    target: str
    receipts: int


_REMEMBERED = """
SELECT source_schema, source_table, (
  SELECT count(*) FROM sync_assets.receipt r
  WHERE (r.target_schema, r.target_table) = (s.target_schema, s.target_table))
FROM sync_assets.state s WHERE target_schema = %s AND target_table = %s
"""


def remembered(target_url: str, target: RelationName) -> Remembered:
    """What `forget` would drop; raises SyncError, NoSuchRelation where there is nothing."""
    return ask(target_url, lambda cursor: _remembered(cursor, target), "target")


def forget(target_url: str, target: RelationName) -> Remembered:
    """Drop a table's state and receipts; return what they were.

    The table itself stays as it is: a run that meets it again takes it for one that it has never
    synced, and reads everything. Raises SyncError, ConcurrentRun while a run works on it.
    """
    sessions = Sessions(target_url, target_url)
    return sessions.translating(lambda: _forget(sessions, target))


def _forget(sessions: Sessions, target: RelationName) -> Remembered:
    with (
        sessions.connected("target") as connection,
        locked(connection, [target]),
        transaction(connection) as cursor,
    ):
        dropped = _remembered(cursor, target)
        # The state's leaves go with it.
        for table in ("state", "receipt"):
            cursor.execute(
                f"DELETE FROM sync_assets.{table} "  # noqa: S608 - our own table's name
                "WHERE target_schema = %s AND target_table = %s",
                (target.schema, target.name),
            )
        state.drop_keys_by_page(cursor, target)
    return dropped


def _remembered(cursor: Cursor, target: RelationName) -> Remembered:
    found = rows(cursor, _REMEMBERED, (target.schema, target.name)) if are_there(cursor) else []
    if not found:
        raise errors.NoSuchRelation(
            f"the target remembers no table {target}",
            remedy="See what it remembers: sync-assets status --all.",
        )
    schema, name, receipts = found[0]
    return Remembered(str(RelationName(schema, name)), str(target), receipts)
