"""The executors of this machine at work, and the pool that keeps the source's connections few."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from sync_assets_tests.fixtures.live import lock_waits, locked
from sync_assets_tests.fixtures.pair import Pair, eventually

DEFS = """\
type: sync_assets.TableSync
attributes:
  workers: {default_workers: 1, max_workers: 1, min_workers: 1}
  tables: [{source: one}, {source: two}]
"""
INSTANCE = (
    "concurrency: {pools: {granularity: op, default_limit: 1}}\ntelemetry: {enabled: false}\n"
)
BLOCKED = "blocked by limit for pool sync_source"


class Project:
    """Two tables, a Dagster home whose pools admit one step, and a reader with few connections."""

    def __init__(self, folder: Path, pair: Pair) -> None:
        self.folder, self.pair, self.home = folder, pair, folder / "home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text(INSTANCE)
        (folder / "defs.yaml").write_text(DEFS)
        for table in ("one", "two"):
            pair.source(f"CREATE TABLE {table} AS SELECT i AS id FROM generate_series(1, 9) i")
            pair.source(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")

    def materialize(self, executor: str) -> subprocess.Popen[str]:
        """Start a run of both tables, as `dagster` itself does."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        own = {
            "DAGSTER_HOME": str(self.home),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SYNC_DEFS": str(self.folder),
            "SYNC_EXECUTOR": executor,
            "SYNC_SOURCE_URL": self.pair.source_url,
            "SYNC_TARGET_URL": self.pair.target_url,
        }
        words = ["asset", "materialize", "--select", "target/public/one,target/public/two"]
        command = [sys.executable, "-W", "ignore", "-m", "dagster", *words]
        return subprocess.Popen(
            [*command, "--module-name", "sync_assets.definitions"],
            env=kept | own,
            cwd=self.folder,
            stderr=subprocess.PIPE,
            text=True,
        )

    def messages(self) -> list[str]:
        """What the only run has logged."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            [run] = instance.get_runs()
            return [entry.user_message for entry in instance.all_logs(run.run_id)]


@pytest.fixture
def project(tmp_path: Path, pair: Pair) -> Project:
    return Project(tmp_path, pair)


def test_in_process(project: Project) -> None:
    process = project.materialize("in_process")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert project.pair.is_exact("public.one", "public.two")
    assert not any("subprocess" in message for message in project.messages())


@pytest.mark.slow
def test_multiprocess_keeps_to_the_pool_and_the_source_s_connections(project: Project) -> None:
    # One step may read at a time, with max_workers + 2 connections: the server refuses a fourth.
    project.pair.source(
        "CREATE ROLE few LOGIN CONNECTION LIMIT 3", "GRANT SELECT ON one, two TO few"
    )
    admin = project.pair.source_url
    project.pair = Pair(admin.replace("postgres@", "few@"), project.pair.target_url)
    with locked(admin, "one"), locked(admin, "two"):
        process = project.materialize("multiprocess")
        assert eventually(lambda: lock_waits(admin) == 1, seconds=60)
        assert eventually(lambda: any(BLOCKED in text for text in project.messages()), seconds=60)
        assert lock_waits(admin) == 1
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert project.pair.is_exact("public.one", "public.two")
    assert any("Launching subprocess" in message for message in project.messages())
