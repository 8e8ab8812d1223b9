"""The open transaction that holds a mark back, and the targets that runs hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.connection import Server, ask
from sync_assets.engine.postgres.lock import end_idle, held_among
from sync_assets.engine.postgres.session import Cursor, row, rows
from sync_assets.engine.postgres.xid import RING


@dataclass(frozen=True, slots=True)
class Holder:
    """An open transaction: of a session (`pid`), or a prepared one (`gid`).

    What this role may not see is None.
    """

    pid: int | None
    gid: str | None
    user: str | None
    application: str | None
    database: str | None
    age_seconds: float | None

    def __str__(self) -> str:
        what = f"prepared transaction {self.gid!r}" if self.gid else f"process {self.pid}"
        details = (
            self.user and f"user {self.user}",
            self.application and f"application {self.application}",
            self.database and f"database {self.database}",
            self.age_seconds is not None and f"open for {self.age_seconds:,.0f} s",
        )
        return ", ".join([what, *(text for text in details if text)])


@dataclass(frozen=True, slots=True)
class WatermarkAge:
    """How far the source has moved beyond a watermark, in transactions, and who keeps it there."""

    xids: int
    holder: Holder | None


_XIDS = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint - %s"


def holder_of(mark: str) -> str:
    """The statement that finds the open transaction with a 64-bit id, an SQL expression.

    One row at most, with a Holder's fields. To be sent with parameters: its percent signs are doubled.
    """
    return f"""
SELECT pid, NULL::text AS gid, usename::text, nullif(application_name, ''), datname::text,
  extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity WHERE backend_xid::text::bigint = {mark} %% {RING}
UNION ALL
SELECT NULL, gid, owner::text, NULL, database::text,
  extract(epoch FROM clock_timestamp() - prepared)::float8
FROM pg_prepared_xacts WHERE transaction::text::bigint = {mark} %% {RING}
LIMIT 1"""  # noqa: S608 - constants only


def watermark_age(source: Server, watermark: int) -> WatermarkAge:
    """The age of a watermark on its source, now; raises SyncError.

    A mark is the oldest transaction that its snapshot saw running, in whichever database. A
    standby does not know who runs it on the primary.
    """

    def age(cursor: Cursor) -> WatermarkAge:
        (xids,) = row(cursor, _XIDS, (watermark,))
        found = rows(cursor, holder_of("%(mark)s"), {"mark": watermark})
        return WatermarkAge(xids, Holder(*found[0]) if found else None)

    return ask(source, age)


def locked_among(target: Server, targets: Iterable[RelationName]) -> frozenset[RelationName]:
    """Those of the target tables that a session works on, by their locks; raises SyncError.

    A lock lives as long as its session: the server ends that within about a minute once its
    client is gone, whatever has become of the client's machine.
    """
    return ask(target, lambda cursor: held_among(cursor, targets), "target")


def end_silent(target_url: DatabaseOrUrl, targets: Iterable[RelationName], seconds: float) -> None:
    """End sessions of ours that hold these targets and have done nothing for so long; raises SyncError.

    Nothing is lost: a process that wakes up finds its session gone, and publishes nothing.
    """
    ask(target_url, lambda cursor: end_idle(cursor, targets, seconds), "target")
