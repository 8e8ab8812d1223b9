"""Wait until the source is in a state in which it may be read, before anything is held there."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from sync_assets.engine.context import Run
from sync_assets.engine.errors import PrivilegeError
from sync_assets.engine.limits import Limits, PauseWhile
from sync_assets.engine.names import quoted
from sync_assets.engine.postgres.connection import Server, Sessions, sessions_of
from sync_assets.engine.postgres.session import Connection, row

LOOK_EVERY = 3.0
"""Seconds between two looks at the source."""

CATCHES_UP = 30.0
"""Seconds that a standby may take to replay what the last run has seen."""

WAITS_FROM = 190000
"""The first version that can be told to wait for a position."""

STEP = 0.2
"""Seconds after which one who waits hears of being cancelled."""

_STATE = """
SELECT (SELECT max(extract(epoch FROM replay_lag))::float8 FROM pg_stat_replication),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
          AND state = 'active' AND application_name <> 'sync_assets'),
       pg_has_role('pg_read_all_stats', 'USAGE'), current_user::text
"""
"""Ours are left out by the name that all our sessions have; it is one statement, in no transaction."""


def wait_while(run: Run, source: Connection, *kept: Connection) -> float:
    """Wait while `pause_while` of the run's limits holds, and return for how many seconds.

    `source`, in no transaction, is what asks; it and the connections that are `kept` meanwhile show
    their servers a sign of life. Why is told in the run's progress, and in its receipts. Raises
    PrivilegeError where the role is not shown what it asks for, and Cancelled.
    """
    pause = run.limits.pause_while
    if pause is None:
        return 0.0
    report, before = run.report, run.report.phase
    # One of a run's workers asks at a time; the others would only be told the same.
    with report.waiting:
        began, why = time.monotonic(), dict[str, str]()
        while reasons := reasons_to_wait(source, pause):
            why = reasons | why
            report.begin("wait", "; ".join(reasons.values()))
            for connection in (source, *kept):
                with connection.cursor() as cursor:
                    cursor.execute("SELECT")
            _rest(run.sessions)
        waited = time.monotonic() - began
        report.waited(waited, why)
    if why and before is not None:
        report.begin(before)
    return waited


def await_replay(run: Run, source: Connection, lsn: int, *kept: Connection) -> None:
    """Let a standby that is behind replay the WAL up to `lsn`, in bytes, where it soon does.

    `source` is in no transaction, as WAIT FOR takes none that holds a snapshot (the manual); `kept` show
    their servers a sign of life meanwhile. Whether it has caught up is for the plan to say.
    """
    standby = source.info.parameter_status("in_hot_standby") == "on"
    if not (lsn and standby) or source.server_version < WAITS_FROM:
        return
    place = f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:08X}"
    why = f"this standby has not replayed {place}, which the last run has seen"
    began, before = time.monotonic(), run.report.phase
    while _is_behind(source, place) and time.monotonic() - began < CATCHES_UP:
        run.report.begin("wait", why)
        for connection in kept:
            with connection.cursor() as cursor:
                cursor.execute("SELECT")
        run.sessions.check()
    if run.report.phase == "wait":
        run.report.waited(time.monotonic() - began, {"replay": why})
        if before is not None:
            run.report.begin(before)


def _is_behind(source: Connection, place: str) -> bool:
    """Whether a position is still to be replayed after LOOK_EVERY; not on what is no standby any more."""
    with source.cursor() as cursor:
        statement = f"WAIT FOR LSN %s WITH (TIMEOUT '{LOOK_EVERY}s', NO_THROW)"
        (status,) = row(cursor, statement, (place,))
    return bool(status == "timeout")


def reasons_to_wait(source: Connection, pause: PauseWhile) -> dict[str, str]:
    """What of `pause_while` holds now, by its key and in words; raises PrivilegeError."""
    found: dict[str, str] = {}
    if pause.between is not None and pause.between.have(datetime.now(timezone.utc)):
        found["between"] = f"the hours {pause.between}"
    if not pause.sees_others:
        return found
    with source.cursor() as cursor:
        lag, sessions, sees_all, role = row(cursor, _STATE)
    if not sees_all:
        raise PrivilegeError(
            f"pause_while asks for what other roles' sessions do, which the source does not show {role}",
            remedy=f"Run on the source: {grant_to(role)}",
        )
    if pause.replication_lag is not None and (lag or 0.0) > pause.replication_lag:
        most = f"{pause.replication_lag:g} s"
        found["replication_lag"] = f"a replication lag of {lag:,.0f} s, above {most}"
    if pause.active_sessions is not None and sessions > pause.active_sessions:
        most = f"{pause.active_sessions:,}"
        found["active_sessions"] = f"{sessions:,} other active sessions, above {most}"
    return found


def waits_now(server: Server, limits: Limits) -> str:
    """Why a run with these limits would wait now, in words; empty where it would not.

    Raises PrivilegeError where such a run would, and what connecting raises.
    """
    pause = limits.pause_while
    if pause is None:
        return ""
    sessions = sessions_of(server)

    def asked() -> str:
        with sessions.connected("source") as source:
            return "; ".join(reasons_to_wait(source, pause).values())

    return sessions.translating(asked)


def grant_to(role: str) -> str:
    """The statement that lets a role see what `pause_while` asks for."""
    return f"GRANT pg_read_all_stats TO {quoted(role)};"


def _rest(sessions: Sessions) -> None:
    end = time.monotonic() + LOOK_EVERY
    while (left := end - time.monotonic()) > 0:
        sessions.check()
        time.sleep(min(left, STEP))
