"""Look one row up on both ends, beside what the target remembers of the last runs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sync_assets.engine import errors
from sync_assets.engine.compare.sides import rows_of_source
from sync_assets.engine.inspection.explain import LastRun, sentence
from sync_assets.engine.inspection.row_lookup import source_row, target_row
from sync_assets.engine.layout.keys import choose_key
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.relation import Key, Relation
from sync_assets.engine.postgres.session import (
    PINNED,
    READ_SNAPSHOT,
    Cursor,
    rows,
    transaction,
)
from sync_assets.engine.postgres.time_outs import AS_IDLE_AS_ALLOWED
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.snapshot.give_way import MAX_BLOCKING, giving_way
from sync_assets.engine.snapshot.identity import require_same_source, require_two_tables
from sync_assets.engine.state import state
from sync_assets.engine.state.state import State
from sync_assets.engine.state.tables import are_there
from sync_assets.engine.table import Table

RECEIPTS = 5
"""So many of the newest are shown."""


@dataclass(frozen=True, slots=True)
class SeenRun:
    """One of the last runs, from its receipt."""

    run_id: str
    finished_at: datetime
    mode: str
    reason: str
    watermark_before: int | None
    watermark: int
    rows_exported: int
    rows_deleted: int


# What `why --json` prints: each field is a name in its schema.
@dataclass(frozen=True, slots=True)
class Why:
    """Everything that is known of a row, and the `sentence` that explains it.

    `equal` says whether its values are the same on both ends, by the rule of `verify`; None where
    it is on one only. `watermark` and `snapshot_xmax` are the last run's: it saw no transaction from `snapshot_xmax`
    on, and the next one reads what is at or above `watermark`.
    """

    source: str
    target: str
    key: dict[str, str]
    on_source: bool
    source_xmin: int | None
    source_leaf: str | None
    in_scope: bool | None
    on_target: bool
    equal: bool | None
    target_source_xmin: int | None
    deleted_at: datetime | None
    watermark: int | None
    snapshot_xmax: int | None
    snapshot_at: datetime | None
    runs: tuple[SeenRun, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class _Memory:
    known: State | None
    last: LastRun | None
    snapshot_at: datetime | None
    leaves: frozenset[int]
    runs: tuple[SeenRun, ...]


_STATE = """
SELECT watermark, snapshot_xmax, snapshot_at,
       ARRAY(SELECT leaf FROM sync_assets.state_leaf l
             WHERE (l.target_schema, l.target_table) = (s.target_schema, s.target_table))
FROM sync_assets.state s WHERE target_schema = %s AND target_table = %s
"""

_RUNS = """
SELECT run_id, finished_at, receipt->>'mode', receipt->>'reason',
       (receipt->>'watermark_before')::bigint, (receipt->>'watermark')::bigint,
       (receipt->>'rows_exported')::bigint, (receipt->>'rows_deleted')::bigint
FROM sync_assets.receipt WHERE target_schema = %s AND target_table = %s
ORDER BY id DESC LIMIT %s
"""


def why(
    source_url: DatabaseOrUrl, target_url: DatabaseOrUrl, table: Table, values: Sequence[str]
) -> Why:
    """Explain the row whose key columns have `values`, as text that the server casts.

    Changes nothing. Raises SyncError.
    """
    sessions = Sessions(source_url, target_url)
    return sessions.translating(lambda: _why(sessions, table, values))


def _why(sessions: Sessions, table: Table, values: Sequence[str]) -> Why:
    # The target first: a run that ends in between must not look as if it had missed the row.
    with (
        sessions.connected("target") as target,
        giving_way(sessions, MAX_BLOCKING, "target"),
        # The source may take long to find a row of a view.
        transaction(target, AS_IDLE_AS_ALLOWED, *PINNED, begin=READ_SNAPSHOT) as there,
    ):
        memory = _memory(there, table.target)
        relation = read_relation(there, table.target)
        with sessions.connected("source") as source, snapshot.taken(source, [table]) as (view,):
            require_two_tables(there, table, view, relation)
            if memory.known is not None:
                require_same_source(memory.known, view.snapshot)
            key = _key(table, view.relation)
            values = _values(table, key, values)
            with source.cursor() as here:
                on_source = source_row(here, table, view, key, values, memory.leaves)
        on_target = target_row(there, table, rows_of_source(table, view), relation, key, values)
    return Why(
        source=str(table.source),
        target=str(table.target),
        key=dict(zip(key.columns, values, strict=True)),
        on_source=on_source is not None,
        source_xmin=on_source.xmin if on_source else None,
        source_leaf=on_source.leaf if on_source else None,
        in_scope=on_source.in_scope if on_source else None,
        on_target=on_target is not None,
        equal=on_target.equals(on_source) if on_source and on_target else None,
        target_source_xmin=on_target.source_xmin if on_target else None,
        deleted_at=on_target.deleted_at if on_target else None,
        watermark=memory.last.watermark if memory.last else None,
        snapshot_xmax=memory.last.snapshot_xmax if memory.last else None,
        snapshot_at=memory.snapshot_at,
        runs=memory.runs,
        sentence=sentence(table, on_source, on_target, memory.last),
    )


def _memory(cursor: Cursor, target: RelationName) -> _Memory:
    place = (target.schema, target.name)
    found = rows(cursor, _STATE, place) if are_there(cursor) else []
    if not found:
        return _Memory(None, None, None, frozenset(), ())
    watermark, xmax, at, leaves = found[0]
    runs = tuple(SeenRun(*values) for values in rows(cursor, _RUNS, (*place, RECEIPTS)))
    known = state.read_current(cursor, target)
    return _Memory(known, LastRun(watermark, xmax), at, frozenset(leaves), runs)


def _key(table: Table, relation: Relation) -> Key:
    key = choose_key(table, relation)
    if key is None:
        raise errors.UnusableKey(
            f"{table.source} has no key, so no row of it can be named",
            remedy="Name the columns that identify a row: key: [id].",
        )
    return key


def _values(table: Table, key: Key, values: Sequence[str]) -> Sequence[str]:
    """One for each column; a comma separates them only where there are several columns."""
    if len(values) == 1 and len(key.columns) > 1:
        values = next(csv.reader(values))
    if len(values) != len(key.columns):
        raise errors.ConfigurationError(
            f"the key of {table.source} is {', '.join(key.columns)}: {len(key.columns)} values,"
            f" not {len(values)}",
            remedy="Give them in this order, as arguments or separated by commas.",
        )
    return values
