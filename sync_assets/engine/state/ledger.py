"""The ledger of a load that is made of pieces: what its first snapshot saw, and what is loaded.

It lives beside the data: a piece is marked as loaded by the transaction that loads its rows. Whoever
works on a piece holds its line locked until then, so two workers never have the same one, and a
killed worker gives its piece back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.relation import LeafColumn
from sync_assets.engine.postgres.session import Cursor, row, rows
from sync_assets.engine.snapshot.pages import Position
from sync_assets.engine.snapshot.snapshot import Snapshot
from sync_assets.engine.state.shape import from_json
from sync_assets.engine.state.state import State, StateLeaf
from sync_assets.engine.table import Table


@dataclass(frozen=True, slots=True)
class Piece:
    """Pages `first` up to, not including, `end` of a leaf, by its oid."""

    leaf: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """How far a load has come, in pieces; `rows` and `bytes` are those of what is loaded."""

    pieces: int = 0
    pieces_loaded: int = 0
    rows: int = 0
    bytes: int = 0

    @property
    def pieces_left(self) -> int:
        """How many are still to be loaded."""
        return self.pieces - self.pieces_loaded


def begin(
    cursor: Cursor, table: Table, seen: State, pieces: Iterable[Piece], run_id: str
) -> datetime:
    """Begin the ledger of a table that has none; `seen` is its source under the load's first snapshot.

    Returns the moment, which tells one load of a table from another.
    """
    source, target = table.source, table.target
    (began,) = row(
        cursor,
        "INSERT INTO sync_assets.load VALUES (%s, %s, %s, %s, %s, DEFAULT, %s) RETURNING started_at",
        (target.schema, target.name, source.schema, source.name, _as_json(seen), run_id),
    )
    cut = list(pieces)
    columns = (
        [each.leaf for each in cut],
        [each.first for each in cut],
        [each.end for each in cut],
    )
    cursor.execute(
        "INSERT INTO sync_assets.load_piece"
        " SELECT %s, %s, * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[])",
        (target.schema, target.name, *columns),
    )
    moment: datetime = began
    return moment


def abandon(cursor: Cursor, targets: Iterable[RelationName]) -> int:
    """Forget the loads of targets, and return how many; their rows are dropped with their tables.

    Commit it before that: it waits for whoever works on a piece, and nobody else begins with one. A
    table that followed under the same name would get their rows.
    """
    if not is_there(cursor):
        return 0
    found = 0
    for target in targets:
        cursor.execute(
            f"DELETE FROM sync_assets.load WHERE {_OF_TARGET}",  # noqa: S608 - constants only
            _place(target),
        )
        found += cursor.rowcount
    return found


def is_there(cursor: Cursor) -> bool:
    """Whether the target's state has a ledger: that of older versions has none."""
    return bool(row(cursor, "SELECT to_regclass('sync_assets.load') IS NOT NULL")[0])


def recall(cursor: Cursor, target: RelationName) -> tuple[State, datetime] | None:
    """What the first snapshot of a target's load saw, and when it began; None where none has.

    Its `lsn` and `snapshot_xmax` are the furthest that any of its snapshots saw.
    """
    found = rows(cursor, _BEGUN, _place(target))
    if not found:
        return None
    ((state, began, lsn, xmax),) = found
    seen = _restored(state)
    furthest = {"lsn": max(seen.lsn, lsn), "snapshot_xmax": max(seen.snapshot_xmax, xmax)}
    return dataclasses.replace(seen, **furthest), began


_BEGUN = """
SELECT l.state, l.started_at, coalesce(max(p.lsn), 0), coalesce(max(p.snapshot_xmax), 0)
FROM sync_assets.load AS l LEFT JOIN sync_assets.load_piece AS p USING (target_schema, target_table)
WHERE (target_schema, target_table) = (%(schema)s, %(name)s)
GROUP BY target_schema, target_table, l.state, l.started_at
"""


_PROGRESS = """
SELECT count(*), count(loaded_at), coalesce(sum(rows), 0)::bigint, coalesce(sum(bytes), 0)::bigint
FROM sync_assets.load_piece WHERE (target_schema, target_table) = (%(schema)s, %(name)s)
"""


def progress(cursor: Cursor, target: RelationName) -> Loaded:
    """How far the load of a target has come."""
    return Loaded(*row(cursor, _PROGRESS, _place(target)))


_SHARES = """
SELECT target_schema, target_table,
       sum(end_page - first_page) FILTER (WHERE loaded_at IS NOT NULL)::float8
         / nullif(sum(end_page - first_page), 0)
FROM sync_assets.load LEFT JOIN sync_assets.load_piece USING (target_schema, target_table)
GROUP BY target_schema, target_table
"""


def shares(cursor: Cursor) -> dict[RelationName, float]:
    """What part of each load that has begun is there, from 0 to 1; none in state of older versions."""
    found = rows(cursor, _SHARES) if is_there(cursor) else ()
    return {RelationName(schema, name): share or 0.0 for schema, name, share in found}


_PASSED_BY = """
SELECT target_schema, target_table FROM sync_assets.load AS l WHERE EXISTS (
  SELECT FROM sync_assets.receipt AS r WHERE r.finished_at > l.started_at
    AND (r.target_schema, r.target_table) = (l.target_schema, l.target_table))
"""


