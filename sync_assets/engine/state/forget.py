"""Drop what the target remembers of a table, never its rows; of a load that is not done, all."""

from __future__ import annotations

from dataclasses import dataclass

from sync_assets.engine import errors
from sync_assets.engine.names import RelationName, suggestion
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.connection import Sessions, ask
from sync_assets.engine.postgres.lock import locked
from sync_assets.engine.postgres.session import Cursor, rows, transaction
from sync_assets.engine.state import ledger, state
from sync_assets.engine.state.left_behind import drop_statement, require_ours
from sync_assets.engine.state.tables import are_there


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the target remembers of a table; `source` is where it last came from.

    `loaded` is the share, from 0 to 1, that is there of a load which is not published yet.
    """

    source: str
    target: str
    receipts: int
    loaded: float | None = None


_REMEMBERED = """
SELECT source_schema, source_table, (
  SELECT count(*) FROM sync_assets.receipt r
  WHERE (r.target_schema, r.target_table) = (s.target_schema, s.target_table))
FROM sync_assets.state s WHERE target_schema = %s AND target_table = %s
"""

_KNOWN = "SELECT target_schema, target_table FROM sync_assets.state ORDER BY 1, 2"

_LOADED = """
SELECT source_schema, source_table FROM sync_assets.load
WHERE target_schema = %s AND target_table = %s
"""


def remembered(
    target_url: DatabaseOrUrl, target: RelationName, *, load: bool = False
) -> Remembered:
    """What `forget` would drop; raises SyncError, NoSuchRelation where there is nothing."""
    return ask(target_url, lambda cursor: _remembered(cursor, target, load=load), "target")


def forget(target_url: DatabaseOrUrl, target: RelationName, *, load: bool = False) -> Remembered:
    """Drop a table's state and receipts, and what a load has brought that is not done; or only that: `load`.

    The table itself stays as it is: without its state, a run that meets it again takes it for one that
    it has never synced, and reads everything. Returns what was dropped. Raises SyncError,
    ConcurrentRun while a run works on it.
    """
    sessions = Sessions(target_url, target_url)
    return sessions.translating(lambda: _forget(sessions, target, load=load))


def _forget(sessions: Sessions, target: RelationName, *, load: bool) -> Remembered:
    with (
        sessions.connected("target") as connection,
        locked(connection, [target]),
        transaction(connection) as cursor,
    ):
        dropped = _remembered(cursor, target, load=load)
        if not load:
            # The state's leaves go with it.
            for table in ("state", "receipt", "carried"):
                cursor.execute(
                    f"DELETE FROM sync_assets.{table} "  # noqa: S608 - our own table's name
                    "WHERE target_schema = %s AND target_table = %s",
                    (target.schema, target.name),
                )
            state.drop_keys_by_page(cursor, target)
        if dropped.loaded is not None:
            require_ours(cursor, [target])
            ledger.abandon(cursor, [target])
            cursor.execute(drop_statement([target]))
    return dropped


def _remembered(cursor: Cursor, target: RelationName, *, load: bool) -> Remembered:
    place = (target.schema, target.name)
    found = rows(cursor, _REMEMBERED, place) if are_there(cursor) and not load else []
    share = ledger.shares(cursor).get(target)
    if share is not None and not found:
        ((schema, name),) = rows(cursor, _LOADED, place)
        found = [(schema, name, 0)]
    if not found:
        what = f"load of {target} that is not done" if load else f"table {target}"
        raise errors.NoSuchRelation(
            f"the target remembers no {what}",
            remedy=f"{_meant(cursor, target)} See what it remembers: sync-assets status --all.".lstrip(),
        )
    schema, name, receipts = found[0]
    return Remembered(str(RelationName(schema, name)), str(target), receipts, share)


def _meant(cursor: Cursor, target: RelationName) -> str:
    known = rows(cursor, _KNOWN) if are_there(cursor) else []
    return suggestion(str(target), (str(RelationName(*each)) for each in known))
