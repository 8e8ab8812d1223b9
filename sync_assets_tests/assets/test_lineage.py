"""Staleness, column lineage, descriptions and numbers: what a person sees on the asset's page."""

import dataclasses
import json
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from sync_assets import TableSync
from sync_assets.assets import specs
from sync_assets.config.catalog import _discovered
from sync_assets.config.model import TableSyncConfig
from sync_assets.engine import RelationName
from sync_assets.engine.inspection.inventory import inventory
from sync_assets.engine.progress import Progress
from sync_assets.runs.progress_log import ProgressLog, described
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import Connect
from sync_assets_tests.fixtures.ticks import Ticks

SOURCE = dg.AssetKey(["source", "public", "t"])
TARGET = dg.AssetKey(["target", "public", "t"])
OP = "target__public__t"


@pytest.fixture
def ticks(pair: Pair, instance: dg.DagsterInstance) -> Ticks:
    pair.source(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "COMMENT ON TABLE t IS 'what was sold'",
        "COMMENT ON COLUMN t.v IS 'to whom'",
        "INSERT INTO t VALUES (1, 'a')",
    )
    return Ticks(instance, pair.source_url, pair.target_url, {"tables": [{"source": "t"}]})


def run(ticks: Ticks, **config: Any) -> dg.ExecuteInProcessResult:
    request = dg.RunRequest(
        asset_selection=[TARGET], run_config={"ops": {OP: {"config": config}}} if config else {}
    )
    return ticks.run(request)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.get_asset_materialization_events()
    return {key: value.value for key, value in event.materialization.metadata.items()}


def staleness(ticks: Ticks, definitions: dg.Definitions, key: dg.AssetKey = TARGET) -> str:
    graph = definitions.resolve_asset_graph()
    context = LoadingContextForTest(ticks.instance)
    return CachingStaleStatusResolver(ticks.instance, graph, context).get_status(key).value


def observe(ticks: Ticks) -> dict[str, Any]:
    job = dg.define_asset_job("look", selection=dg.AssetSelection.assets(SOURCE))
    both = dg.Definitions.merge(ticks.definitions, dg.Definitions(jobs=[job]))
    result = both.resolve_job_def("look").execute_in_process(instance=ticks.instance)
    (event,) = result.get_asset_observation_events()
    return {k: v.value for k, v in event.asset_observation_data.asset_observation.metadata.items()}


def test_a_target_is_stale_from_a_change_of_its_source_until_the_next_sync(
    ticks: Ticks, pair: Pair
) -> None:
    definitions = ticks.definitions
    run(ticks)
    assert staleness(ticks, definitions) == "FRESH", "though nobody observed the source before"
    run(ticks)
    assert len(ticks.instance.fetch_observations(SOURCE, limit=9).records) == 1, "no news, no event"
    observe(ticks)
    assert staleness(ticks, definitions) == "FRESH"
    pair.source("INSERT INTO t VALUES (2, 'b')")
    observe(ticks)
    assert staleness(ticks, definitions) == "STALE"
    run(ticks)
    assert staleness(ticks, definitions) == "FRESH"


def test_a_sync_that_changed_nothing_leaves_what_depends_on_it_fresh(
    ticks: Ticks, pair: Pair
) -> None:
    @dg.asset(deps=[TARGET])
    def report() -> None: ...

    definitions = dg.Definitions.merge(ticks.definitions, dg.Definitions(assets=[report]))
    run(ticks)
    dg.materialize([report, *_external(TARGET)], instance=ticks.instance, selection=[report])
    assert staleness(ticks, definitions, report.key) == "FRESH"
    run(ticks)
    assert staleness(ticks, definitions, report.key) == "FRESH"
    pair.source("UPDATE t SET v = 'z'")
    run(ticks)
    assert staleness(ticks, definitions, report.key) == "STALE"


def test_a_new_column_is_a_new_version_even_without_rows(ticks: Ticks, pair: Pair) -> None:
    pair.source("TRUNCATE t")
    run(ticks)
    before = _version(ticks)
    pair.source("ALTER TABLE t ADD n int")
    run(ticks)
    assert _version(ticks) != before


def _version(ticks: Ticks) -> str:
    event = ticks.instance.get_latest_materialization_event(TARGET)
    assert event is not None
    assert event.asset_materialization is not None
    return (event.asset_materialization.tags or {})["dagster/data_version"]


def _external(key: dg.AssetKey) -> list[dg.AssetSpec]:
    return [dg.AssetSpec(key)]


def test_the_documented_condition_fires_for_new_data_only(ticks: Ticks, pair: Pair) -> None:
    condition = (
        dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
        & ~dg.AutomationCondition.in_progress()
    )

    @dg.asset(deps=[TARGET], automation_condition=condition)
    def report() -> None: ...

    definitions = dg.Definitions.merge(ticks.definitions, dg.Definitions(assets=[report]))
    asked, cursor = [], None
    run(ticks)
    for change in (None, None, "UPDATE t SET v = 'z'", None):
        if change:
            pair.source(change)
        run(ticks)
        result = dg.evaluate_automation_conditions(
            defs=definitions, instance=ticks.instance, cursor=cursor
        )
        cursor = result.cursor
        asked.append(result.total_requested)
    assert asked == [0, 0, 1, 0]


