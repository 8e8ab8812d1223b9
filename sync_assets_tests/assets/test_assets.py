"""A sync as Dagster runs it, against real servers: receipts, lineage, failures, retries, stops."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_assets import PostgresResource, TableSync
from sync_assets.assets.launchpad import SyncConfig
from sync_assets.assets.specs import op_name, source_key, target_key
from sync_assets.config.model import SyncedTable
from sync_assets.engine import RelationName, observe
from sync_assets.launch.engines import kept_engines
from sync_assets.runs.failures import LAUNCHED_BY
from sync_assets_tests.fixtures.live import lock_waits, locked
from sync_assets_tests.fixtures.pair import eventually, execute
from sync_assets_tests.fixtures.servers import Connect

ORDERS = "CREATE TABLE orders (id int PRIMARY KEY, item text NOT NULL)"
ROWS = "INSERT INTO orders SELECT g, 'item ' || g FROM generate_series(1, 50) g"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with kept_engines(), dg.instance_for_test() as made:
        yield made


@pytest.fixture
def definitions(source_url: str, target_url: str) -> dg.Definitions:
    # The server's counters, by which a change is noticed, know of the rows when this returns.
    execute(source_url, ORDERS, ROWS)
    return defined(source_url, target_url)


def defined(source_url: str, target_url: str, **attributes: object) -> dg.Definitions:
    tables = [{"source": "orders"}, {"source": "missing"}]
    component = TableSync.from_attributes_dict(attributes={"tables": tables, **attributes})
    resources = {
        "source": PostgresResource(url=source_url),
        "target": PostgresResource(url=target_url),
    }
    return dg.Definitions.merge(
        dg.build_defs_for_component(component), dg.Definitions(resources=resources)
    )


def table(name: str) -> SyncedTable:
    (synced,) = TableSync.from_attributes_dict(attributes={"tables": [{"source": name}]}).tables
    return synced


def run(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    *names: str,
    config: SyncConfig | None = None,
    tags: dict[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    job = definitions.resolve_implicit_global_asset_job_def()
    keys = [target_key(table(name)) for name in names]
    ops = {op_name(key): config for key in keys} if config else {}
    return job.execute_in_process(
        instance=instance,
        asset_selection=keys,
        raise_on_error=False,
        run_config=dg.RunConfig(ops=ops),
        tags=tags,
    )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event,) = result.get_asset_materialization_events()
    return {key: value.value for key, value in event.materialization.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> dg.DagsterEvent:
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    return event


def test_the_receipt_is_the_materialization_s_metadata(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    shown = metadata(run(definitions, instance, "orders"))
    assert shown["sync/rows_inserted"] == 50
    assert isinstance(shown["sync/source_max_xmin"], int)
    assert isinstance(shown["sync/watermark"], int)
    assert shown["sync/seconds/total"] > 0  # type: ignore[operator]
    assert shown["sync/mode"] == "xmin_incremental"
    schema = shown["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchema)
    assert [(c.name, c.type, c.constraints.nullable) for c in schema.columns][:2] == [
        ("id", "integer", False),
        ("item", "text", False),
    ]


def test_versions_are_counted_in_the_metadata_where_they_are_kept(
    source_url: str, target_url: str, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    assert "sync/versions_opened" not in metadata(run(definitions, instance, "orders"))
    keeping = defined(source_url, target_url, defaults={"history": True})
    shown = metadata(run(keeping, instance, "orders"))
    assert (shown["sync/versions_opened"], shown["sync/versions_closed"]) == (50, 0)


def test_a_run_that_finds_nothing_still_materializes(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    run(definitions, instance, "orders")
    assert metadata(run(definitions, instance, "orders"))["sync/rows_inserted"] == 0


def test_a_full_refresh_reads_every_row_again(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    run(definitions, instance, "orders")
    again = run(definitions, instance, "orders", config=SyncConfig(full_refresh=True))
    assert metadata(again)["sync/rows_exported"] == 50


def test_a_part_is_read_again_and_put_right(
    definitions: dg.Definitions, instance: dg.DagsterInstance, target_url: str
) -> None:
    run(definitions, instance, "orders")
    execute(target_url, "UPDATE orders SET item = 'by hand' WHERE id IN (1, 30)")
    again = run(definitions, instance, "orders", config=SyncConfig(rows="id > 20"))
    shown = metadata(again)
    assert (shown["sync/mode"], shown["sync/reason"]) == ("rows", "rows again: id > 20")
    assert (shown["sync/rows_exported"], shown["sync/rows_updated"]) == (30, 1)
    assert execute(target_url, "SELECT id FROM orders WHERE item = 'by hand'") == [(1,)]


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("full_refresh", True),
        ("sync_mode", "full_sync"),
        ("sweep_deletes", True),
        ("accept_source", True),
    ],
)
def test_a_part_is_not_asked_for_with_what_is_about_the_whole_table(
    definitions: dg.Definitions, instance: dg.DagsterInstance, name: str, asked: Any
) -> None:
    run(definitions, instance, "orders")
    config = SyncConfig(rows="id > 20", **{name: asked})
    told = failure(run(definitions, instance, "orders", config=config))
    assert told.step_failure_data.user_failure_data is not None
    message = told.step_failure_data.user_failure_data.metadata["message"].value
    assert f"rows and {name} contradict" in str(message)


def test_one_table_s_failure_leaves_the_others_alone(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    result = run(definitions, instance, "missing", "orders")
    assert not result.success
    assert metadata(result)["sync/rows_inserted"] == 50


def test_what_a_person_must_mend_fails_at_once_and_says_how(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    result = run(definitions, instance, "missing")
    event = failure(result)
    assert not result.filter_events(lambda event: event.is_step_up_for_retry)
    told = event.step_failure_data.user_failure_data
    assert told is not None
    assert told.metadata["kind"].value == "NoSuchRelation"
    assert "public.missing" in str(told.metadata["message"].value)
    assert told.metadata["remedy"].value
    assert "NoSuchRelation" in (told.description or "")


def test_what_passes_by_itself_is_retried(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "sync_assets.runs.failures.RETRIES", dg.RetryPolicy(max_retries=1, delay=0.1)
    )
    result = run(lost_once(definitions, target_url), instance, "orders")
    assert result.success
    assert len(result.filter_events(lambda event: event.is_step_up_for_retry)) == 1


def lost_once(definitions: dg.Definitions, target_url: str) -> dg.Definitions:
    """The same, whose target cannot be found the first time."""

    class FlakyPostgres(PostgresResource):
        def connection_url(self) -> str:
            attempts.append(1)
            # Nothing listens there: refused, which a restart of the server would mend.
            return "host=127.0.0.1 port=1 dbname=x" if len(attempts) == 1 else self.url

    attempts: list[int] = []
    resources = {**(definitions.resources or {}), "target": FlakyPostgres(url=target_url)}
    return dg.Definitions(assets=definitions.assets, resources=resources)


def test_a_password_is_nowhere_in_the_run(instance: dg.DagsterInstance, target_url: str) -> None:
    wrong = "postgresql://somebody:s3cret-w0rd@127.0.0.1:1/nowhere"
    result = run(defined(wrong, target_url), instance, "orders", tags={LAUNCHED_BY: "cli"})
    assert len(result.filter_events(lambda event: event.is_step_up_for_retry)) == 2
    assert not result.success
    records = instance.all_logs(result.run_id)
    assert len(records) > 5
    assert "s3cret-w0rd" not in repr(records)


def test_an_observation_changes_with_the_source_s_data(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    source_url: str,
    connect: Connect,
) -> None:
    orders = RelationName("public", "orders")
    first = observe(source_url, [orders]).markers[orders]
    assert observed(definitions, instance) == first
    connect(source_url).cursor().execute("TRUNCATE orders")
    assert observed(definitions, instance) != first


def test_a_source_that_is_missing_does_not_hide_the_others(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    job = dg.define_asset_job(
        "observe",
        selection=dg.AssetSelection.groups(*groups(definitions), include_sources=True)
        - dg.AssetSelection.key_prefixes("target"),
    )
    both = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
    result = both.resolve_job_def("observe").execute_in_process(
        instance=instance, raise_on_error=False
    )
    assert [e.asset_key for e in result.get_asset_observation_events()] == [
        source_key(table("orders"))
    ]
    assert "public.missing" in str(failure(result).step_failure_data.user_failure_data)


def groups(definitions: dg.Definitions) -> set[str]:
    return {spec.group_name or "" for spec in definitions.resolve_all_asset_specs()}


def observed(definitions: dg.Definitions, instance: dg.DagsterInstance) -> str | None:
    key = source_key(table("orders"))
    job = dg.define_asset_job("observe", selection=dg.AssetSelection.assets(key))
    both = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
    assert both.resolve_job_def("observe").execute_in_process(instance=instance).success
    (record,) = instance.fetch_observations(key, limit=1).records
    assert record.asset_observation is not None
    return record.asset_observation.data_version


@pytest.mark.slow
def test_a_run_that_is_terminated_stops_its_statements_and_ends_canceled(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    source_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that it cannot be the lock's time-out that ends the wait.
    monkeypatch.setattr("sync_assets.engine.postgres.time_outs.LOCK", 3_600_000)
    with locked(source_url, "orders"):
        told = (instance, source_url)
        threading.Thread(target=terminate_when_it_waits, args=told, daemon=True).start()
        result = run(definitions, instance, "orders")
        assert result.dagster_run.status == dg.DagsterRunStatus.CANCELED
        assert lock_waits(source_url) == 0


def terminate_when_it_waits(instance: dg.DagsterInstance, source_url: str) -> None:
    """As the UI's Terminate does where no signal reaches the step."""
    assert eventually(lambda: lock_waits(source_url) == 1)
    (started,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    instance.report_run_canceling(started)


def test_an_asset_can_be_called_directly(
    source_url: str, target_url: str, connect: Connect
) -> None:
    connect(source_url).cursor().execute(f"{ORDERS}; {ROWS}")
    definition = next(
        each
        for each in defined(source_url, target_url).assets or ()
        if isinstance(each, dg.AssetsDefinition) and target_key(table("orders")) in each.keys
    )
    resources = {
        "source": PostgresResource(url=source_url),
        "target": PostgresResource(url=target_url),
    }
    with dg.build_asset_context(resources=resources) as context:
        results = definition(context=context, config=SyncConfig())
        assert isinstance(results, Iterator)
        (result,) = results
    assert isinstance(result, dg.MaterializeResult)
    assert (result.metadata or {})["sync/rows_inserted"] == 50


def test_the_definitions_load_while_both_servers_are_down(tmp_path: Path) -> None:
    nowhere = "postgresql://127.0.0.1:1/x"
    dg.Definitions.validate_loadable(defined(nowhere, nowhere))
