"""Schedules: one for each purpose and cron expression, and never two runs of one at a time."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import dagster as dg
import pytest
from dagster._utils.schedules import is_valid_cron_string, schedule_execution_time_iterator
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sync_assets.config.automation import AutomationOptions
from sync_assets.launch.engines import kept_engines
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
    with kept_engines(), dg.instance_for_test() as made:
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
    requests = ticks.due(cron).run_requests or []
    assert len(requests) <= 1
    return requests[0] if requests else None


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
    assert request_of(ticks, "*/15 * * * *") is None
    pair.source("INSERT INTO a VALUES (3)")
    assert ticks.run(request_of(ticks, "*/15 * * * *")).success
    assert pair.target("SELECT id FROM a ORDER BY id") == [(1,), (2,), (3,)]
    assert ticks.run(request_of(ticks, "@daily")).success
    assert pair.target("SELECT id FROM a ORDER BY id") == [(2,), (3,)]


def test_a_table_that_nobody_wrote_to_takes_no_part(
    instance: dg.DagsterInstance, pair: Pair
) -> None:
    pair.source("CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY)")
    tables = [{"source": name, "schedule": "@hourly", "freshness": "2 hours"} for name in "ab"]
    ticks = Ticks(instance, pair.source_url, pair.target_url, {"tables": tables})
    (both,) = ticks.due("@hourly").run_requests or ()
    assert ticks.run(both).success
    assert ticks.due("@hourly").run_requests == []
    pair.source("INSERT INTO b VALUES (1)")
    (one,) = ticks.due("@hourly").run_requests or ()
    assert one.asset_selection == [dg.AssetKey(["target", "public", "b"])]
    assert ticks.run(one).success
    pair.target("TRUNCATE a")
    (other,) = ticks.due("@hourly").run_requests or ()
    assert other.asset_selection == [dg.AssetKey(["target", "public", "a"])]


def test_a_reconciliation_corrects_what_no_xid_shows(
    pair: Pair, instance: dg.DagsterInstance
) -> None:
    pair.source("CREATE TABLE b (id int PRIMARY KEY, v int)", "INSERT INTO b VALUES (1, 1)")
    ticks = Ticks(instance, pair.source_url, pair.target_url, {"tables": TABLES[1:2]})
    assert ticks.run().success
    pair.target("UPDATE b SET v = 2")
    assert request_of(ticks, "*/15 * * * *") is None
    assert pair.target("SELECT v FROM b") == [(2,)]
    assert ticks.run(request_of(ticks, "0 3 * * sun")).success
    assert pair.target("SELECT v FROM b") == [(1,)]


def test_a_run_that_has_not_ended_is_not_joined_by_another(instance: dg.DagsterInstance) -> None:
    ticks = Ticks(instance, "x", "x", {"tables": TABLES})
    request = request_of(ticks, "@hourly")
    assert request is not None
    job = ticks.definitions.resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(
        job,
        asset_selection=frozenset(request.asset_selection or ()),
        tags=dict(request.tags),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert request_of(ticks, "@hourly") is None
    assert request_of(ticks, "@daily") is not None
    instance.report_run_canceled(run)
    assert request_of(ticks, "@hourly") is not None


def names(*tables: dict[str, Any], **defaults: str) -> list[str]:
    """The names of the schedules of these tables, each with the tables it syncs."""
    attributes = {"defaults": defaults, "tables": list(tables)}
    ticks = Ticks(dg.DagsterInstance.ephemeral(), "x", "x", attributes)
    return [f"{each.name}: {' '.join(_tables(each))}" for each in schedules(ticks)]


A, B, C = ({"source": name} for name in "abc")
OWN = {"schedule": "@daily"}


@pytest.mark.parametrize("times", [{"schedule": "@hourly"}, {"timezone": "Asia/Seoul"}])
def test_a_name_outlives_an_edit_of_the_times(times: dict[str, str]) -> None:
    before = {"schedule": "*/5 * * * *", "timezone": "UTC"}
    assert names(A, B, **before) == names(A, B, **(before | times)) == ["sync_sync: a b"]
    own = ["sync_sync__b: b c", "sync_sync: a"]
    written = [B | before, C | before, A]
    assert sorted(names(*written, **OWN)) == sorted(own)
    edited = [B | before | times, C | before | times, A]
    assert sorted(names(*edited, **OWN)) == sorted(own)


def test_no_table_that_is_added_takes_the_name_of_others() -> None:
    before = names(A | OWN, B, schedule="@hourly")
    assert before == ["sync_sync__a: a", "sync_sync: b"]
    added = names(C | {"schedule": "@weekly"}, A | OWN, B, schedule="@hourly")
    assert added == ["sync_sync__c: c", *before]


def test_tables_of_all_schemas_have_names_of_their_own() -> None:
    crons = [f"{minute} * * * *" for minute in range(6)]
    targets = ["t", "s.t", "public.s__t", '"a b".t', "주문", "public.public"]
    tables = [
        {"source": target, "schedule": cron} for target, cron in zip(targets, crons, strict=True)
    ]
    ticks = Ticks(dg.DagsterInstance.ephemeral(), "x", "x", {"tables": tables})
    found = [each.name for each in schedules(ticks)]
    assert found[:2] == ["sync_sync__t", "sync_sync__s__t"]
    assert len(set(found)) == len(targets)


GOOD = (
    "* * * * *",
    "*/15 * * * *",
    "5/15 * * * *",
    "0 3 * * sun",
    "0 6 * * MON#1",
    "0 0 L * *",
    "0 0 * * L5",
    "5,35 8-18/2 1 jan-mar 1-5",
    "@daily",
    "0 0 29 2 *",
)
BAD = (
    *("", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *"),
    *("* * * * 8", "*/0 * * * *", "a * * * *", "0 0 30 2 *", "@often", "* * 31 feb *"),
    *("0 0 15W * *", "H * * * *", "* * * * mon#6", "CRON_TZ=UTC * * * * *"),
)
FIELDS = (
    r"\*|\*/[1-9]|[0-5]?[0-9](-[0-5]?[0-9])?(/[0-9])?|R",
    r"\*|\*/[1-9]|[0-9]{1,2}(-[0-9]{1,2})?(/[0-9])?|R|H",
    r"\*|\?|L|[1-9]|[123][0-9]([-,/][0-9]{1,2})?|L,[0-9]|[0-9]W",
    r"\*|[1-9](-1[0-2])?|(jan|FEB|jun|dec)([-,](apr|2))?",
    r"\*|\?|[0-8](-[0-7])?|(mon|SUN|fri)([-,](tue|6)|#[1-6])?|L[0-7]",
)
EXPRESSIONS = st.tuples(*(st.from_regex(field, fullmatch=True) for field in FIELDS)).map(" ".join)
"""Right and wrong ones, about as many of each."""


def accepts(expression: str) -> bool:
    try:
        AutomationOptions(schedule=expression)
    except ValidationError:
        return False
    return True


def ticks_of(expression: str, timezone: str = "UTC") -> Iterator[datetime]:
    """When Dagster's scheduler starts such a schedule, from July 2026 on."""
    start = datetime(2026, 7, 1, tzinfo=ZoneInfo("UTC")).timestamp()
    return schedule_execution_time_iterator(start, expression, timezone)


