"""A living daemon: the sensor, both kinds of schedule, freshness and alerts, all in one story."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
import yaml

from sync_assets.private_server.instance import child_environment
from sync_assets.private_server.processes import kill_with_children, leashed
from sync_assets.runs.in_flight import REQUESTED_BY
from sync_assets_tests.fixtures.inbox import Inbox
from sync_assets_tests.fixtures.pair import Pair

PATIENCE = 150
TABLES = [
    {"source": "watched", "automation": "running", "freshness": "1 hour"},
    {"source": "scheduled", "automation": "running", "schedule": "* * * * *"},
    {
        "source": "reconciled",
        "automation": "running",
        "schedule": "@yearly",
        "reconcile": "* * * * *",
    },
    {"source": "missing", "automation": "running"},
    {"source": "idle", "schedule": "* * * * *"},
]
SENSOR = "shop_changes"
PARTS = {
    "sensor_interval": "1 second",
    "alerts": {"webhook": True},
    "defaults": {"automation": "running"},
    "tables": [{"source": "parts.*"}],
}
"""A component whose tables are what the source has."""


@dataclass
class Daemon:
    """A daemon that runs what `home` and the environment say."""

    instance: dg.DagsterInstance
    log: Path
    process: subprocess.Popen[bytes]
    start: Callable[[], subprocess.Popen[bytes]]

    def lose_power(self) -> None:
        """Kill the daemon with its code server and every run, all at once, and start it again."""
        kill_with_children(self.process, PATIENCE)
        self.process = self.start()

    def await_(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"{what} never came:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.2)

    def runs(self, requester: str = SENSOR) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(tags={REQUESTED_BY: requester})))

    def latest(self, table: str) -> dict[str, Any]:
        event = self.instance.get_latest_materialization_event(key(table))
        found = event.asset_materialization if event else None
        return {name: value.value for name, value in found.metadata.items()} if found else {}


def key(table: str) -> dg.AssetKey:
    return dg.AssetKey(["target", "public", table])


@pytest.fixture
def daemon(tmp_path: Path, pair: Pair, inbox: Inbox) -> Iterator[Daemon]:
    for name in ("watched", "scheduled", "reconciled", "idle"):
        pair.source(f"CREATE TABLE {name} (id int PRIMARY KEY)", f"INSERT INTO {name} VALUES (1)")
    pair.source("CREATE SCHEMA parts", "CREATE TABLE parts.old (id int PRIMARY KEY)")
    # So that its first reconciliation is a full pass, and not a first load.
    pair.sync("reconciled")
    home, folder = tmp_path / "home", tmp_path / "defs" / "shop"
    home.mkdir()
    folder.mkdir(parents=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    attributes = {"sensor_interval": "1 second", "alerts": {"webhook": True}, "tables": TABLES}
    document = {"type": "sync_assets.TableSync", "attributes": attributes}
    (folder / "defs.yaml").write_text(yaml.safe_dump(document))
    (folder.parent / "parts").mkdir()
    parts = {"type": "sync_assets.TableSync", "attributes": PARTS}
    (folder.parent / "parts" / "defs.yaml").write_text(yaml.safe_dump(parts))
    environment = child_environment(
        {
            "DAGSTER_HOME": str(home),
            "SYNC_DEFS": str(tmp_path / "defs"),
            "SYNC_SOURCE_URL": pair.source_url,
            "SYNC_TARGET_URL": pair.target_url,
            "SYNC_ALERT_WEBHOOK": inbox.webhook,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
    )
    command = [sys.executable, "-m", "dagster._daemon", "run", "-m", "sync_assets.definitions"]
    with (
        # Before the daemon: two processes must not create the instance's storage at once.
        dg.DagsterInstance.from_config(str(home)) as instance,
        (tmp_path / "log").open("w") as log,
        ExitStack() as leashes,
    ):

        def start() -> subprocess.Popen[bytes]:
            options: dict[str, Any] = {"env": environment, "cwd": tmp_path}
            leash = leashed(command, stdout=log, stderr=log, **options)
            return leashes.enter_context(leash)

        yield Daemon(instance, tmp_path / "log", start(), start)


@pytest.mark.slow
@pytest.mark.timeout(600)  # it waits for the minutes of clocks
def test_sensor_and_schedules_at_work(daemon: Daemon, pair: Pair, inbox: Inbox) -> None:
    def target_holds(table: str, number: int) -> bool:
        if not _is_there(pair, table):
            return False
        return pair.target(f"SELECT count(*) FROM {table} WHERE id = {number}") == [(1,)]

    daemon.await_("what a pattern matches", lambda: _is_there(pair, "parts.old"))
    pair.source("CREATE TABLE parts.new (id int PRIMARY KEY)")
    daemon.await_("the first load", lambda: target_holds("watched", 1))
    pair.target("ALTER TABLE watched ADD CONSTRAINT small CHECK (id < 100)")
    pair.source("INSERT INTO watched VALUES (100)")
    daemon.await_("the failure", lambda: _statuses(daemon).count("FAILURE") >= 1)
    pair.target("ALTER TABLE watched DROP CONSTRAINT small")
    daemon.await_("the recovery", lambda: target_holds("watched", 100))
    daemon.await_("the alert", lambda: bool(_posts(inbox, "public.watched: ")))
    assert _posts(inbox, "(100)") == []
    daemon.await_("the hindrance", lambda: bool(_posts(inbox, "no table public.missing")))
    daemon.await_("the schedule", lambda: target_holds("scheduled", 1))
    daemon.await_(
        "the reconciliation",
        lambda: "asked for" in str(daemon.latest("reconciled").get("sync/reason")),
    )
    pair.source("TRUNCATE watched", "INSERT INTO watched VALUES (200)")
    daemon.await_("the change", lambda: target_holds("watched", 200))
    daemon.await_("the freshness", lambda: _freshness(daemon) == "PASS")
    # The sensor looks once a minute, and so does the daemon for other definitions.
    daemon.await_("the alert", lambda: bool(_posts(inbox, "loaded anew: parts.new")))
    daemon.await_("the new table, without an edit", lambda: _is_there(pair, "parts.new"))
    assert len(_posts(inbox, "parts.new")) == 1
    assert pair.target("SELECT to_regclass('idle')") == [(None,)], "it was told to stay stopped"
    assert _piled_up(daemon) == []
    assert len(_posts(inbox, "no table public.missing")) == 1


def _is_there(pair: Pair, table: str) -> bool:
    return pair.target(f"SELECT to_regclass('{table}')") != [(None,)]


def _posts(inbox: Inbox, part: str) -> list[str]:
    return [post["text"] for post in inbox.posts if part in post["text"]]


@pytest.mark.slow
def test_a_run_that_died_with_its_machine_is_told_and_made_up_for(
    daemon: Daemon, pair: Pair, inbox: Inbox
) -> None:
    daemon.await_("the first load", lambda: _statuses(daemon) == ["SUCCESS"])
    with closing(psycopg2.connect(pair.target_url)) as writer, writer.cursor() as cursor:
        cursor.execute("LOCK TABLE watched IN EXCLUSIVE MODE")
        pair.source("INSERT INTO watched VALUES (2)")
        waits = "SELECT pid FROM pg_locks WHERE relation = 'watched'::regclass AND NOT granted"
        daemon.await_("the run at work", lambda: bool(pair.target(waits)))
        daemon.lose_power()
        daemon.await_("the end of the dead run", lambda: "FAILURE" in _statuses(daemon))
    daemon.await_("another run", lambda: pair.target("SELECT max(id) FROM watched") == [(2,)])
    # What held the table up may have been told before.
    daemon.await_("the alert", lambda: bool(_posts(inbox, "The process of this run is gone.")))


def _statuses(daemon: Daemon) -> list[str]:
    return [run.status.value for run in daemon.runs()]


def _freshness(daemon: Daemon) -> str:
    found = daemon.instance.get_freshness_state_records([key("watched")])
    return found[key("watched")].freshness_state.value if found else ""


def _piled_up(daemon: Daemon) -> list[str]:
    """Runs of the sensor that began before the one before them had ended."""
    found = daemon.instance.get_run_records(dg.RunsFilter(tags={REQUESTED_BY: SENSOR}))
    ordered = sorted(found, key=lambda record: record.create_timestamp)
    return [
        f"{later.create_timestamp}"
        for earlier, later in itertools.pairwise(ordered)
        if earlier.end_time is None or later.create_timestamp.timestamp() < earlier.end_time
    ]
