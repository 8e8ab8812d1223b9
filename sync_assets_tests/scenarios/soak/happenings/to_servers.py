"""What happens to servers, networks, disks and passwords."""

from __future__ import annotations

import contextlib
from pathlib import Path
from unittest import mock

import psycopg2

from sync_assets.private_server.account import ENVIRONMENT
from sync_assets_tests.scenarios.soak.servers import PASSWORDS
from sync_assets_tests.scenarios.soak.stage import NOTHING, Happening, Stage, Told

OTHER_TIME = next(
    Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), Path("libfaketimeMT.so.1")
)
"""Debian's faketime: programs that are started with it are told another time."""


def restarted(stage: Stage, server: str, how: str) -> Happening:
    getattr(stage.servers, server).restart(how)
    yield NOTHING


def down(stage: Stage, server: str) -> Happening:
    getattr(stage.servers, server).kill()
    yield NOTHING
    getattr(stage.servers, server).start()


def other_time(stage: Stage, server: str) -> Happening:
    """It comes back with its clock ahead, which is put right later."""
    with mock.patch.dict(ENVIRONMENT, LD_PRELOAD=str(OTHER_TIME), FAKETIME="+1h"):
        getattr(stage.servers, server).restart("fast")
    stage.tables.touch(stage.tables.watched)
    yield NOTHING
    getattr(stage.servers, server).restart("fast")


def failed_over(stage: Stage) -> Happening:
    stage.servers.fail_over()
    yield NOTHING


def network(stage: Stage, side: str, how: str, seconds: str) -> Happening:
    proxy = getattr(stage.servers, f"{side}_address").proxy
    if how == "half-open":
        proxy.lose("replies", float(seconds))
    elif how == "stalled":
        proxy.stall(float(seconds))
    else:
        proxy.cut()
    yield NOTHING
    proxy.heal()


def disk_full(stage: Stage, disk: str, words: str = "") -> Happening:
    getattr(stage.servers, disk).fill()
    stage.tables.touch(stage.tables.watched)
    yield stage.all_hindered(words) if words else NOTHING
    stage.servers.mend()


def target_full(stage: Stage) -> Happening:
    stage.servers.target_disk.fill()
    stage.tables.touch(["visits"])
    yield Told(failed="visits")
    stage.servers.mend()


def crowded(stage: Stage, side: str) -> Happening:
    server = stage.servers.primary if side == "source" else stage.servers.target
    url = server.url(side).replace("postgres@", "crowd@", 1)
    crowd = []
    try:
        with contextlib.suppress(psycopg2.OperationalError):
            while True:
                crowd.append(psycopg2.connect(url))
        yield NOTHING
    finally:
        for each in crowd:
            each.close()


def password_rotated(stage: Stage, side: str, role: str) -> Happening:
    at = getattr(stage.servers.pair, side)
    at(f"ALTER ROLE {role} PASSWORD 'of this month'")
    yield stage.all_hindered(f"ConnectionFailed: cannot connect to the {side}")
    at(f"ALTER ROLE {role} PASSWORD '{PASSWORDS[role]}'")
