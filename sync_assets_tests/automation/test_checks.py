"""Asset checks on real databases: what they find, and how much it matters."""

from typing import Any

import dagster as dg
import pytest

from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair, execute
from sync_assets_tests.fixtures.servers import NewDatabase
from sync_assets_tests.fixtures.ticks import Ticks

ALL: dict[str, Any] = {
    "key": True,
    "row_count": True,
    "content": True,
    "schema_drift": True,
}
WHOLE = {"target__public__t__check_content": {"config": {"whole": True}}}
TABLE = (
    'CREATE TABLE t (id int, "No" text, big numeric, n int, "50%" text, PRIMARY KEY (id, "No"))',
    "INSERT INTO t SELECT g, 'é''\" ' || g, g / 7.0, nullif(g % 5, 0), '' FROM generate_series(1, 500) g",
)


@pytest.fixture
def ticks(pair: Pair, instance: dg.DagsterInstance) -> Ticks:
    pair.source(*TABLE)
    return Ticks(instance, pair.source_url, pair.target_url, {"tables": [table()]})


def table(**options: Any) -> dict[str, Any]:
    return {"source": "t", "checks": ALL, **options}


def checks(ticks: Ticks, *names: str, config: Any = None) -> dict[str, dg.AssetCheckEvaluation]:
    """Run checks alone."""
    target = dg.AssetKey(["target", "public", "t"])
    keys = [dg.AssetCheckKey(target, name) for name in names or ALL]
    job = dg.define_asset_job("checks", selection=dg.AssetSelection.checks(*keys))
    both = dg.Definitions.merge(ticks.definitions, dg.Definitions(jobs=[job]))
    result = both.resolve_job_def("checks").execute_in_process(
        instance=ticks.instance,
        run_config={"ops": config} if config else None,
        raise_on_error=False,
    )
    assert not result.get_asset_materialization_events()
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def failed(ticks: Ticks) -> set[str]:
    return {name for name, found in checks(ticks).items() if not found.passed}


def test_they_run_after_a_sync_and_pass(ticks: Ticks) -> None:
    result = ticks.run()
    found = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert {name: each.passed for name, each in found.items()} == dict.fromkeys(ALL, True)
    assert found["content"].metadata["rows_compared"].value == 500


def test_a_check_that_nobody_asked_for_does_not_exist(ticks: Ticks) -> None:
    ticks.attributes = {"tables": [{"source": "t", "checks": {"key": True, "content": False}}]}
    keys = ticks.definitions.resolve_asset_graph().asset_check_keys
    assert {key.name for key in keys} == {"key"}


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("DELETE FROM t WHERE id = 3", {"row_count", "content"}),
        ("UPDATE t SET n = -1 WHERE id = 3", {"content"}),
        ("UPDATE t SET n = NULL WHERE id = 3", {"content"}),
        ("INSERT INTO t VALUES (501, 'x')", set()),
        ("ALTER TABLE t DROP COLUMN n", {"schema_drift"}),
        ("ALTER TABLE t ALTER COLUMN n TYPE smallint", {"schema_drift"}),
        (
            """ALTER TABLE t DROP CONSTRAINT t_pkey, ALTER id DROP NOT NULL;
            UPDATE t SET id = NULL WHERE id = 3""",
            {"key", "content"},
        ),
    ],
)
def test_what_is_wrong_on_the_target_is_found(
    ticks: Ticks, pair: Pair, damage: str, found: set[str]
) -> None:
    ticks.attributes = {"tables": [table(key=["id", "No"])]}
    assert ticks.run().success
    pair.target(damage)
    assert failed(ticks) == found


def test_a_key_that_is_there_twice_is_found(ticks: Ticks, pair: Pair) -> None:
    assert ticks.run().success
    pair.target(
        "ALTER TABLE t DROP CONSTRAINT t_pkey",
        "INSERT INTO t SELECT * FROM t WHERE id = 3",
    )
    ticks.attributes = {"tables": [table(key=["id", "No"])]}
    key = checks(ticks, "key")["key"]
    assert not key.passed
    assert key.metadata["duplicates"].value == 1


