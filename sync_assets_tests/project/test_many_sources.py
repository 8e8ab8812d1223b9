"""Sources of one shape, each in a component of its own, are one table on the target and one asset."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from sync_assets.definitions import load_tables
from sync_assets.engine.errors import ConfigurationError
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.documents import printed
from sync_assets_tests.fixtures.pair import Pair, execute
from sync_assets_tests.fixtures.servers import NewDatabase

DOCUMENT = """
type: sync_assets.TableSync
attributes:
  source_connection: {connection}
  defaults:
    partition_of: {{table: "shop.{{table}}", column: region, value: "{{connection}}"}}
  tables:
    - source: orders
    - source: items
"""
WHOLE = dg.AssetKey(["target", "shop", "orders"])


@pytest.fixture
def defs(
    pair: Pair,
    source_server: PostgresServer,
    new_database: NewDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Two sources with the same tables, and a target."""
    urls = {"eu": pair.source_url, "us": new_database(source_server)}
    for region, url in urls.items():
        for name in ("orders", "items"):
            execute(
                url,
                f"CREATE TABLE {name} (id int PRIMARY KEY, v text)",
                f"INSERT INTO {name} VALUES (1, '{region}')",
            )
        monkeypatch.setenv(f"SYNC_{region.upper()}_URL", url)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    folder = tmp_path / "defs"
    folder.mkdir()
    monkeypatch.setenv("SYNC_DEFS", str(folder))
    documents = [DOCUMENT.format(connection=region) for region in urls]
    (folder / "defs.yaml").write_text("---".join(documents))
    return folder


@pytest.mark.parametrize("is_list", [False, True], ids=["documents", "list"])
def test_a_table_of_many_sources_is_an_asset_above_its_partitions(
    defs: Path, pair: Pair, is_list: bool
) -> None:
    if is_list:
        (defs / "defs.yaml").write_text(DOCUMENT.format(connection="[eu, us]"))
    definitions = load_tables(defs)
    graph = definitions.resolve_asset_graph()
    parts = {dg.AssetKey(["target", "shop", f"orders_{region}"]) for region in ("eu", "us")}
    whole = graph.get(WHOLE)
    assert (whole.parent_keys, whole.is_materializable) == (parts, False)
    assert "eu, us" in (whole.description or "")
    with dg.DagsterInstance.get() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, asset_selection=[*parts]).success
        found = pair.target("SELECT region, id, v FROM shop.orders ORDER BY 1")
        assert found == [("eu", 1, "eu"), ("us", 1, "us")]
        event = instance.get_latest_materialization_event(WHOLE)
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["sync/source"].value in ("eu", "us")


def test_what_depends_on_the_table_of_all_runs_when_any_source_has_news(defs: Path) -> None:
    @dg.asset(deps=[WHOLE], automation_condition=dg.AutomationCondition.eager())
    def revenue() -> None:
        """Summed up."""

    tables = load_tables(defs)
    everything = dg.Definitions.merge(tables, dg.Definitions(assets=[revenue]))
    with dg.DagsterInstance.get() as instance:
        first = dg.evaluate_automation_conditions(everything, instance)
        assert first.get_num_requested(revenue.key) == 0
        job = tables.resolve_implicit_global_asset_job_def()
        for region in ("eu", "us"):
            part = dg.AssetKey(["target", "shop", f"orders_{region}"])
            assert job.execute_in_process(instance=instance, asset_selection=[part]).success
        second = dg.evaluate_automation_conditions(everything, instance, cursor=first.cursor)
        assert second.get_num_requested(revenue.key) == 1


def test_each_source_of_a_list_has_sensors_and_schedules_of_its_own(defs: Path) -> None:
    text = DOCUMENT.format(connection="[eu, us]").replace(
        '"{connection}"}', '"{connection}"}\n    schedule: "@daily"'
    )
    (defs / "defs.yaml").write_text(
        text.replace("source: items", "source: items\n      snapshot_group: shop").replace(
            "source: orders", "source: orders\n      snapshot_group: shop"
        )
    )
    definitions = load_tables(defs)
    assert definitions.sensors is not None
    assert sorted(each.name for each in definitions.sensors) == [
        "sync_eu_changes",
        "sync_eu_hindrances",
        "sync_us_changes",
        "sync_us_hindrances",
    ]
    assert definitions.schedules is not None
    assert sorted(each.name for each in definitions.schedules) == [
        "sync_eu_sync",
        "sync_us_sync",
    ]
    ops = {
        each.op.name
        for each in definitions.assets or ()
        if isinstance(each, dg.AssetsDefinition) and each.is_executable
    }
    assert ops >= {
        "target__shop__orders_eu__shop",
        "target__shop__orders_us__shop",
        "observe_eu",
        "observe_us",
    }


def test_a_pattern_stands_for_the_tables_of_the_first_source(defs: Path) -> None:
    text = DOCUMENT.format(connection="[eu, us]").replace("source: orders", 'source: "public.*"')
    (defs / "defs.yaml").write_text(text)
    found = printed("run")["tables"]
    assert sorted(each["target"] for each in found) == [
        f"shop.{table}_{region}" for table in ("items", "orders") for region in ("eu", "us")
    ]


def test_sources_of_a_list_without_a_table_of_all_are_refused(defs: Path) -> None:
    lines = DOCUMENT.format(connection="[eu, us]").splitlines()
    (defs / "defs.yaml").write_text("\n".join(lines[:4] + lines[6:]))
    with pytest.raises(ConfigurationError, match="several sources would all come"):
        load_tables(defs)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('{table: "x.{table}", column: region}', "value"),
        ('{table: x.y, column: region, value: "{server}"}', "stands for nothing"),
        ("{table: x.y, column: region, value: ''}", "name what tells"),
        ("{table: x.y, column: '', value: eu}", "a column's name"),
    ],
)
def test_what_is_written_wrong_is_told_by_its_line(defs: Path, written: str, said: str) -> None:
    lines = DOCUMENT.format(connection="eu").splitlines()
    lines[5] = f"    partition_of: {written}"
    (defs / "defs.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigurationError, match=said) as refused:
        load_tables(defs)
    assert "defs.yaml:6" in str(refused.value)
