"""What was switched on in the UI stays on, and what a change switches off is told."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from sync_assets.config.folder import read_components
from sync_assets.engine.errors import ConfigurationError
from sync_assets_tests.fixtures.documents import forget_definitions, printed
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.switches import switched_off, switched_on

ROOT = Path(__file__).parents[2]
TABLES = [{"source": "a"}, {"source": "b"}]
CRON = "*/15 * * * *"
ATTRIBUTES = {"defaults": {"schedule": CRON}, "tables": TABLES}


@dataclass(frozen=True)
class Project:
    """A folder of definitions and a Dagster home, in which Dagster's own commands work."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def write(self, attributes: dict[str, Any], folder: str = "shop") -> None:
        for old in self.folder.glob("defs/*/defs.yaml"):
            old.unlink()
        file = self.folder / "defs" / folder / "defs.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump({"type": "sync_assets.TableSync", "attributes": attributes}))

    def dagster(self, *words: str) -> str:
        """What `dagster schedule …` says; it loads the code location as the UI does."""
        command = [sys.executable, "-m", "dagster", "schedule", *words]
        done = subprocess.run(
            [*command, "--workspace", str(ROOT / "workspace.yaml")],
            cwd=self.folder,
            env=dict(os.environ) | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout + done.stderr

    def switch_on(self, schedule: str) -> None:
        """What `dagster schedule start` leaves, but for how the code location was loaded."""
        with dg.DagsterInstance.get() as instance:
            switched_on(instance, schedule, CRON)

    def told(self) -> list[str]:
        """What `check` says of switches."""
        forget_definitions()
        found = printed("check")["findings"]
        return [each["what"] for each in found if each["check"] == "switches"]


@pytest.fixture
def project(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    pair.source("CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY)")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    made = Project(tmp_path, monkeypatch)
    made.write(ATTRIBUTES)
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path / "defs"))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    return made


@pytest.mark.slow
def test_an_edit_of_the_times_and_a_move_under_its_own_name_leave_a_schedule_on(
    project: Project,
) -> None:
    project.dagster("start", "shop_sync")
    project.write(ATTRIBUTES | {"defaults": {"schedule": "@hourly", "timezone": "Asia/Seoul"}})
    said = project.dagster("list")
    assert "Schedule: shop_sync [RUNNING]\nCron Schedule: @hourly" in said
    assert project.told() == []
    project.write(ATTRIBUTES | {"name": "shop"}, "store")
    assert "Schedule: shop_sync [RUNNING]" in project.dagster("list")
    assert project.told() == []


@pytest.mark.slow
def test_a_switch_whose_folder_has_moved_is_told_when_it_loads_and_by_check(
    project: Project,
) -> None:
    project.switch_on("shop_sync")
    project.write(ATTRIBUTES, "store")
    said = "shop_sync is switched on in Dagster and no longer there: nothing runs by it"
    mend = "switch on in the UI what stands in its place (store_changes, store_sync)"
    # Beside the load: a short command may be over before it is said.
    assert eventually(lambda: f"{said}: {mend}" in project.dagster("list"))
    assert project.told() == [said]


@pytest.mark.slow
def test_a_table_that_leaves_a_schedule_that_is_on_is_told_until_somebody_decides(
    project: Project,
) -> None:
    project.switch_on("shop_sync")
    project.write(ATTRIBUTES | {"tables": [TABLES[0], TABLES[1] | {"schedule": "@hourly"}]})
    assert project.told() == ["shop_sync__b is off, and was so from the beginning; shop_sync is on"]
    with dg.DagsterInstance.get() as instance:
        switched_off(instance, "shop_sync__b", "@hourly")
    assert project.told() == []


@pytest.mark.slow
def test_a_table_that_starts_to_run_by_itself_takes_no_other_out_of_a_schedule_in_silence(
    project: Project,
) -> None:
    project.switch_on("shop_sync")
    running = TABLES[0] | {"automation": "running"}
    project.write(ATTRIBUTES | {"tables": [running, TABLES[1]]})
    (said,) = project.told()
    assert said.startswith("shop_sync is switched on in Dagster, and does not sync public.b: ")
    assert eventually(lambda: said in project.dagster("list"))
    project.write(ATTRIBUTES | {"tables": [running, TABLES[1] | {"automation": "stopped"}]})
    assert project.told() == []


def test_a_name_belongs_to_one_component(tmp_path: Path) -> None:
    document = {"type": "sync_assets.TableSync", "attributes": {"name": "x", "tables": TABLES[:1]}}
    other = document | {"attributes": {"name": "x", "tables": TABLES[1:]}}
    (tmp_path / "defs.yaml").write_text(yaml.safe_dump_all([document, other]))
    with pytest.raises(ConfigurationError, match=r"name: 'x' is already the name of .*yaml:2"):
        read_components(tmp_path)
