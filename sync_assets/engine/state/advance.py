"""Move the mark of a target on, and write the receipt of the run that did."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from sync_assets.engine import errors
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.session import Cursor
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.state.shape import leaf_json
from sync_assets.engine.state.state import FIELDS, MAP, State, StateLeaf, keys_by_page_of

_FORGET = """
DELETE FROM sync_assets.receipt
WHERE target_schema = %(target_schema)s AND target_table = %(target_table)s AND id <= (
  SELECT id FROM sync_assets.receipt
  WHERE target_schema = %(target_schema)s AND target_table = %(target_table)s
  ORDER BY id DESC OFFSET %(kept)s LIMIT 1)
"""


_WRITTEN = {
    "map": f"CASE WHEN %(mapped)s THEN {MAP.format('%(map_name)s')} END",
    "synced_at": "clock_timestamp()",
}
"""What a column is written as where it is not a plain value."""


def advance(
    cursor: Cursor,
    target: RelationName,
    source: RelationName,
    before: State | None,
    after: State,
    receipt: Receipt,
) -> None:
    """Write state and receipt inside the publishing transaction; raises ConcurrentRun.

    Where the data as a whole is no newer than it was, that is still the last sync.
    """
    values: dict[str, object] = {"source_schema": source.schema, "source_table": source.name}
    if before is None or before.snapshot_at != after.snapshot_at:
        values |= {"mode": receipt.mode, "run_id": receipt.run_id, "synced_at": None}
    kept = {column: getattr(after, name) for column, name in FIELDS.items() if name != "version"}
    mapping = {"mapped": after.mapped, "map_name": keys_by_page_of(target).as_sql}
    values |= kept | {
        "samples": json.dumps([(each.xid, each.key) for each in after.samples]),
        "positions": _positions(after),
        "columns": after.columns.as_json() if after.columns else None,
    }
    place = {"target_schema": target.schema, "target_table": target.name}
    if before is None:
        _execute_insert(cursor, values | place, mapping)
    else:
        _execute_update(cursor, values, {**place, **mapping}, before.version)
    if cursor.rowcount != 1:
        raise errors.ConcurrentRun(f"another run has changed the state of {target} meanwhile")
    if before is None or before.leaves != after.leaves:
        _write_leaves(cursor, target, after.leaves, replaced=before is not None)
    cursor.execute(
        "INSERT INTO sync_assets.receipt (target_schema, target_table, run_id, receipt) "
        "VALUES (%s, %s, %s, %s)",
        (target.schema, target.name, receipt.run_id, json.dumps(receipt.as_dict())),
    )
    if before is not None:
        cursor.execute(_FORGET, {**place, "kept": receipts_kept()})


def amend_receipt(cursor: Cursor, target: RelationName, receipt: Receipt) -> None:
    """Write down what a run did after it had published."""
    cursor.execute(
        "UPDATE sync_assets.receipt SET receipt = %s"
        " WHERE (target_schema, target_table, run_id) = (%s, %s, %s)",
        (json.dumps(receipt.as_dict()), target.schema, target.name, receipt.run_id),
    )


_UNTOUCHED = """
UPDATE sync_assets.state AS s SET
  version = s.version + 1, synced_at = clock_timestamp(), run_id = %(run_id)s,
  watermark = %(watermark)s, snapshot_xmax = %(snapshot_xmax)s, source_lsn = %(lsn)s,
  snapshot_at = %(snapshot_at)s, positions = seen.positions
FROM unnest(%(schemas)s::text[], %(names)s::text[], %(versions)s::bigint[], %(positions)s::jsonb[])
  AS seen (schema, name, version, positions)
WHERE (s.target_schema, s.target_table, s.version) = (seen.schema, seen.name, seen.version)
"""


def advance_untouched(
    cursor: Cursor, run_id: str, before: Mapping[RelationName, State], after: Sequence[State]
) -> None:
    """Move the marks of targets on in which a run on one snapshot has found nothing to write.

    `after` are their states in the order of `before`. They get no receipt. Raises ConcurrentRun.
    """
    seen = after[0]
    values = {
        "run_id": run_id,
        "watermark": seen.watermark,
        "snapshot_xmax": seen.snapshot_xmax,
        "lsn": seen.lsn,
        "snapshot_at": seen.snapshot_at,
        "schemas": [target.schema for target in before],
        "names": [target.name for target in before],
        "versions": [known.version for known in before.values()],
        "positions": [_positions(state) for state in after],
    }
    cursor.execute(_UNTOUCHED, values)
    if cursor.rowcount != len(before):
        names = ", ".join(map(str, before))
        raise errors.ConcurrentRun(f"another run has changed the state of one of {names} meanwhile")


def _positions(state: State) -> str:
    return json.dumps([(each.next_xid, each.lsn) for each in state.positions])


def _execute_insert(cursor: Cursor, values: dict[str, object], mapping: dict[str, object]) -> None:
    names = ", ".join(values)
    marks = ", ".join(_WRITTEN.get(name, f"%({name})s") for name in values)
    cursor.execute(
        f"INSERT INTO sync_assets.state (version, {names}) "  # noqa: S608 - our own column names
        f"VALUES (1, {marks}) ON CONFLICT DO NOTHING",
        values | mapping,
    )


def _execute_update(
    cursor: Cursor, values: dict[str, object], place: dict[str, object], version: int
) -> None:
    assignments = ", ".join(f"{name} = {_WRITTEN.get(name, f'%({name})s')}" for name in values)
    cursor.execute(
        f"UPDATE sync_assets.state SET {assignments}, "  # noqa: S608 - our own column names
        "version = version + 1 "
        "WHERE target_schema = %(target_schema)s AND target_table = %(target_table)s "
        "AND version = %(read_version)s",
        values | place | {"read_version": version},
    )


def _write_leaves(
    cursor: Cursor, target: RelationName, leaves: tuple[StateLeaf, ...], *, replaced: bool
) -> None:
    if replaced:
        cursor.execute(
            "DELETE FROM sync_assets.state_leaf WHERE target_schema = %s AND target_table = %s",
            (target.schema, target.name),
        )
    cursor.execute(
        "INSERT INTO sync_assets.state_leaf "
        "SELECT %s, %s, * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], "
        "%s::jsonb[])",
        (
            target.schema,
            target.name,
            [leaf.oid for leaf in leaves],
            [leaf.filenode for leaf in leaves],
            [leaf.tablespace for leaf in leaves],
            [leaf_json(leaf.columns) for leaf in leaves],
        ),
    )


VARIABLE = "SYNC_RECEIPTS_KEPT"
DEFAULT = 1000


def receipts_kept() -> int:
    """What SYNC_RECEIPTS_KEPT says; raises ConfigurationError.

    At least one: a run whose reply to COMMIT was lost finds its own receipt again.
    """
    text = os.environ.get(VARIABLE, "").strip() or str(DEFAULT)
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ConfigurationError(
            f"{VARIABLE} is {text!r}", remedy="It must be a whole number from 1 up."
        )
    return int(text)
