"""Dagster's instance: as shipped it opens on a real PostgreSQL, and a mistake is one line."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import yaml
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage
from sqlalchemy import Connection, Engine, event

from sync_assets.engine.errors import ConfigurationError, ConnectionFailed, SyncError
from sync_assets.launch.instance import FILES, BrokenHome, mend_home, opened_instance
from sync_assets.private_server.instance import dagster_url
from sync_assets.private_server.processes import free_port
from sync_assets.runs.home import find_home
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

ROOT = Path(__file__).parents[2]
SHIPPED: dict[str, Any] = yaml.safe_load((ROOT / "dagster.yaml").read_text())


@both_ways
def test_what_is_shipped_keeps_everything_in_postgresql(
    source_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_PG_URL", dagster_url(source_url))
    with dg.instance_for_test(overrides=SHIPPED) as instance:
        storages = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
        kinds = (PostgresRunStorage, PostgresEventLogStorage, PostgresScheduleStorage)
        assert all(isinstance(*each) for each in zip(storages, kinds, strict=True))
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert (instance.run_monitoring_enabled, instance.run_retries_enabled) == (True, True)
        assert instance.run_retries_max_retries == 2
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.global_op_concurrency_default_limit == 4
        # It counts for as many places of a pool as it has steps, before it has taken one.
        assert instance.run_monitoring_poll_interval_seconds == 30
        # Without it a pool stays taken by a run that was killed.
        assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 60
        assert instance.managed_python_loggers == ["sync_assets"]


@pytest.mark.parametrize("in_postgresql", [True, False])
def test_a_home_of_our_own_is_as_shipped_but_for_its_storage(
    source_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_postgresql: bool
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    if in_postgresql:
        monkeypatch.setenv("DAGSTER_PG_URL", dagster_url(source_url))
    with opened_instance() as instance:
        assert Path(instance.root_directory) == find_home(os.environ)
        assert isinstance(instance.run_storage, PostgresRunStorage) == in_postgresql
        assert instance.global_op_concurrency_default_limit == 4
        assert not instance.telemetry_enabled


def test_a_run_is_recorded_in_it(source_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @dg.asset(pool="sync_source")
    def one() -> None:
        """Do nothing."""

    monkeypatch.setenv("DAGSTER_PG_URL", dagster_url(source_url))
    with dg.instance_for_test(overrides=SHIPPED) as instance:
        assert dg.materialize([one], instance=instance).success
        assert instance.get_latest_materialization_event(dg.AssetKey("one")) is not None


@pytest.mark.parametrize("command", ["check", "doctor", "status", "metrics", "run"])
def test_a_home_without_dagster_yaml_is_a_home_like_another(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)")
    (tmp_path / "defs.yaml").write_text(
        "type: sync_assets.TableSync\nattributes: {tables: [{source: t, deletes: hard}]}\n"
    )
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    (home := tmp_path / "home").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    words = [sys.executable, "-m", "sync_assets.cli", command]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "dagster instance configuration" not in done.stderr


def test_events_of_one_home_are_written_over_few_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    opened: set[object] = set()

    def note(connection: Connection, *_: object) -> None:
        if "event_logs" in str(_):
            opened.add(connection.connection.dbapi_connection)

    event.listen(Engine, "before_cursor_execute", note)
    with opened_instance() as instance:
        for number in range(20):
            instance.report_runless_asset_event(dg.AssetMaterialization(f"t{number}"))
        assert len(instance.get_asset_keys()) == 20
    event.remove(Engine, "before_cursor_execute", note)
    # Of each file one for its making and one for what is written to it: not one for each event.
    assert len(opened) <= 4
    files = [each.path for each in psutil.Process().open_files()]
    assert [each for each in files if each.startswith(str(tmp_path))] == []


def test_the_location_has_one_name_everywhere() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    [location] = workspace["load_from"]
    named, project = location["python_module"], (ROOT / "pyproject.toml").read_text()
    assert f'code_location_name = "{named["location_name"]}"' in project
    assert f'code_location_target_module = "{named["module_name"]}"' in project


HOST = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        (None, ConfigurationError, "DAGSTER_PG_URL is not set"),
        ("rubbish", ConfigurationError, "DAGSTER_PG_URL is not a database's URL"),
        (
            f"postgresql+psycopg://u:s3cret@{HOST}/x",
            ConfigurationError,
            "asks for the driver psycopg",
        ),
        (f"postgresql+psycopg2://u:s3cret@{HOST}/x", ConnectionFailed, "Connection refused"),
    ],
)
def test_a_wrong_url_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    url: str | None,
    kind: type[SyncError],
    said: str,
) -> None:
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(SHIPPED))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    if url:
        monkeypatch.setenv("DAGSTER_PG_URL", url)
    with pytest.raises(kind, match=said) as caught, opened_instance():
        pass
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "DAGSTER_PG_URL" in str(caught.value)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foo: 1\n", 'unexpected config entry "foo"'),
        ("storage: [\n", "while parsing"),
        ("concurrency: {pools: {granularity: zoo}}\n", "Found value `zoo`"),
    ],
)
def test_a_wrong_dagster_yaml_is_one_short_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    (tmp_path / "dagster.yaml").write_text(text)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=said) as caught, opened_instance():
        pass
    assert len(str(caught.value)) < 300


MANY = """
import multiprocessing, sys
from sync_assets.launch.instance import opened_instance

