"""Assets are called by the true names of their tables, and everything finds them by these."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from sync_assets.cli import main
from sync_assets_tests.fixtures.documents import forget_definitions, printed
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.ticks import Ticks

ORDERS = dg.AssetKey(["target", "공개", "주문"])
SOURCE = dg.AssetKey(["source", "상점", "주문"])
FORMER = dg.AssetKey(["target", "___9d1ba9f4", "___d64a64f0"])
ATTRIBUTES: dict[str, Any] = {
    "sensor_interval": "1 second",
    "tables": [
        {"source": "상점.주문", "target": "공개.주문", "checks": {"key": True, "row_count": True}}
    ],
}
TABLE = (
    "CREATE SCHEMA 상점",
    "CREATE TABLE 상점.주문 (번호 int PRIMARY KEY, 품목 text)",
    "INSERT INTO 상점.주문 SELECT g, '품목 ' || g FROM generate_series(1, 50) g",
)
HARD = (
    *("a b", "a'b", "a-b", "a*b", "a:b", "a#b", "a?b", "a~b", "A", "a", "é", "😀", "주" * 21),
    *("a/b", "a\\b", "a%b", "..", "events_20240101", "x_", "_x", "a_", "_a", "<b>", "$x", "[x]"),
)


@pytest.fixture
def ticks(pair: Pair, instance: dg.DagsterInstance) -> Ticks:
    pair.source(*TABLE)
    return Ticks(instance, pair.source_url, pair.target_url, ATTRIBUTES)


def executed(
    definitions: dg.Definitions, instance: dg.DagsterInstance, selection: dg.AssetSelection
) -> dg.ExecuteInProcessResult:
    job = dg.define_asset_job("chosen", selection=selection)
    both = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
    return both.resolve_job_def("chosen").execute_in_process(instance=instance)


def test_a_table_is_materialized_under_its_true_name_and_checked(ticks: Ticks, pair: Pair) -> None:
    named = dg.AssetSelection.from_string('key:"target/공개/주문"')
    result = executed(ticks.definitions, ticks.instance, named)
    (event,) = result.get_asset_materialization_events()
    assert event.asset_key == ORDERS
    assert event.materialization.metadata["sync/rows_inserted"].value == 50
    lineage = event.materialization.metadata["dagster/column_lineage"].value
    assert isinstance(lineage, dg.TableColumnLineage)
    assert lineage.deps_by_column["품목"] == [dg.TableColumnDep(SOURCE, "품목")]
    checked = result.get_asset_check_evaluations()
    assert {(each.asset_key, each.check_name, each.passed) for each in checked} == {
        (ORDERS, "key", True),
        (ORDERS, "row_count", True),
    }
    assert pair.target("SELECT count(*) FROM 공개.주문") == [(50,)]


def test_its_source_is_observed_under_its_own(ticks: Ticks) -> None:
    executed(ticks.definitions, ticks.instance, dg.AssetSelection.assets(SOURCE))
    (record,) = ticks.instance.fetch_observations(SOURCE, limit=2).records
    assert record.asset_observation is not None
    assert record.asset_observation.data_version


def test_the_sensor_asks_for_it_and_it_is_fresh_afterwards(ticks: Ticks, pair: Pair) -> None:
    assert ticks.tick() == [["주문"]]
    assert ticks.tick() == []
    pair.source("UPDATE 상점.주문 SET 품목 = '' WHERE 번호 = 1")
    assert ticks.tick() == [["주문"]]
    (record,) = ticks.instance.fetch_materializations(ORDERS, limit=1).records
    assert record.asset_materialization is not None
    tags = record.asset_materialization.tags or {}
    (seen,) = ticks.instance.fetch_observations(SOURCE, limit=1).records
    assert seen.asset_observation is not None
    version = tags["dagster/input_data_version/source/상점/주문"]
    assert version == seen.asset_observation.data_version


def test_an_asset_that_names_its_input_depends_on_it(ticks: Ticks) -> None:
    # Of `deps=` Dagster makes the input's name, and refuses it.
    @dg.asset(ins={"orders": dg.AssetIn(ORDERS, dagster_type=dg.Nothing)})
    def revenue() -> None: ...

    both = dg.Definitions.merge(ticks.definitions, dg.Definitions(assets=[revenue]))
    selection = dg.AssetSelection.from_string('key:"target/공개/주문"+')
    events = executed(both, ticks.instance, selection).get_asset_materialization_events()
    assert [event.asset_key for event in events] == [ORDERS, dg.AssetKey("revenue")]


def test_every_name_that_postgresql_takes_is_synced_and_none_is_another_s(
    pair: Pair, instance: dg.DagsterInstance
) -> None:
    quoted = ['"' + name.replace('"', '""') + '"' for name in (*HARD, 'a"b')]
    pair.source(*(f"CREATE TABLE {each} (id int PRIMARY KEY)" for each in quoted))
    tables = [{"source": f"public.{each}", "checks": {"key": True}} for each in quoted]
    group = [each | {"snapshot_group": "all"} for each in tables[::2]]
    attributes = {"tables": group + tables[1::2]}
    ticks = Ticks(instance, pair.source_url, pair.target_url, attributes)
    result = executed(ticks.definitions, instance, dg.AssetSelection.all())
    synced = [event.asset_key for event in result.get_asset_materialization_events()]
    names = [key.path[-1] for key in synced if key]
    assert len(set(names)) == len(quoted)
    assert sorted(set(HARD) - set(names)) == ["..", "a%b", "a/b", "a\\b"]
    assert len(result.get_asset_check_evaluations()) == len(quoted)
    repository = ticks.definitions.get_repository_def()
    observed = repository.asset_graph.observable_asset_keys
    assert len(observed) == len(quoted)


@pytest.fixture
def former_home(ticks: Ticks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of an earlier version, whose tables are in step; the commands work in it."""
    assert ticks.run().success
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    defs = tmp_path / "defs.yaml"
    defs.write_text(yaml.safe_dump({"type": "sync_assets.TableSync", "attributes": ATTRIBUTES}))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", ticks.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", ticks.target_url)
    with dg.DagsterInstance.from_config(str(tmp_path)) as home:
        home.report_runless_asset_event(dg.AssetMaterialization(FORMER))
    return tmp_path


def moved() -> list[str]:
    """What `check` says of assets that have moved."""
    forget_definitions()
    return [e["what"] for e in printed("check")["findings"] if e["check"] == "moved"]


def test_a_home_of_an_earlier_version_is_told_of_and_no_row_is_read_again(
    former_home: Path, pair: Pair
) -> None:
    said = f"{FORMER.to_user_string()} is target/공개/주문"
    assert moved() == [f"assets are called by the true names of their tables: {said}"]
    (table,) = printed("run", "공개.주문")["tables"]
    assert table["rows_exported"] == 0
    with dg.DagsterInstance.from_config(os.fspath(former_home)) as home:
        assert home.get_latest_materialization_event(ORDERS) is not None
        home.wipe_assets([FORMER])
    assert moved() == []


def test_commands_take_the_name_and_the_key(former_home: Path) -> None:
    for word in ("공개.주문", "key:target/공개/주문", 'key:"target/공개/주문"', "target/공개/주문"):
        told = CliRunner().invoke(main, ["status", word])
        assert told.exit_code == 0, told.output
        assert "공개.주문" in told.output
