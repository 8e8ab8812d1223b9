"""State and receipts as one document, to follow their tables to another server.

The rows themselves travel by other means. What cannot be carried over is the proof that the
target's tables are still those that the last run left: their OIDs and filenodes are others there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sync_assets.engine import errors
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.catalog import read_storage
from sync_assets.engine.postgres.connection import Sessions, ask
from sync_assets.engine.postgres.lock import locked
from sync_assets.engine.postgres.session import Cursor, row, rows, transaction
from sync_assets.engine.snapshot.identity import its_own_target, place_of
from sync_assets.engine.state.tables import STATE_VERSION, migrate, prepare
from sync_assets.engine.table import Table

UNKNOWN_STORAGE = "imported"
"""No table is stored so: the next run reads everything."""

PARTS = ("state", "state_leaf", "receipt")

_EXPORT = """
SELECT jsonb_build_object(
  'state', to_jsonb(s),
  'state_leaf', coalesce((SELECT jsonb_agg(to_jsonb(l) ORDER BY leaf) FROM sync_assets.state_leaf l
    WHERE (l.target_schema, l.target_table) = (s.target_schema, s.target_table)), '[]'),
  'receipt', coalesce((SELECT jsonb_agg(to_jsonb(r) - 'id' ORDER BY id) FROM sync_assets.receipt r
    WHERE (r.target_schema, r.target_table) = (s.target_schema, s.target_table)), '[]'))
FROM sync_assets.state s ORDER BY target_schema, target_table
"""


def export_state(target_url: DatabaseOrUrl) -> dict[str, Any]:
    """Everything that a target remembers, ready for JSON; changes nothing. Raises SyncError."""
    return {"state_version": STATE_VERSION, "tables": ask(target_url, _exported, "target")}


def _exported(cursor: Cursor) -> list[dict[str, Any]]:
    cursor.execute("SET LOCAL TimeZone = 'UTC'")
    # An older version's state is read in this version's shape, and stays as it is.
    tables = [table for (table,) in rows(cursor, _EXPORT)] if migrate(cursor) else []
    cursor.execute("ROLLBACK")
    return tables


def import_state(
    target_url: DatabaseOrUrl, document: Mapping[str, Any], *, trust_target: bool = False
) -> list[RelationName]:
    """Make a target remember what another one did; return the tables.

    `trust_target` says that its tables hold the very rows that the other target's held when the
    document was made: the next run goes on from there. Otherwise it reads everything once. A table
    that is remembered already is refused. Raises SyncError; all or nothing.
    """
    tables = _tables(document)
    targets = [_target(table) for table in tables]
    sessions = Sessions(target_url, target_url)

    def write() -> list[RelationName]:
        with sessions.connected("target") as connection, locked(connection, targets):
            with transaction(connection) as cursor:
                for table in tables:
                    _require_another_database(cursor, table["state"])
            prepare(connection)
            with transaction(connection) as cursor:
                migrate(cursor)
                for target, table in zip(targets, tables, strict=True):
                    _import(cursor, target, table, trust_target=trust_target)
        return targets

    return sessions.translating(write)


def _tables(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    version, tables = document.get("state_version"), document.get("tables")
    shaped = isinstance(tables, list) and all(_is_shaped(table) for table in tables)
    if not isinstance(version, int) or not shaped:
        raise errors.ConfigurationError(
            "the file is not an exported state", remedy="Make one: sync-assets state export FILE."
        )
    if version != STATE_VERSION:
        raise errors.ConfigurationError(
            f"the file has state version {version}, this program works with {STATE_VERSION}",
            remedy="Export it again with the version of sync-assets that will import it.",
        )
    return tables or []


def _is_shaped(table: object) -> bool:
    if not isinstance(table, dict) or set(table) != set(PARTS):
        return False
    state = table["state"]
    names = ("target_schema", "target_table")
    return isinstance(state, dict) and all(isinstance(state.get(name), str) for name in names)


def _target(table: Mapping[str, Any]) -> RelationName:
    return RelationName(table["state"]["target_schema"], table["state"]["target_table"])


def _import(
    cursor: Cursor, target: RelationName, table: Mapping[str, Any], *, trust_target: bool
) -> None:
    place = (target.schema, target.name)
    known = "SELECT count(*) FROM sync_assets.state WHERE target_schema = %s AND target_table = %s"
    if row(cursor, known, place)[0]:
        raise errors.ConfigurationError(
            f"the target remembers {target} already",
            remedy=f"Drop that first: sync-assets forget {target}.",
        )
    stored = _storage(cursor, target) if trust_target else UNKNOWN_STORAGE
    # The map of keys by page stays where it was: the next run makes one.
    state = {**table["state"], "target_storage": stored, "mapped": False}
    parts = {**table, "state": [state]}
    for part in PARTS:
        _insert(cursor, part, parts[part])


def _require_another_database(cursor: Cursor, state: Mapping[str, Any]) -> None:
    """Refuse what would make a table its own target: the source's URL was given for the target's."""
    here = place_of(cursor)
    read_from = [state.get(name) for name in ("system_identifier", "source_database", "timeline")]
    source, target = (
        tuple(str(state.get(f"{end}_{part}")) for part in ("schema", "table"))
        for end in ("source", "target")
    )
    if source == target and read_from == [here.system_identifier, here.database, here.timeline]:
        raise its_own_target(Table(RelationName(*source), RelationName(*target)))


def _storage(cursor: Cursor, target: RelationName) -> str:
    stored = read_storage(cursor, target)
    if stored is None:
        raise errors.NoSuchRelation(
            f"the target has no table {target} to trust",
            remedy="Restore the tables first, or import without --trust-target.",
        )
    return stored


def _insert(cursor: Cursor, part: str, values: Sequence[Mapping[str, Any]]) -> None:
    columns = [
        name
        for (name,) in rows(
            cursor,
            "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(%s)"
            " AND attnum > 0 AND NOT attisdropped AND attidentity = '' ORDER BY attnum",
            (f"sync_assets.{part}",),
        )
    ]
    names = ", ".join(columns)
    cursor.execute(
        f"INSERT INTO sync_assets.{part} ({names}) SELECT {names}"  # noqa: S608 - our own columns
        f" FROM jsonb_populate_recordset(NULL::sync_assets.{part}, %s)",
        (json.dumps(values),),
    )
