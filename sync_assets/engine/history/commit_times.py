"""When the transactions that wrote a target's rows were committed on the source, as far as it knows."""

from __future__ import annotations

from datetime import datetime

import psycopg2.errors
from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine.history.versions import NO_TIMES
from sync_assets.engine.names import staging_name
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import Cursor, rows, transaction

AT_ONCE = 50_000
"""Transactions that the source is asked about in one statement."""


def are_told(plan: Plan) -> bool:
    """Whether the rows' xids are the source's own, which alone knows of them."""
    relation = plan.view.relation
    here = plan.view.reach is None and all(leaf.kind != "f" for leaf in relation.leaves)
    return relation.has_versions and here


def commit_times(
    cursor: Cursor, sessions: Sessions, plan: Plan, written: Composable, since: int
) -> Composable:
    """A table of the xids from `since` on among `written` rows, with their commit's time.

    What was written before that was seen by the run before: it changed nothing since. Asked in a
    session of its own, not under the run's snapshot: that time does not change any more.
    """
    xid = Identifier(plan.table.xmin_column)
    cursor.execute(
        SQL(
            "DECLARE written NO SCROLL CURSOR FOR SELECT DISTINCT w.{xid} FROM {written} AS w WHERE w.{xid} >= {since}"
        ).format(xid=xid, written=written, since=Literal(since))
    )
    times = NO_TIMES
    while xids := [each for (each,) in rows(cursor, f"FETCH {AT_ONCE} FROM written")]:
        known = _asked(sessions, xids)
        if not known:
            break
        if times is NO_TIMES:
            times = _made(cursor, plan)
        cursor.execute(
            SQL("INSERT INTO {} SELECT * FROM unnest(%s::bigint[], %s::timestamptz[])").format(
                times
            ),
            ([each for each, _ in known], [time for _, time in known]),
        )
    cursor.execute("CLOSE written")
    if times is not NO_TIMES:
        cursor.execute(SQL("ANALYZE {}").format(times))
    return times


def _made(cursor: Cursor, plan: Plan) -> Composable:
    staging = staging_name(plan.table.target, temporary=True)
    table = Identifier(staging.schema, f"{staging.name}_times")
    cursor.execute(
        # By its key: how few versions are opened, the planner cannot guess, and loops over it.
        SQL(
            "CREATE TEMP TABLE {} (xid bigint PRIMARY KEY, committed timestamptz) ON COMMIT DROP"
        ).format(table)
    )
    return table


# The setting first: where it is off, the question is an error, and in the source's log each time.
_COMMITTED = """
SELECT xid, CASE WHEN current_setting('track_commit_timestamp')::boolean
                 THEN pg_xact_commit_timestamp(xid::text::xid8::xid) END
FROM unnest(%s::bigint[]) AS xid
"""


def _asked(sessions: Sessions, xids: list[int]) -> list[tuple[int, datetime]]:
    """The times that the source still knows; none where it does not keep any."""
    try:
        with sessions.connected("source") as source, transaction(source) as cursor:
            found = rows(cursor, _COMMITTED, (xids,))
    except psycopg2.errors.ObjectNotInPrerequisiteState:
        # A standby keeps them where its primary does, whatever its own setting says.
        return []
    return [(xid, time) for xid, time in found if time is not None]