def test_all_rows_are_compared_on_demand(ticks: Ticks, pair: Pair) -> None:
    pair.source("INSERT INTO t SELECT g, 'more' FROM generate_series(1000, 4000) g", "ANALYZE t")
    assert ticks.run().success
    compared = checks(ticks, "content")["content"].metadata["rows_compared"].value
    assert isinstance(compared, int)
    assert 500 < compared < 2000
    found = checks(ticks, "content", config=WHOLE)["content"]
    assert (found.passed, found.metadata["rows_source"].value) == (True, 3501)
    pair.target("UPDATE t SET n = 0 WHERE id = 3000")
    found = checks(ticks, "content", config=WHOLE)["content"]
    assert (found.passed, found.metadata["rows_wrong"].value) == (False, 1)


def test_rows_that_changed_since_the_last_sync_are_nobody_s_fault(ticks: Ticks, pair: Pair) -> None:
    assert ticks.run().success
    pair.source(
        "UPDATE t SET n = 9 WHERE id < 50",
        "INSERT INTO t VALUES (600, 'new')",
        "DELETE FROM t WHERE id = 400",
    )
    assert failed(ticks) == set()


ABOUT_BOTH = ("row_count", "content", "schema_drift")


@pytest.mark.parametrize("share", [0.5, 1])
def test_a_check_of_another_source_fails_to_run_as_a_sync_does(
    ticks: Ticks, new_database: NewDatabase, source_server: PostgresServer, share: float
) -> None:
    ticks.attributes = {"tables": [table(checks={**ALL, "content": {"share": share}})]}
    assert ticks.run().success
    ticks.source_url = new_database(source_server)
    execute(ticks.source_url, TABLE[0])
    assert checks(ticks, *ABOUT_BOTH) == {}
    (run,) = ticks.instance.get_runs(limit=1)
    logs = repr(ticks.instance.all_logs(run.run_id))
    assert logs.count("SourceIdentityChanged: the source is another database") >= len(ABOUT_BOTH)


@pytest.mark.parametrize("share", [0.5, 1])
def test_a_check_that_compared_nothing_does_not_pass(
    ticks: Ticks, pair: Pair, share: float
) -> None:
    compared = {"row_count": {"blocking": True}, "content": {"share": share, "blocking": True}}
    ticks.attributes = {"tables": [table(checks=compared)]}
    assert ticks.run().success
    pair.source("DELETE FROM t WHERE id > 10", "UPDATE t SET n = -1")
    for name in compared:
        found = checks(ticks, name)[name]
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert (found.description or "").startswith("Nothing was compared")
    # Two empty ends are the same.
    pair.source("TRUNCATE t")
    pair.target("TRUNCATE t")
    assert all(checks(ticks, name)[name].passed for name in compared)


def test_few_rows_in_scope_are_found_though_chance_takes_none(ticks: Ticks, pair: Pair) -> None:
    pair.source("INSERT INTO t SELECT g, 'x' FROM generate_series(1001, 50000) g", "ANALYZE t")
    ticks.attributes = {"tables": [table(where="id = 7", checks={"content": {"share": 0.0001}})]}
    (found,) = ticks.run().get_asset_check_evaluations()
    assert (found.passed, found.metadata["rows_compared"].value) == (True, 1)


def test_deleted_rows_that_wait_for_their_schedule_fail_no_check(ticks: Ticks, pair: Pair) -> None:
    ticks.attributes = {"tables": [table(deletes="hard", delete_schedule="@daily")]}
    pair.source("DELETE FROM t WHERE id < 10")
    assert ticks.run().success
    assert pair.target("SELECT count(*) FROM t") == pair.source("SELECT count(*) FROM t")
    pair.source("DELETE FROM t WHERE id < 20")
    assert ticks.run().success
    found = checks(ticks, "content", config=WHOLE)["content"]
    assert (found.passed, found.metadata["rows_kept"].value) == (True, 10)
    assert failed(ticks) == set()


