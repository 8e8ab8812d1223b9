"""How fresh each target table is, from the state beside it and the source's present position."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import rows, transaction
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.snapshot.identity import is_behind, is_other_history, is_other_source
from sync_assets.engine.snapshot.snapshot import Snapshot
from sync_assets.engine.state import ledger
from sync_assets.engine.state.tables import are_there
from sync_assets.engine.table import Table


# One line of `status`, and of its JSON: each field is a name there.
@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table; None throughout where it was never synced.

    `configured` is false for a table that the target remembers and nobody asked for: how far it is
    behind its source cannot be told then.
    `source_problem` says where the source is not the one of the last sync, or shows an earlier
    state: then nothing is said of how far it is ahead. `loaded` is the share, from 0 to 1, that is there
    of a first load by pieces which is not published yet, `waits_for` why a run would wait now, where it
    is asked. `age_seconds` is how old the target's data is by the source's clock, `lag_bytes` and
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
    configured: bool = True
    source_problem: str | None = None
    loaded: float | None = None
    waits_for: str | None = None


_STATE = """
SELECT target_schema, target_table, source_schema, source_table, synced_at, mode, watermark, source_max_xmin, rows_in_target,
       snapshot_at, run_id, snapshot_xmax, source_lsn, system_identifier, source_database, timeline
FROM sync_assets.state ORDER BY target_schema, target_table
"""


def read_status(
    source_url: DatabaseOrUrl,
    target_url: DatabaseOrUrl,
    tables: Sequence[Table],
    *,
    others: bool = False,
) -> list[TableStatus]:
    """The status of each table, in order; changes nothing. Raises SyncError.

    `others` adds the tables that the target remembers besides.
    """
    sessions = Sessions(source_url, target_url)
    return sessions.translating(lambda: _read(sessions, tables, others=others))


def look_at_status(
    sessions: Sessions, tables: Sequence[Table], *, asks_source: bool
) -> list[TableStatus]:
    """`read_status` over given sessions; of a source that is not asked, nothing is said to be behind."""
    return sessions.translating(
        lambda: _read(sessions, tables, others=False, asks_source=asks_source)
    )


def _read(
    sessions: Sessions, tables: Sequence[Table], *, others: bool, asks_source: bool = True
) -> list[TableStatus]:
    with sessions.connected("target") as target, transaction(target) as cursor:
        states = rows(cursor, _STATE) if are_there(cursor) else ()
        found = {values[:2]: values[2:] for values in states}
        loads = ledger.shares(cursor)
    now = _now(sessions) if asks_source else None
    asked = {(table.target.schema, table.target.name) for table in tables}
    statuses = [
        dataclasses.replace(
            _status(
                table.source, table.target, found.get((table.target.schema, table.target.name)), now
            ),
            loaded=loads.get(table.target),
        )
        for table in tables
    ]
    for place, known in found.items():
        if others and place not in asked:
            source_name, target_name = RelationName(*known[:2]), RelationName(*place)
            told = _status(source_name, target_name, known, now)
            statuses.append(
                dataclasses.replace(
                    told, configured=False, lag_bytes=None, lag_xids=None, source_problem=None
                )
            )
    return statuses


def _now(sessions: Sessions) -> Snapshot:
    with sessions.connected("source") as source:
        return snapshot.now(source)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the last sync saw of its source."""

    snapshot_xmax: int
    lsn: int
    system_identifier: str | None
    database: int
    timeline: int | None


def _status(
    source: RelationName, target: RelationName, known: tuple[Any, ...] | None, now: Snapshot | None
) -> TableStatus:
    names = (str(source), str(target))
    if known is None:
        return TableStatus(*names)
    synced_at, mode, watermark, max_xmin, count, seen_at, run_id, *last = known[2:]
    seen = _Seen(*last)
    status = TableStatus(
        *names,
        synced_at=synced_at,
        mode=mode,
        watermark=watermark,
        source_max_xmin=max_xmin,
        rows_in_target=count,
        snapshot_at=seen_at,
        run_id=run_id,
    )
    if now is None:
        return status
    problem = _problem(seen, now)
    if problem is not None:
        return dataclasses.replace(status, source_problem=problem)
    return dataclasses.replace(
        status,
        age_seconds=(now.taken_at - seen_at).total_seconds(),
        lag_bytes=now.lsn - seen.lsn,
        lag_xids=now.xmax - seen.snapshot_xmax,
    )


def _problem(seen: _Seen, now: Snapshot) -> str | None:
    """What keeps the next run from going on from the last one."""
    if is_other_source(seen, now):
        return "another database than the last sync read"
    if is_behind(seen, now) and not is_other_history(seen, now):
        return "an earlier state than the last sync saw"
    return None
