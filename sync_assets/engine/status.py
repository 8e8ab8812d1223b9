"""How fresh each target table is, from the state beside it and the source's present position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sync_assets.engine.session import CATALOG_NAMES, Sessions, row, rows, transaction
from sync_assets.engine.table import Table


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table; None throughout where it was never synced.

    `age_seconds` is how old the target's data is by the source's clock, `lag_bytes` and
    `lag_xids` how much WAL and how many transactions the whole source has written since.
    """

    source: str
    target: str
    synced_at: datetime | None = None
    mode: str | None = None
    watermark: int | None = None
    source_max_xmin: int | None = None
    rows_in_target: int | None = None
    snapshot_at: datetime | None = None
    age_seconds: float | None = None
    lag_bytes: int | None = None
    lag_xids: int | None = None
    run_id: str | None = None


_NOW = """
SELECT clock_timestamp(), pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
             ELSE pg_current_wal_insert_lsn() END - '0/0'::pg_lsn)::bigint
"""

_STATE = """
SELECT target_schema, target_table, synced_at, mode, watermark, source_max_xmin, rows_in_target,
       snapshot_at, run_id, snapshot_xmax, source_lsn
FROM sync_assets.state
"""


def read_status(source_url: str, target_url: str, tables: Sequence[Table]) -> list[TableStatus]:
    """The status of each table, in order; changes nothing. Raises SyncError."""
    sessions = Sessions(source_url, target_url, "sync_assets")
    return sessions.translating(lambda: _read(sessions, tables))


def _read(sessions: Sessions, tables: Sequence[Table]) -> list[TableStatus]:
    with sessions.connected("target") as target, transaction(target, CATALOG_NAMES) as cursor:
        (there,) = row(cursor, "SELECT to_regclass('sync_assets.state') IS NOT NULL")
        found = {values[:2]: values[2:] for values in (rows(cursor, _STATE) if there else ())}
    with sessions.connected("source") as source, source.cursor() as cursor:
        now = row(cursor, _NOW)
    return [
        _status(table, found.get((table.target.schema, table.target.name)), now) for table in tables
    ]


def _status(table: Table, known: tuple[Any, ...] | None, now: tuple[Any, ...]) -> TableStatus:
    names = (str(table.source), str(table.target))
    if known is None:
        return TableStatus(*names)
    synced_at, mode, watermark, max_xmin, count, seen_at, run_id, seen_xmax, seen_lsn = known
    time, xmax, lsn = now
    return TableStatus(
        *names,
        synced_at=synced_at,
        mode=mode,
        watermark=watermark,
        source_max_xmin=max_xmin,
        rows_in_target=count,
        snapshot_at=seen_at,
        age_seconds=(time - seen_at).total_seconds(),
        lag_bytes=lsn - seen_lsn,
        lag_xids=xmax - seen_xmax,
        run_id=run_id,
    )