def test_columns_come_from_the_columns_of_the_source(ticks: Ticks) -> None:
    ticks.attributes = {"tables": [{"source": "t", "expressions": {"v": "upper(v)"}}]}
    shown = metadata(run(ticks))
    assert shown["dagster/column_lineage"].deps_by_column == {
        "id": [dg.TableColumnDep(SOURCE, "id")]
    }


def test_what_the_source_says_about_a_table_is_shown(ticks: Ticks) -> None:
    shown, seen = metadata(run(ticks)), observe(ticks)
    assert shown["sync/description"] == seen["sync/description"] == "what was sold"
    for schema in (shown["dagster/column_schema"], seen["dagster/column_schema"]):
        described = {column.name: column.description for column in schema.columns}
        assert (described["id"], described["v"]) == (None, "to whom")
    ticks.attributes = {"tables": [{"source": "t", "description": "mine"}]}
    assert "sync/description" not in metadata(run(ticks))


def test_the_columns_of_the_key_are_marked_before_the_first_sync_and_after_it(
    ticks: Ticks, pair: Pair
) -> None:
    pair.source("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (v, id)")
    (known,) = inventory(pair.source_url)
    found = _discovered(known, taken=True)
    (synced,) = TableSyncConfig.model_validate({"tables": [{"source": "t"}]}).synced_tables("g")
    before = specs.target_spec(dataclasses.replace(synced, discovered=found)).metadata
    for shown in (before, metadata(run(ticks)), observe(ticks)):
        schema = shown["dagster/column_schema"]
        columns = getattr(schema, "value", schema).columns
        marked = {each.name for each in columns if "key" in each.constraints.other}
        assert marked == {"id", "v"}
        assert len(columns) >= 2


def test_before_the_first_sync_each_end_shows_its_columns_and_what_is_said_of_them(
    ticks: Ticks, pair: Pair
) -> None:
    pair.source("ALTER TABLE t ADD secret text")
    (known,) = inventory(pair.source_url)
    names = {"source": [name for name, _ in known.columns], "target": ["id", "v"]}
    for options in (
        {"exclude": sorted({*names["source"]} - {"id", "v"})},
        {"columns": ["id", "v"]},
    ):
        entry = {"source": "t", **options}
        (synced,) = TableSyncConfig.model_validate({"tables": [entry]}).synced_tables("g")
        synced = dataclasses.replace(synced, discovered=_discovered(known, taken=True))
        ends = {"source": specs.source_spec(synced), "target": specs.target_spec(synced)}
        for end, spec in ends.items():
            columns = spec.metadata["dagster/column_schema"].value.columns
            assert [each.name for each in columns] == names[end]
            assert {each.name: each.description for each in columns}["v"] == "to whom"


def test_what_the_source_says_is_text_and_neither_image_nor_link(ticks: Ticks, pair: Pair) -> None:
    hostile = "![x](http://evil.example/a.png) [y](javascript:alert(1)) www.evil.example \x1b[31m"
    name = "![n](http://evil.example)\r\n# *n*"
    pair.source(
        f'ALTER TABLE t RENAME TO "{name}"',
        f'ALTER TABLE "{name}" RENAME v TO "{name}"',
        f"COMMENT ON TABLE \"{name}\" IS '{hostile}'",
        f'COMMENT ON COLUMN "{name}"."{name}" IS \'{hostile}\'',
        f"COMMENT ON COLUMN \"{name}\".id IS '{hostile}\n\n{hostile}'",
    )
    relation = RelationName("public", name)
    ticks.attributes = {"tables": [{"source": str(relation)}]}
    graph = ticks.definitions.resolve_asset_graph()
    (target,) = graph.materializable_asset_keys
    shown = metadata(ticks.run(dg.RunRequest(asset_selection=[target])))
    described = {c.name: c.description for c in shown["dagster/column_schema"].columns}
    harmless = hostile.replace("\x1b", "\\x1b")
    assert described[name] == f"` {harmless} `"
    assert described["id"] == f"```\n{harmless}\n\n{harmless}\n```"
    assert shown["sync/description"] == harmless
    descriptions = [graph.get(key).description for key in graph.get_all_asset_keys()]
    said = f"` {relation} `".replace("\r", "\\r").replace("\n", "\\n")
    for markdown in (shown["sync/summary"], *descriptions):
        assert said in str(markdown)
    assert f"**{said} → {said}**" in shown["sync/summary"]


READ = (
    "sync/summary",
    "dagster/row_count",
    "sync/seconds/total",
    "sync/lag_seconds",
    "sync/bytes",
    "sync/rows_inserted",
    "sync/rows_updated",
    "sync/rows_deleted",
    "sync/rows_exported",
    "sync/source_max_xmin",
    "sync/watermark",
    "sync/mode",
    "sync/reason",
)


