"""The change sensor: one run for what changed, none for what did not, and none on top of another."""

import json
import time
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from sync_assets.automation.demand import LONGEST_WAIT
from sync_assets.runs.in_flight import REQUESTED_BY
from sync_assets_tests.fixtures.pair import Pair, execute
from sync_assets_tests.fixtures.replicated import Replicated
from sync_assets_tests.fixtures.ticks import Ticks

TABLES = (
    "CREATE TABLE orders (id int PRIMARY KEY, note text)",
    "INSERT INTO orders SELECT g, 'note' FROM generate_series(1, 100) g",
    "CREATE TABLE items (id int PRIMARY KEY)",
    "INSERT INTO items VALUES (1)",
    "CREATE TABLE events (id int PRIMARY KEY) PARTITION BY RANGE (id)",
    "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (100)",
    "CREATE TABLE bystander (id int)",
)
ATTRIBUTES: dict[str, Any] = {
    "sensor_interval": "1 second",
    "tables": [{"source": "orders"}, {"source": "items"}, {"source": "events"}],
}


@pytest.fixture
def ticks(pair: Pair, instance: dg.DagsterInstance) -> Ticks:
    """A component whose tables are in step."""
    pair.source(*TABLES)
    made = Ticks(instance, pair.source_url, pair.target_url, ATTRIBUTES)
    assert made.run().success
    return made


def test_three_changes_in_twenty_ticks_are_three_runs(ticks: Ticks, pair: Pair) -> None:
    assert _twenty(ticks, pair.source, lambda: True) == EXPECTED


def test_and_on_a_standby_whose_position_moves_with_every_tick(
    replicated: Replicated, instance: dg.DagsterInstance, target_url: str
) -> None:
    url = replicated.primary.create_database("ticks")
    execute(url, *TABLES)
    assert replicated.caught_up()
    ticks = Ticks(instance, replicated.standby.url("ticks"), target_url, ATTRIBUTES)
    assert ticks.run().success
    found = _twenty(ticks, lambda *each: execute(url, *each), replicated.caught_up)
    replicated.primary.drop_database("ticks")
    assert found == EXPECTED


CHANGES = {
    4: "UPDATE orders SET note = 'new' WHERE id = 7",
    9: "TRUNCATE items",
    14: "INSERT INTO events VALUES (42)",
}
EXPECTED = {4: [["orders"]], 9: [["items"]], 14: [["events"]]}


def _twenty(ticks: Ticks, source: Any, settled: Any) -> dict[int, list[list[str]]]:
    asked = {}
    for number in range(20):
        source("INSERT INTO bystander VALUES (1)", CHANGES.get(number, "CHECKPOINT"))
        assert settled()
        asked[number] = ticks.tick()
    return {number: runs for number, runs in asked.items() if runs}


def test_tables_that_change_together_are_one_run(ticks: Ticks, pair: Pair) -> None:
    pair.source("DELETE FROM items", "INSERT INTO events VALUES (1)")
    assert ticks.tick() == [["events", "items"]]
    assert ticks.tick() == []


def test_a_part_that_is_read_again_answers_for_no_other_row(ticks: Ticks, pair: Pair) -> None:
    pair.source("UPDATE orders SET note = 'new' WHERE id IN (7, 70)")
    part = {"ops": {"target__public__orders": {"config": {"rows": "id = 7"}}}}
    key = dg.AssetKey(["target", "public", "orders"])
    result = ticks.run(dg.RunRequest(asset_selection=[key], run_config=part))
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["sync/rows_updated"].value == 1
    assert ticks.tick() == [["orders"]]
    assert pair.is_exact("public.orders")


def test_a_sync_that_failed_is_asked_for_again_but_not_at_once(ticks: Ticks, pair: Pair) -> None:
    pair.source("INSERT INTO items VALUES (2)")
    pair.target("ALTER TABLE items RENAME id TO other", "ALTER TABLE items ADD CHECK (other < 2)")
    (request,) = ticks.evaluate("_changes").run_requests or []
    assert not ticks.run(request).success
    _as_if_asked(ticks, ago=0)
    assert ticks.tick() == [], "it waits"
    _as_if_asked(ticks, ago=LONGEST_WAIT)
    (again,) = ticks.evaluate("_changes").run_requests or []
    assert again.run_key != request.run_key
    assert not ticks.run(again).success
    pair.target("DROP TABLE items")
    _as_if_asked(ticks, ago=LONGEST_WAIT)
    assert ticks.tick() == [["items"]]
    assert json.loads(ticks.cursors["_changes"] or "")["asked"] != {}
    assert ticks.tick() == []
    assert json.loads(ticks.cursors["_changes"] or "")["asked"] == {}, "the success answered it"


def _as_if_asked(ticks: Ticks, ago: float) -> None:
    """However long the run took that answered the demand: on a busy machine, longer than the wait."""
    memory = json.loads(ticks.cursors["_changes"] or "")
    for demand in memory["asked"].values():
        demand[1] = time.time() - ago
    ticks.cursors["_changes"] = json.dumps(memory)