def test_rows_the_source_has_not_fail_where_deletes_are_carried_over(
    ticks: Ticks, pair: Pair
) -> None:
    ticks.attributes = {"tables": [table(deletes="hard")]}
    assert ticks.run().success
    pair.target("INSERT INTO t (id, \"No\") VALUES (501, 'x')")
    assert failed(ticks) == {"row_count"}
    ticks.attributes = {
        "tables": [table(deletes="hard", checks={"row_count": {"tolerance": 0.01}})]
    }
    assert checks(ticks, "row_count")["row_count"].passed


def test_filter_expressions_and_marked_rows_are_taken_into_account(
    ticks: Ticks, pair: Pair
) -> None:
    ticks.attributes = {
        "tables": [
            table(where="id <= 100", expressions={"n": "id * 2"}, exclude=["big"], deletes="soft")
        ]
    }
    assert ticks.run().success
    pair.source("DELETE FROM t WHERE id = 5")
    assert ticks.run().success
    assert failed(ticks) == set()
    pair.target("UPDATE t SET n = 0 WHERE id = 7")
    assert failed(ticks) == {"content"}


@pytest.mark.parametrize(
    "made",
    [
        "TABLE k AS SELECT 1 AS n",
        "VIEW k AS SELECT n FROM t",
        "MATERIALIZED VIEW k AS SELECT n FROM t",
    ],
)
def test_checks_that_cannot_fit_a_relation_pass_and_say_so(
    ticks: Ticks, pair: Pair, made: str
) -> None:
    pair.source(f"CREATE {made}")
    ticks.attributes = {
        "defaults": {"sync_mode": "full_sync", "checks": ALL},
        "tables": [{"source": "k", "target": "t"}],
    }
    result = ticks.run()
    assert result.success
    found = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert {name: each.passed for name, each in found.items()} == dict.fromkeys(ALL, True)
    without_a_key = {
        name for name, each in found.items() if "Does not apply" in str(each.description)
    }
    assert without_a_key == {"key", "content"}
    assert checks(ticks, "content", config=WHOLE)["content"].passed


@pytest.mark.parametrize("share", [0.5, 1])
def test_what_a_view_shows_otherwise_may_have_changed_since(
    ticks: Ticks, pair: Pair, share: float
) -> None:
    pair.source("CREATE VIEW v AS SELECT id, n FROM t")
    asked = {"row_count": {"blocking": True}, "content": {"share": share}}
    ticks.attributes = {
        "tables": [
            {"source": "v", "target": "t", "key": ["id"], "sync_mode": "full_sync", "checks": asked}
        ]
    }
    assert ticks.run().success
    # One server holds both ends here: what a run itself writes looks like a change of the source.
    pair.target("DELETE FROM t WHERE id > 490")
    found = checks(ticks, "row_count")["row_count"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "They may have changed since the last sync" in str(found.description)
    # All rows compared are told apart: those that are missing wait for the next sync.
    found = checks(ticks, "content")["content"]
    assert found.passed == (share == 1)
    assert found.severity == dg.AssetCheckSeverity.WARN or found.passed


def test_severity_and_blocking_are_as_configured(ticks: Ticks, pair: Pair) -> None:
    ticks.attributes = {"tables": [table(checks={"schema_drift": {"severity": "warn"}})]}
    assert ticks.run().success
    pair.target("ALTER TABLE t ALTER COLUMN n TYPE smallint")
    found = checks(ticks, "schema_drift")["schema_drift"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert not found.blocking
    ticks.attributes = {"tables": [table(checks={"schema_drift": {"blocking": True}})]}
    found = checks(ticks, "schema_drift")["schema_drift"]
    assert (found.severity, found.blocking) == (dg.AssetCheckSeverity.ERROR, True)


def test_a_table_that_was_never_synced_is_an_error_that_says_so(ticks: Ticks) -> None:
    assert checks(ticks, "row_count") == {}
    (run,) = ticks.instance.get_runs(limit=1)
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert "never synced" in repr(ticks.instance.all_logs(run.run_id))