@pytest.mark.parametrize("expression", GOOD)
def test_what_we_accept_ticks_in_dagster(expression: str) -> None:
    assert accepts(expression)
    assert next(ticks_of(expression))


@pytest.mark.parametrize("expression", BAD)
def test_what_dagster_refuses_is_refused(expression: str) -> None:
    assert not accepts(expression)
    assert not is_valid_cron_string(expression)


@pytest.mark.parametrize(
    "expression", ["0 0 31 2,4 *", "0 0 31 4 mon", "0 0 1 * L1", "0 0 31/24 dec,4,4-10/7 5#5"]
)
def test_a_day_that_never_comes_is_refused_where_dagster_would_stumble(expression: str) -> None:
    assert not accepts(expression)
    with pytest.raises(Exception, match="failed to find prev date"):
        next(ticks_of(expression))


@settings(max_examples=200, deadline=None)
@given(EXPRESSIONS)
def test_whatever_we_accept_ticks_in_dagster(expression: str) -> None:
    assume(accepts(expression))
    assert next(ticks_of(expression))


def test_times_hold_in_their_zone_also_when_its_clocks_change() -> None:
    table = {"source": "a", "schedule": "30 2 L * *", "timezone": "Europe/Berlin"}
    ticks = Ticks(dg.DagsterInstance.ephemeral(), "x", "x", {"tables": [table, TABLES[2]]})
    berlin, hourly = schedules(ticks)
    assert (berlin.execution_timezone, hourly.execution_timezone) == ("Europe/Berlin", "UTC")
    times = ticks_of(str(berlin.cron_schedule), str(berlin.execution_timezone))
    assert [str(next(times)) for _ in range(5)] == [
        "2026-07-31 02:30:00+02:00",
        "2026-08-31 02:30:00+02:00",
        "2026-09-30 02:30:00+02:00",
        "2026-10-31 02:30:00+01:00",
        "2026-11-30 02:30:00+01:00",
    ]


def test_the_same_expression_in_two_zones_is_two_schedules() -> None:
    tables = [TABLES[2], {"source": "e", "schedule": "@hourly", "timezone": "Asia/Kolkata"}]
    ticks = Ticks(dg.DagsterInstance.ephemeral(), "x", "x", {"tables": tables})
    assert len({each.name for each in schedules(ticks)}) == 2


def test_every_zone_we_accept_is_one_to_dagster() -> None:
    for zone in available_timezones():
        assert next(ticks_of("0 0 * * *", zone)), zone