def passed_by(cursor: Cursor) -> frozenset[RelationName]:
    """The targets of loads that have begun, and that other runs were published into since."""
    found = rows(cursor, _PASSED_BY) if is_there(cursor) else ()
    return frozenset(RelationName(*each) for each in found)


_UNFINISHED = """
SELECT DISTINCT leaf FROM sync_assets.load_piece
WHERE (target_schema, target_table) = (%(schema)s, %(name)s) AND loaded_at IS NULL
"""


def unfinished(cursor: Cursor, target: RelationName) -> frozenset[int]:
    """The oids of the leaves that have pieces left to be read."""
    return frozenset(leaf for (leaf,) in rows(cursor, _UNFINISHED, _place(target)))


def void(cursor: Cursor, target: RelationName, leaves: Iterable[int], seen: State) -> None:
    """Take what is left of leaves that are no longer read by pieces out of the ledger.

    What was loaded of them stays, in the table and in the ledger; `seen` is remembered from now on.
    """
    cursor.execute(
        f"UPDATE sync_assets.load SET state = %(state)s WHERE {_OF_TARGET}",  # noqa: S608 - constants only
        {**_place(target), "state": _as_json(seen)},
    )
    cursor.execute(
        f"DELETE FROM sync_assets.load_piece WHERE {_OF_TARGET}"  # noqa: S608 - constants only
        " AND leaf = ANY (%(leaves)s) AND loaded_at IS NULL",
        {**_place(target), "leaves": sorted(leaves)},
    )


_CLAIM = """
SELECT leaf, first_page, end_page
FROM sync_assets.load_piece AS p JOIN sync_assets.load AS l USING (target_schema, target_table)
WHERE (target_schema, target_table) = (%(schema)s, %(name)s) AND loaded_at IS NULL
  AND l.started_at = %(began)s
ORDER BY leaf, (leaf = %(leaf)s AND end_page <= %(page)s), first_page
LIMIT 1 FOR UPDATE OF p SKIP LOCKED
"""


def claim(
    cursor: Cursor, target: RelationName, began: datetime, onwards: tuple[int, int] | None = None
) -> Piece | None:
    """A piece that nobody works on, this transaction's until it ends; None where none is left.

    Only of the load that began at that moment: another one has another mark. What lies before a
    page of a leaf, `onwards`, comes last.
    """
    leaf, page = onwards or (0, 0)
    found = rows(cursor, _CLAIM, _place(target) | {"began": began, "leaf": leaf, "page": page})
    return Piece(*found[0]) if found else None


_LOADED = """
UPDATE sync_assets.load_piece
SET (rows, bytes, lsn, snapshot_xmax, loaded_at)
  = (%(rows)s, %(bytes)s, %(lsn)s, %(xmax)s, clock_timestamp())
WHERE (target_schema, target_table, leaf, first_page)
    = (%(schema)s, %(name)s, %(leaf)s, %(first)s)
"""


def loaded(
    cursor: Cursor, target: RelationName, piece: Piece, count: int, size: int, seen: Snapshot
) -> None:
    """Mark a piece as loaded, with its rows, the bytes of its batch files, and what it was read under."""
    values = {
        "rows": count,
        "bytes": size,
        "lsn": seen.lsn,
        "xmax": seen.xmax,
        "leaf": piece.leaf,
        "first": piece.first,
    }
    cursor.execute(_LOADED, _place(target) | values)


_SPLIT = """
WITH large AS (
  SELECT leaf, first_page, end_page FROM sync_assets.load_piece
  WHERE (target_schema, target_table) = (%(schema)s, %(name)s) AND leaf = %(leaf)s
    AND loaded_at IS NULL AND end_page - first_page > %(pages)s
  FOR UPDATE SKIP LOCKED
), cut AS (
  UPDATE sync_assets.load_piece AS p SET end_page = large.first_page + %(pages)s
  FROM large WHERE (p.target_schema, p.target_table) = (%(schema)s, %(name)s)
    AND (p.leaf, p.first_page) = (large.leaf, large.first_page)
)
INSERT INTO sync_assets.load_piece (target_schema, target_table, leaf, first_page, end_page)
SELECT %(schema)s, %(name)s, leaf, first, least(first + %(pages)s, end_page)
FROM large, generate_series(first_page + %(pages)s, end_page - 1, %(pages)s) AS first
"""


def split(cursor: Cursor, target: RelationName, leaf: int, pages: int) -> None:
    """Cut what is left of a leaf, and nobody works on, into pieces of so many pages at most."""
    cursor.execute(_SPLIT, _place(target) | {"leaf": leaf, "pages": pages})


_OF_TARGET = "(target_schema, target_table) = (%(schema)s, %(name)s)"


def _place(target: RelationName) -> dict[str, object]:
    return {"schema": target.schema, "name": target.name}


def _as_json(seen: State) -> str:
    return json.dumps(dataclasses.asdict(seen), default=datetime.isoformat)


def _restored(found: dict[str, Any]) -> State:
    leaves = (
        StateLeaf(**{**each, "columns": tuple(LeafColumn(**column) for column in each["columns"])})
        for each in found["leaves"]
    )
    return State(
        **{
            **found,
            "postmaster_start": datetime.fromisoformat(found["postmaster_start"]),
            "snapshot_at": datetime.fromisoformat(found["snapshot_at"]),
            "samples": (),
            "positions": tuple(Position(**each) for each in found["positions"]),
            "columns": from_json(found["columns"]),
            "leaves": tuple(leaves),
        }
    )