def test_a_demand_repeated_by_a_daemon_that_stopped_is_the_same_run(
    ticks: Ticks, pair: Pair
) -> None:
    pair.source("INSERT INTO items VALUES (2)")
    before = ticks.cursors.get("_changes")
    (first,) = ticks.evaluate("_changes").run_requests or []
    ticks.cursors["_changes"] = before
    (second,) = ticks.evaluate("_changes").run_requests or []
    assert first.run_key == second.run_key


def test_while_a_run_holds_all_tables_nothing_is_asked(ticks: Ticks, pair: Pair) -> None:
    pair.source("INSERT INTO items VALUES (2)")
    (request,) = ticks.evaluate("_changes").run_requests or []
    job = ticks.definitions.resolve_implicit_global_asset_job_def()
    queued = ticks.instance.create_run_for_job(
        job, tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED
    )
    pair.source("INSERT INTO events VALUES (2)")
    data = ticks.evaluate("_changes")
    assert not data.run_requests
    assert queued.run_id in (data.skip_message or "")
    ticks.instance.report_run_canceled(queued)
    _as_if_asked(ticks, ago=LONGEST_WAIT)
    assert ticks.tick() == [["events", "items"]]


def test_a_table_that_somebody_else_syncs_is_left_to_them(ticks: Ticks, pair: Pair) -> None:
    pair.source("INSERT INTO items VALUES (2)", "INSERT INTO events VALUES (2)")
    job = ticks.definitions.resolve_implicit_global_asset_job_def()
    selection = frozenset({dg.AssetKey(["target", "public", "items"])})
    ticks.instance.create_run_for_job(
        job, asset_selection=selection, status=dg.DagsterRunStatus.STARTED
    )
    assert ticks.tick() == [["events"]]


def test_a_source_that_is_down_costs_nothing_but_the_tick(ticks: Ticks, pair: Pair) -> None:
    pair.source("INSERT INTO items VALUES (2)")
    ticks.source_url = "host=127.0.0.1 port=1 dbname=x"
    data = ticks.evaluate("_changes")
    assert not data.run_requests
    assert "ConnectionLost" not in (data.skip_message or "")
    assert "cannot connect to the source" in (data.skip_message or "")
    ticks.source_url = pair.source_url
    assert ticks.tick() == [["items"]]


def test_a_table_that_is_missing_does_not_hide_the_others(ticks: Ticks, pair: Pair) -> None:
    pair.source("DROP TABLE items", "INSERT INTO events VALUES (2)")
    assert ticks.tick() == [["events"]]


def test_what_the_sensor_sees_makes_the_target_stale_until_it_is_synced(
    ticks: Ticks, pair: Pair
) -> None:
    key = dg.AssetKey(["target", "public", "items"])
    assert _stale(ticks, key) == "FRESH"
    pair.source("INSERT INTO items VALUES (2)")
    (request,) = ticks.evaluate("_changes").run_requests or []
    assert _stale(ticks, key) == "STALE"
    ticks.run(request)
    assert _stale(ticks, key) == "FRESH"


def _stale(ticks: Ticks, key: dg.AssetKey) -> str:
    from dagster._core.definitions.data_version import CachingStaleStatusResolver
    from dagster._core.loader import LoadingContextForTest

    graph = ticks.definitions.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(
        ticks.instance, graph, LoadingContextForTest(ticks.instance)
    )
    return resolver.get_status(key).value


@pytest.mark.parametrize(
    ("tables", "running", "watched"),
    [
        ([{"source": "a"}, {"source": "b"}], False, {"a", "b"}),
        ([{"source": "a", "automation": "running"}, {"source": "b"}], True, {"a"}),
        ([{"source": "a", "automation": "running", "schedule": "@daily"}], False, {"a"}),
    ],
)
def test_it_starts_by_itself_only_for_those_who_say_so(
    tables: list[Any], running: bool, watched: set[str]
) -> None:
    ticks = Ticks(dg.DagsterInstance.ephemeral(), "x", "x", {"tables": tables})
    (sensor, _hindrances) = ticks.definitions.sensors or ()
    assert isinstance(sensor, dg.SensorDefinition)
    assert (sensor.default_status is dg.DefaultSensorStatus.RUNNING) == running
    job = sensor.job
    assert isinstance(job, UnresolvedAssetJobDefinition)
    keys = job.selection.resolve(ticks.definitions.resolve_asset_graph())
    assert {key.path[-1] for key in keys} == watched


def test_a_run_tells_who_asked_for_it(ticks: Ticks, pair: Pair) -> None:
    pair.source("INSERT INTO items VALUES (2)")
    (request,) = ticks.evaluate("_changes").run_requests or []
    assert request.tags[REQUESTED_BY].endswith("_changes")
    assert request.run_config == {"execution": {"config": {"in_process": {}}}}
