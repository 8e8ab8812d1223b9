"""Schedules: one for each purpose and cron expression, and never two runs of one at a time."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._utils.schedules import is_valid_cron_string

from sync_assets.cron import problem_of
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.ticks import Ticks

TABLES: list[dict[str, Any]] = [
    {"source": "a", "schedule": "*/15 * * * *", "deletes": "hard", "delete_schedule": "@daily"},
    {"source": "b", "schedule": "*/15 * * * *", "reconcile": "0 3 * * sun"},
    {"source": "c", "schedule": "@hourly"},
    {"source": "d"},
]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    # A schedule's context opens the instance anew, from its folder.
    with dg.instance_for_test() as made:
        yield made


def schedules(ticks: Ticks) -> list[dg.ScheduleDefinition]:
    found = list(ticks.definitions.schedules or ())
    assert all(isinstance(each, dg.ScheduleDefinition) for each in found)
    return [each for each in found if isinstance(each, dg.ScheduleDefinition)]


def described(tables: list[dict[str, Any]]) -> dict[str, str]:
    ticks = Ticks(dg.DagsterInstance.ephemeral(), "x", "x", {"tables": tables})
    return {
        f"{each.cron_schedule} {each.default_status.value}": (each.description or "")
        for each in schedules(ticks)
    }


def test_one_for_each_purpose_and_expression_all_stopped() -> None:
    assert described(TABLES) == {
        "*/15 * * * * STOPPED": "Syncs public.a, public.b.",
        "@hourly STOPPED": "Syncs public.c.",
        "@daily STOPPED": "Looks for rows that the source has deleted in public.a.",
        "0 3 * * sun STOPPED": "Reads every row of the source again and corrects public.b.",
    }


def test_they_start_by_themselves_for_the_tables_that_say_so() -> None:
    assert described([TABLES[0] | {"automation": "running"}, TABLES[1], TABLES[2]]) == {
        "*/15 * * * * RUNNING": "Syncs public.a.",
        "@hourly STOPPED": "Syncs public.c.",
        "@daily RUNNING": "Looks for rows that the source has deleted in public.a.",
        "0 3 * * sun STOPPED": "Reads every row of the source again and corrects public.b.",
    }


def request_of(ticks: Ticks, cron: str) -> dg.RunRequest | None:
    (schedule,) = (each for each in schedules(ticks) if each.cron_schedule == cron)
    repository = ticks.definitions.get_repository_def()
    context = dg.build_schedule_context(ticks.instance, repository_def=repository)
    data = schedule.evaluate_tick(context)
    if not data.run_requests:
        return None
    (request,) = data.run_requests
    keys = [dg.AssetKey(["target", "public", name]) for name in _tables(schedule)]
    return request.with_replaced_attrs(asset_selection=keys)


def _tables(schedule: dg.ScheduleDefinition) -> list[str]:
    words = (schedule.description or "").rstrip(".").replace(",", "").split()
    return [word.removeprefix("public.") for word in words if word.startswith("public.")]


def test_deletes_are_looked_for_at_their_own_times_only(
    pair: Pair, instance: dg.DagsterInstance
) -> None:
    pair.source("CREATE TABLE a (id int PRIMARY KEY)", "INSERT INTO a VALUES (1), (2)")
    ticks = Ticks(instance, pair.source_url, pair.target_url, {"tables": TABLES[:1]})
    assert ticks.run().success
    pair.source("DELETE FROM a WHERE id = 1")
    assert ticks.run(request_of(ticks, "*/15 * * * *")).success
    assert pair.target("SELECT id FROM a ORDER BY id") == [(1,), (2,)]
    assert ticks.run(request_of(ticks, "@daily")).success
    assert pair.target("SELECT id FROM a") == [(2,)]


def test_a_reconciliation_corrects_what_no_xid_shows(
    pair: Pair, instance: dg.DagsterInstance
) -> None:
    pair.source("CREATE TABLE b (id int PRIMARY KEY, v int)", "INSERT INTO b VALUES (1, 1)")
    ticks = Ticks(instance, pair.source_url, pair.target_url, {"tables": TABLES[1:2]})
    assert ticks.run().success
    pair.target("UPDATE b SET v = 2")
    assert ticks.run(request_of(ticks, "*/15 * * * *")).success
    assert pair.target("SELECT v FROM b") == [(2,)]
    assert ticks.run(request_of(ticks, "0 3 * * sun")).success
    assert pair.target("SELECT v FROM b") == [(1,)]


def test_a_run_that_has_not_ended_is_not_joined_by_another(instance: dg.DagsterInstance) -> None:
    ticks = Ticks(instance, "x", "x", {"tables": TABLES})
    request = request_of(ticks, "@hourly")
    assert request is not None
    job = ticks.definitions.resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(
        job, tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED
    )
    assert request_of(ticks, "@hourly") is None
    assert request_of(ticks, "@daily") is not None
    instance.report_run_canceled(run)
    assert request_of(ticks, "@hourly") is not None


GOOD = (
    "* * * * *",
    "*/15 * * * *",
    "0 3 * * sun",
    "5,35 8-18/2 1 jan-mar 1-5",
    "@daily",
    "0 0 29 2 *",
)
BAD = (
    *("", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *"),
    *(
        "* * * * 8",
        "*/0 * * * *",
        "a * * * *",
        "5-1 * * * *",
        "0 0 30 2 *",
        "@often",
        "* * 31 feb *",
    ),
)


@pytest.mark.parametrize("expression", GOOD)
def test_what_we_accept_dagster_accepts(expression: str) -> None:
    assert problem_of(expression) is None
    assert is_valid_cron_string(expression)


@pytest.mark.parametrize("expression", BAD)
def test_what_dagster_refuses_we_refuse_with_a_reason(expression: str) -> None:
    assert problem_of(expression)
    assert expression == "5-1 * * * *" or not is_valid_cron_string(expression)
