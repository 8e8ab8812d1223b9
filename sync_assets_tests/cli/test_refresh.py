"""Patterns over a real source: discovered, refreshed, loaded without a connection, synced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from sync_assets.cli import main
from sync_assets.definitions import load_tables
from sync_assets_tests.fixtures.documents import forget_definitions, printed
from sync_assets_tests.fixtures.pair import Pair

TABLES = (
    "CREATE SCHEMA sales",
    "CREATE TABLE sales.orders (id int PRIMARY KEY, at timestamptz)",
    "COMMENT ON TABLE sales.orders IS 'What *was* sold'",
    "INSERT INTO sales.orders VALUES (1, now())",
    "CREATE TABLE sales.lines (id int PRIMARY KEY) PARTITION BY RANGE (id)",
    "CREATE TABLE sales.lines_1 PARTITION OF sales.lines FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE sales.notes (note text)",
    "CREATE VIEW sales.seen AS SELECT * FROM sales.orders",
)


class Project:
    """A folder of definitions over two databases."""

    def __init__(self, folder: Path) -> None:
        self.defs = folder / "defs"
        (self.defs / "shop").mkdir(parents=True)

    def write(self, **attributes: Any) -> None:
        values = {"tables": [{"source": "sales.*"}], **attributes}
        text = yaml.safe_dump({"type": "sync_assets.TableSync", "attributes": values})
        (self.defs / "shop" / "defs.yaml").write_text(text)

    def specs(self) -> dict[str, dg.AssetSpec]:
        """The assets, as a process that starts now has them."""
        forget_definitions()
        loaded = load_tables(self.defs).resolve_all_asset_specs()
        return {spec.key.to_user_string(): spec for spec in loaded}


@pytest.fixture
def project(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    pair.source(*TABLES)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    made = Project(tmp_path)
    made.write()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SYNC_DEFS", str(made.defs))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    return made


def targets(document: dict[str, Any]) -> list[str]:
    return sorted(each["target"] for each in document["tables"])


def test_run_syncs_what_a_pattern_matches_and_a_new_table_without_an_edit(
    project: Project, pair: Pair
) -> None:
    assert targets(printed("run")) == ["sales.lines", "sales.orders"]
    pair.source("CREATE TABLE sales.added (id int PRIMARY KEY)", "DROP TABLE sales.lines")
    assert targets(printed("run")) == ["sales.added", "sales.orders"]


def test_refresh_says_what_is_new_gone_and_left_out(project: Project, pair: Pair) -> None:
    (first,) = printed("refresh")["components"]
    assert (first["new"], first["gone"]) == ([], [])
    assert first["tables"] == ["sales.lines", "sales.orders"]
    assert first["left_out"].keys() == {"sales.notes", "sales.seen"}
    pair.source("CREATE TABLE sales.added (id int PRIMARY KEY)", "DROP TABLE sales.lines")
    (second,) = printed("refresh")["components"]
    assert (second["new"], second["gone"]) == (["sales.added"], ["sales.lines"])
    findings = [f for f in printed("check")["findings"] if f["check"] == "left_out"]
    assert {f["where"] for f in findings} == {"sales.notes", "sales.seen"}


def test_definitions_load_without_a_connection_and_show_columns_before_the_first_sync(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed("refresh")
    monkeypatch.delenv("SYNC_SOURCE_URL")
    specs = project.specs()
    assert {key for key in specs if key.startswith("target")} == {
        "target/sales/lines",
        "target/sales/orders",
    }
    for key in ("source/sales/orders", "target/sales/orders"):
        schema = specs[key].metadata["dagster/column_schema"].schema
        assert [(c.name, c.type, c.constraints.other) for c in schema.columns] == [
            ("id", "integer", ["key"]),
            ("at", "timestamp with time zone", []),
        ]
        # The comment is somebody else's text.
        assert specs[key].description == "` What *was* sold `"


def test_a_source_that_nobody_has_looked_at_and_that_does_not_answer_is_a_warning(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SYNC_SOURCE_URL", "postgresql://nobody@127.0.0.1:1/none?connect_timeout=2")
    assert project.specs() == {}
    assert "no table by pattern is known yet" in caplog.text


def test_new_tables_wait_where_they_are_to_be_asked_for(project: Project, pair: Pair) -> None:
    project.write(on_new_table="ask")
    printed("refresh")
    pair.source("CREATE TABLE sales.added (id int PRIMARY KEY)")
    assert targets(printed("run")) == ["sales.lines", "sales.orders"]
    (told,) = printed("refresh")["components"]
    assert told["left_out"]["sales.added"] == "it is new, and waits to be taken"
    printed("refresh", "--take", "sales.*")
    assert targets(printed("run")) == ["sales.added", "sales.lines", "sales.orders"]


def test_definitions_that_nobody_may_write_to_are_synced_all_the_same(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    # A file where the folder would be: root writes to every folder.
    (project.defs / ".local_defs_state").write_text("")
    assert targets(printed("run")) == ["sales.lines", "sales.orders"]
    assert "target/sales/orders" in project.specs()
    assert "cannot be written" in caplog.text
    failed = CliRunner().invoke(main, ["refresh"])
    assert failed.exit_code == 2
    assert "Let this user write to the folder of the definitions" in failed.output


def test_patterns_that_leave_nothing_to_sync_say_why(project: Project, pair: Pair) -> None:
    project.write(tables=[{"source": "sales.notes*"}])
    ended = CliRunner().invoke(main, ["run"])
    assert ended.exit_code == 2
    assert "nothing can be synced: sales.notes has neither" in ended.stderr
    project.write(tables=[{"source": "tales.*"}])
    assert "nothing on the source is matched by tales.*" in CliRunner().invoke(main, ["run"]).stderr