def test_a_dozen_entries_are_shown_in_the_order_in_which_they_are_read(ticks: Ticks) -> None:
    shown = metadata(run(ticks))
    ours = ["sync/description", "sync/source_marker"]
    assert [*READ, *ours, "dagster/column_schema", "dagster/column_lineage"] == list(shown)
    assert shown["sync/rows_inserted"] == shown["dagster/row_count"] == 1
    assert isinstance(shown["sync/lag_seconds"], float)
    assert isinstance(shown["sync/bytes"], int)
    assert "| 1 | 1 | 0 | 0 | 0 |" in shown["sync/summary"]
    assert f"transaction {shown['sync/watermark']}." in shown["sync/summary"]


def test_a_receipt_stands_in_the_log_once(ticks: Ticks) -> None:
    result = run(ticks)
    kept = ticks.instance.all_logs(result.run_id)
    assert sum("sync/summary" in repr(entry) for entry in kept) == 1


def test_who_holds_the_watermark_back_is_named(ticks: Ticks, pair: Pair, connect: Connect) -> None:
    session = connect(f"{pair.source_url}&application_name=night*ly")
    session.autocommit = False
    session.cursor().execute("INSERT INTO t VALUES (9)")
    shown = metadata(run(ticks))
    session.rollback()
    assert f"process {session.info.backend_pid}" in shown["sync/watermark_held_by"]
    assert f"` {shown['sync/watermark_held_by']} `" in shown["sync/summary"], "no emphasis"


def test_a_dry_run_publishes_nothing_and_says_what_it_would_have(ticks: Ticks, pair: Pair) -> None:
    result = run(ticks, dry_run=True)
    assert result.success
    assert not result.get_asset_materialization_events()
    assert pair.target("SELECT to_regclass('t')") == [(None,)]
    (event,) = result.get_asset_observation_events()
    shown = event.asset_observation_data.asset_observation.metadata
    assert (shown["sync/dry_run"].value, shown["sync/rows_inserted"].value) == (True, 1)


def test_one_run_may_differ_from_the_configuration(ticks: Ticks, pair: Pair) -> None:
    pair.source("INSERT INTO t SELECT g FROM generate_series(2, 50) g")
    run(ticks)
    pair.target("INSERT INTO t VALUES (99, 'not from the source')")
    shown = metadata(run(ticks, sync_mode="full_sync", workers=1, batch_size=10))
    assert shown["sync/mode"] == "full_sync"
    assert "by 1 worker." in shown["sync/summary"]
    assert shown["sync/rows_deleted"] == 1
    assert metadata(run(ticks))["sync/mode"] == "xmin_incremental"


@pytest.mark.parametrize("config", [{"workers": 0}, {"sync_mode": "incremental_sync"}])
def test_what_makes_no_sense_is_told_as_everything_else(
    ticks: Ticks, config: dict[str, Any]
) -> None:
    result = run(ticks, **config)
    assert not result.success
    logs = json.dumps([str(e) for e in ticks.instance.all_logs(result.run_id)])
    assert "ConfigurationError" in logs


def test_the_log_tells_each_phase_once_and_progress_now_and_then() -> None:
    lines: list[str] = []
    now = 0.0
    log = ProgressLog(lines.append, lambda: now)
    for second in range(25):
        now = float(second)
        rows = 1000 * second
        log.follow(Progress("public.t", "export", rows, 40 * rows, second, 50))
        log.follow(Progress("public.u", "export", rows, 40 * rows, second, 50))
    log.follow(Progress("public.t", "load"))
    assert [line for line in lines if line.startswith("public.t")] == [
        "public.t: export: 0%",
        "public.t: export: 10,000 rows, 0.4 MB, 1,000 rows/s, 20%, about 40 s left",
        "public.t: export: 20,000 rows, 0.8 MB, 1,000 rows/s, 40%, about 30 s left",
        "public.t: load",
    ]
    assert len(lines) == 7


def test_nothing_is_logged_of_a_sync_that_is_over_at_once() -> None:
    lines: list[str] = []
    with ProgressLog(lines.append) as log:
        log.follow(Progress("public.t", "lock"))
        assert lines == []
        log.wake()
        log.follow(Progress("public.t", "export"))
    assert lines == ["public.t: lock", "public.t: export"]


def test_a_long_way_is_told_in_hours() -> None:
    progress = Progress("t", "export", 5_000_000, 0, 1, 100)
    assert described(progress, 100).endswith("1%, about 2 h 45 min left")


def test_the_asset_says_which_columns_are_masked_and_how() -> None:
    masks = [{"email": "hmac", "card": {"keep_last": 4}}, {"email": "redact"}]
    tables = [{"source": "t", "mask": mask, "target": f"t{n}"} for n, mask in enumerate(masks)]
    spec, other = map(
        specs.target_spec, TableSync.from_attributes_dict(attributes={"tables": tables}).tables
    )
    assert spec.metadata["sync/mask"] == {"email": "hmac", "card": "keep_last 4"}
    assert None is not spec.code_version != other.code_version
