"""Dagster at home: a webserver, a daemon and a code server, each of which may die at any time."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from subprocess import STDOUT, Popen
from typing import Any

import dagster as dg
import psutil
import yaml

from sync_assets.private_server.instance import child_environment, dagster_url, write_instance
from sync_assets.private_server.processes import free_port, kill_with_children, leashed
from sync_assets_tests.fixtures.inbox import Inbox
from sync_assets_tests.fixtures.live import ROOT, Live
from sync_assets_tests.scenarios.soak.servers import Servers

LOCATION = "sync_assets"
COMPONENT = "shop"
PATIENCE = 60.0
RELOAD = f"""
mutation {{ reloadRepositoryLocation(repositoryLocationName: "{LOCATION}") {{ __typename }} }}
"""
SENSOR = """
query ($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) {
  ... on Sensor { sensorState { id } } } }
"""
STOP = "mutation ($id: String!) { stopSensor(id: $id) { __typename } }"
START = """
mutation ($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename } }
"""


class Home:
    """A folder with a home and its definitions, and the processes that live from it."""

    def __init__(self, folder: Path, servers: Servers, inbox: Inbox) -> None:
        self.folder = folder
        self.dagster_home = folder / "home"
        self.batch_dir = servers.batch_disk.folder / "batches"
        self._defs = folder / "defs" / COMPONENT / "defs.yaml"
        self._defs.parent.mkdir(parents=True)
        write_instance(self.dagster_home)
        code, web = free_port(), free_port()
        self._commands = _commands(folder, code, web)
        own = {
            "DAGSTER_HOME": str(self.dagster_home),
            "DAGSTER_PG_URL": dagster_url(servers.dagster.url("dagster")),
            "SYNC_DEFS": str(folder / "defs"),
            "SYNC_SOURCE_URL": servers.source_address.url("reader", "source"),
            "SYNC_TARGET_URL": servers.target_address.url("writer", "target"),
            "SYNC_BATCH_DIR": str(self.batch_dir),
            "SYNC_RECEIPTS_KEPT": "5",
            "SYNC_ALERT_WEBHOOK": inbox.webhook,
            "PYTHONPATH": str(ROOT),
        }
        self._environment = child_environment(own, drop=("SYNC_", "DAGSTER_", "PG"))
        self.ui = Live(folder, f"http://127.0.0.1:{web}", self._environment, servers.pair)
        self._lives = {name: contextlib.ExitStack() for name in self._commands}
        self._running: dict[str, Popen[bytes]] = {}

    @property
    def names(self) -> list[str]:
        """What the processes are called."""
        return list(self._commands)

    def start(self, *names: str, **besides: str) -> None:
        """Start these processes, with what their environment has besides."""
        environment = {**self._environment, **besides}
        for name in names:
            options: dict[str, Any] = {"cwd": self.folder, "env": environment}
            log = self._lives[name].enter_context((self.folder / f"{name}.log").open("ab"))
            life = leashed(self._commands[name], stdout=log, stderr=STDOUT, **options)
            self._running[name] = self._lives[name].enter_context(life)

    def start_missing(self) -> None:
        """Start what is dead."""
        for name in self.names:
            if self._running[name].poll() is not None:
                self._lives[name].close()
                self.start(name)

    def kill(self, *names: str) -> None:
        """Kill these with all below them, the runs of a code server too."""
        for name in names:
            kill_with_children(self._running[name], PATIENCE)
        for name in names:
            self._lives[name].close()

    def tree(self, name: str) -> list[psutil.Process]:
        """A process, and all below it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._running[name].pid)
            return [process, *process.children(recursive=True)]
        return []

    def is_up(self) -> bool:
        """Whether every process runs and the UI shows the code location."""
        try:
            return all(each.poll() is None for each in self._running.values()) and (
                self.ui.locations() == {LOCATION: "RepositoryLocation"}
            )
        except (OSError, AssertionError):
            return False

    def write(self, entries: Sequence[Mapping[str, Any]], interval: int) -> None:
        """Write the definitions, all tables of one component."""
        attributes = {
            "sensor_interval": f"{interval} seconds",
            # Columns come and go by the dozen, and the ledger is one of hindrances.
            "alerts": {"webhook": True, "on": ["failure", "stale", "new_table"]},
            "defaults": {"automation": "running", "deletes": "hard"},
            "tables": list(entries),
        }
        document = {"type": "sync_assets.TableSync", "attributes": attributes}
        self.write_text(yaml.safe_dump(document))

    def write_text(self, text: str) -> None:
        """Write the definitions as they come."""
        self._defs.write_text(text)

    def text(self) -> str:
        """The definitions as they are written."""
        return self._defs.read_text()

    def reload(self) -> None:
        """Press Reload in the UI."""
        self.ui.ask(RELOAD)

    def switch(self, sensor: str, *, on: bool) -> None:
        """Switch a sensor in the UI."""
        place = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__"}
        selector = {**place, "sensorName": sensor}
        if on:
            self.ui.ask(START, sensor=selector)
        else:
            state = self.ui.ask(SENSOR, sensor=selector)["sensorOrError"]["sensorState"]
            self.ui.ask(STOP, id=state["id"])

    def end(self) -> None:
        """Kill all of it."""
        for life in self._lives.values():
            life.close()

    def path_of_version(self, version: str) -> str:
        """A PYTHONPATH on which the package's metadata tells another version than is installed."""
        folder = self.folder / f"version-{version}"
        told = folder / f"sync_assets-{version}.dist-info"
        if not folder.exists():
            told.mkdir(parents=True)
            metadata = distribution("sync-assets").read_text("METADATA") or ""
            before = distribution("sync-assets").version
            now = metadata.replace(f"\nVersion: {before}\n", f"\nVersion: {version}\n", 1)
            (told / "METADATA").write_text(now)
        return f"{folder}:{self._environment['PYTHONPATH']}"


def _commands(folder: Path, code: int, web: int) -> dict[str, list[str]]:
    workspace = folder / "workspace.yaml"
    server = {"host": "127.0.0.1", "port": code, "location_name": LOCATION}
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
    python = (sys.executable, "-W", "ignore", "-m")
    loaded = ("-m", "sync_assets.definitions", "--location-name", LOCATION)
    place = ("--host", "127.0.0.1", "--port", str(code))
    return {
        "code server": [*python, "dagster", "code-server", "start", *loaded, *place],
        "daemon": [*python, "dagster._daemon", "run", "-w", str(workspace)],
        "webserver": [
            *(*python, "dagster_webserver", "-w", str(workspace)),
            *("-h", "127.0.0.1", "-p", str(web)),
        ],
    }


@contextlib.contextmanager
def watching(folder: Path, servers: Servers) -> Iterator[dg.DagsterInstance]:
    """The home as whoever watches it sees it."""
    url = dagster_url(servers.dagster.url("dagster"))
    folder.mkdir()
    settings = {"storage": {"postgres": {"postgres_url": url}}, "telemetry": {"enabled": False}}
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance
    shutil.rmtree(folder)