def opened(many):
    many.wait()
    with opened_instance(): pass

# Forked once all is imported, so that they are at it in the same moment.
fork = multiprocessing.get_context("fork")
many = fork.Barrier(4)
processes = [fork.Process(target=opened, args=(many,)) for _ in range(many.parties)]
for each in processes: each.start()
for each in processes: each.join()
sys.exit(any(each.exitcode for each in processes))
"""


@pytest.mark.parametrize("given", [True, False])
def test_a_new_home_may_be_opened_by_many_at_once(tmp_path: Path, given: bool) -> None:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    own = {"PYTHONPATH": os.pathsep.join(sys.path), "XDG_STATE_HOME": str(tmp_path)}
    home = tmp_path if given else find_home(own)
    environment = kept | own | ({"DAGSTER_HOME": str(home)} if given else {})
    many = [sys.executable, "-c", MANY]
    ended = subprocess.run(many, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert marks(home) == [1, 1, 1]


def marks(home: Path) -> list[int]:
    """How often each file of a home says of which version it is."""
    found = []
    for name in FILES:
        with closing(sqlite3.connect(home / name)) as file:
            found.append(file.execute("SELECT count(*) FROM alembic_version").fetchone()[0])
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_home_that_was_broken_so_is_named_with_what_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    home = tmp_path / "a home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with opened_instance():
        pass
    with closing(sqlite3.connect(home / name)) as file:
        file.execute("INSERT INTO alembic_version VALUES ('5771160a95ad')")
        file.commit()
    with (
        pytest.raises(ConfigurationError, match=f"{name} was made by several") as caught,
        opened_instance(),
    ):
        pass
    assert isinstance(caught.value, BrokenHome)
    assert "run: sync-assets doctor --fix" in caught.value.remedy
    mend_home(caught.value)
    with opened_instance() as instance:
        instance.all_asset_keys()
        instance.get_runs_count()
    assert marks(home) == [1, 1, 1]


def test_the_ui_says_so_too_before_it_starts_anything(tmp_path: Path) -> None:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    own = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "XDG_STATE_HOME": str(tmp_path),
        "SYNC_SOURCE_URL": "postgresql:///nowhere",
        "DAGSTER_PG_URL": f"postgresql+psycopg://u:s3cret@{HOST}/x",
    }
    port = str(free_port())
    done = subprocess.run(
        [sys.executable, "-m", "sync_assets.cli", "ui", "--port", port],
        env=kept | own,
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: DAGSTER_PG_URL asks for the driver psycopg")
