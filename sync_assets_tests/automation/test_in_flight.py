"""What a run holds back: its own tables while it lives, and nothing once it is dead."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import dagster as dg
import psycopg2
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import DagsterEvent, DagsterEventType, EngineEventData
from dagster._core.execution.api import execute_run
from dagster._core.execution.plan.objects import StepFailureData, StepSuccessData
from dagster._core.launcher import DefaultRunLauncher, WorkerStatus
from dagster._core.launcher.base import CheckRunHealthResult
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster_shared.error import SerializableErrorInfo

from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.lock import advisory_key
from sync_assets.launch.engines import kept_engines
from sync_assets.runs import in_flight
from sync_assets.runs.process import PROCESS, noted
from sync_assets_tests.fixtures.inbox import Inbox
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.ticks import Ticks

POOL, CRON = "sync_source", "@hourly"
NAMES = ("a", "b", "c", "d", "e")
ATTRIBUTES: dict[str, Any] = {
    "alerts": {"webhook": True},
    "tables": [{"source": name, "schedule": CRON} for name in NAMES],
}


@pytest.fixture
def instance(request: pytest.FixtureRequest) -> Iterator[dg.DagsterInstance]:
    settings = getattr(request, "param", {})
    # A schedule's context opens the instance anew, from its folder.
    with kept_engines(), dg.instance_for_test(overrides=settings) as made:
        yield made


@pytest.fixture
def ticks(pair: Pair, instance: dg.DagsterInstance) -> Ticks:
    """Five tables of which none was synced yet."""
    pair.source(*(f"CREATE TABLE {name} (id int PRIMARY KEY)" for name in NAMES))
    instance.event_log_storage.set_concurrency_slots(POOL, 4)
    return Ticks(instance, pair.source_url, pair.target_url, ATTRIBUTES)


def launched(
    ticks: Ticks,
    request: dg.RunRequest,
    *begun: str,
    ended: str = "",
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
) -> dg.DagsterRun:
    """The run that was asked for, as it looks after these tables have begun."""
    run = ticks.instance.create_run_for_job(
        ticks.definitions.resolve_implicit_global_asset_job_def(),
        asset_selection=frozenset(request.asset_selection or ()),
        run_config=request.run_config,
        tags=dict(request.tags),
        status=status,
    )
    for name in begun:
        storage, step = ticks.instance.event_log_storage, f"target__public__{name}"
        storage.claim_concurrency_slot(POOL, run.run_id, step)
        report(ticks, run, DagsterEventType.STEP_START, step)
        if name in ended:
            report(ticks, run, DagsterEventType.STEP_SUCCESS, step)
            storage.free_concurrency_slot_for_step(run.run_id, step)
    return run


def report(ticks: Ticks, run: dg.DagsterRun, kind: DagsterEventType, step: str) -> None:
    broke = SerializableErrorInfo("it broke", [], "Broken")
    data: dict[DagsterEventType, Any] = {
        DagsterEventType.STEP_SUCCESS: StepSuccessData(1.0),  # type: ignore[no-untyped-call]
        DagsterEventType.STEP_FAILURE: StepFailureData(broke, None),  # type: ignore[no-untyped-call]
    }
    event = DagsterEvent(
        kind.value, run.job_name, step_key=step, event_specific_data=data.get(kind)
    )
    ticks.instance.report_dagster_event(event, run.run_id)


@contextmanager
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this host that is killed at the end."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as made:
        yield made
        made.kill()


def asked(ticks: Ticks) -> list[dg.RunRequest]:
    return list(ticks.evaluate("_changes").run_requests or [])


def tables(requests: Sequence[dg.RunRequest] | None) -> list[str]:
    """The tables of each run, as one word."""
    return sorted(
        "".join(sorted(key.path[-1] for key in each.asset_selection or ()))
        for each in requests or ()
    )


def status(ticks: Ticks, run: dg.DagsterRun) -> str:
    now = ticks.instance.get_run_by_id(run.run_id)
    assert now is not None
    return now.status.value


def killed(ticks: Ticks) -> dg.DagsterRun:
    """A run of all tables that stays STARTED, with a slot of the pool, for its process is gone."""
    (request,) = asked(ticks)
    run = launched(ticks, request, "a")
    with process() as worker:
        ticks.instance.add_run_tags(run.run_id, noted(run.run_id, worker.pid))
    return run


def test_a_run_whose_process_is_gone_is_ended_told_and_asked_for_again(
    ticks: Ticks, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_ALERT_WEBHOOK", inbox.webhook)
    ticks.attributes = {"sensor_interval": "1 second", **ATTRIBUTES}
    dead = killed(ticks)
    ticks.cursors.clear()  # or it would wait a little, as after any failure
    assert tables(asked(ticks)) == ["abcde"]
    assert status(ticks, dead) == "FAILURE"
    assert ticks.instance.event_log_storage.get_concurrency_info(POOL).active_slot_count == 0
    ticks.tell_of(dead)
    (post,) = inbox.posts
    assert "The process of this run is gone." in post["text"]


@pytest.mark.parametrize("failed", ["b", "abcde"])
def test_the_alert_of_a_dead_run_names_the_death_though_steps_had_failed_before(
    ticks: Ticks, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, failed: str
) -> None:
    monkeypatch.setenv("SYNC_ALERT_WEBHOOK", inbox.webhook)
    dead = killed(ticks)
    for name in failed:
        report(ticks, dead, DagsterEventType.STEP_FAILURE, f"target__public__{name}")
    assert ticks.run().success
    ticks.tell_of(dead)
    told = inbox.posts[0]["text"].splitlines()
    assert f"public.{failed[-1]}: it broke." in [line.rpartition(", ")[2] for line in told]
    assert sum("RunDied: The process of this run is gone." in line for line in told) == 1


def test_the_schedule_does_so_too(ticks: Ticks) -> None:
    dead = killed(ticks)
    assert tables(ticks.due(CRON).run_requests) == ["abcde"]
    assert status(ticks, dead) == "FAILURE"


def test_and_the_hindrance_sensor_where_all_others_are_off(ticks: Ticks) -> None:
    dead = killed(ticks)
    assert ticks.evaluate("_hindrances").skip_message == "Nothing is in the way of a sync."
    assert status(ticks, dead) == "FAILURE"
    assert ticks.instance.event_log_storage.get_concurrency_info(POOL).active_slot_count == 0


def test_and_so_does_a_run_that_somebody_starts_by_hand(ticks: Ticks) -> None:
    dead = killed(ticks)
    assert ticks.run().success
    assert status(ticks, dead) == "FAILURE"


@pytest.mark.parametrize("instance", [{"run_retries": {"enabled": True}}], indirect=True)
def test_what_dagster_runs_again_by_itself_is_left_to_it(ticks: Ticks) -> None:
    ticks.instance.add_run_tags(killed(ticks).run_id, {"dagster/max_retries": "1"})
    assert ticks.due(CRON).run_requests == []


def test_a_run_of_this_host_that_lives_holds_its_tables(
    ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "SILENCE", 0.0)
    run = launched(ticks, asked(ticks)[0], "a")
    with process() as worker:
        ticks.instance.add_run_tags(run.run_id, noted(run.run_id, worker.pid))
        data = ticks.due(CRON)
        assert data.run_requests == []
        assert run.run_id in str(data.skip_message)


def test_a_run_of_another_host_holds_them_while_its_session_lives(
    ticks: Ticks, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = launched(ticks, asked(ticks)[0], "a")
    ticks.instance.add_run_tags(run.run_id, {PROCESS: f"{run.run_id} another 1 1.0"})
    assert ticks.due(CRON).run_requests == [], "it has spoken a moment ago"
    monkeypatch.setattr(in_flight, "SILENCE", 0.0)
    with closing(psycopg2.connect(pair.target_url)) as session, session.cursor() as cursor:
        key = advisory_key(RelationName("public", "a"))
        cursor.execute("SELECT pg_advisory_lock(%s)", (key,))
        assert ticks.due(CRON).run_requests == []
    held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
    assert eventually(lambda: not pair.target(held))
    assert tables(ticks.due(CRON).run_requests) == ["abcde"]
    assert status(ticks, run) == "FAILURE"
    (event,) = ticks.instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_FAILURE)
    assert "no session of it works on the target" in str(event.message)


def test_nobody_is_called_dead_for_a_target_that_does_not_answer(
    ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "SILENCE", 0.0)
    launched(ticks, asked(ticks)[0], "a")
    ticks.target_url = "host=127.0.0.1 port=1 dbname=x"
    assert ticks.due(CRON).run_requests == []


def test_nor_for_a_step_that_is_not_ours(ticks: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "SILENCE", 0.0)
    run = launched(ticks, asked(ticks)[0])
    report(ticks, run, DagsterEventType.STEP_START, "report")
    assert ticks.due(CRON).run_requests == []
    report(ticks, run, DagsterEventType.STEP_SUCCESS, "report")
    assert tables(ticks.due(CRON).run_requests) == ["abcde"]


def test_a_slow_table_holds_back_no_other(ticks: Ticks) -> None:
    (request,) = asked(ticks)
    slow = request.with_replaced_attrs(asset_selection=[dg.AssetKey(["target", "public", "a"])])
    launched(ticks, slow, "a")
    assert tables(ticks.due(CRON).run_requests) == ["bcde"]


def test_nor_does_a_run_the_tables_that_it_has_finished(ticks: Ticks) -> None:
    launched(ticks, asked(ticks)[0], "a", "b", "c", ended="ab")
    assert tables(ticks.due(CRON).run_requests) == ["ab"]


def test_what_waits_behind_a_slow_table_is_shared_out_over_the_room_in_the_pool(
    ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    (request,) = asked(ticks)
    launched(ticks, request, "a")
    assert asked(ticks) == [], "it is not slow yet"
    monkeypatch.setattr(in_flight, "SLOW", 0.0)
    first, second, third = asked(ticks)
    assert tables([first, second, third]) == ["be", "c", "d"]
    assert len({request.run_key, first.run_key, second.run_key, third.run_key}) == 4
    launched(ticks, first, "b")
    launched(ticks, second, "c")
    launched(ticks, third, "d")
    assert asked(ticks) == [], "four work, which is what the pool allows"


def test_a_run_leaves_what_a_later_one_was_asked_for(
    ticks: Ticks, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "SLOW", 0.0)
    (request,) = asked(ticks)
    slow = launched(ticks, request, "a", status=dg.DagsterRunStatus.NOT_STARTED)
    for each in asked(ticks):
        launched(ticks, each)
    job = ticks.definitions.resolve_implicit_global_asset_job_def()
    rest = job.get_subset(asset_selection=set(request.asset_selection or ()))
    assert execute_run(InMemoryJob(rest), slow, ticks.instance).success
    assert pair.target("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("a",)]


@contextmanager
def started(ticks: Ticks, run: dg.DagsterRun) -> Iterator[None]:
    """The process that a run's log names, which lives as long as the block."""
    with process() as worker:
        told = EngineEventData.in_process(worker.pid)
        ticks.instance.report_engine_event("Started process for run.", run, told)
        yield


def test_a_run_that_waits_in_silence_lives_while_the_process_does_that_its_log_names(
    ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "SILENCE", 0.0)
    run = launched(ticks, asked(ticks)[0])
    with started(ticks, run):
        assert ticks.due(CRON).run_requests == []
    assert tables(ticks.due(CRON).run_requests) == ["abcde"]


def test_a_run_that_died_before_its_first_step_holds_nothing_where_a_server_of_this_host_started_it(
    ticks: Ticks,
) -> None:
    run = launched(ticks, asked(ticks)[0])
    ticks.instance.add_run_tags(run.run_id, {GRPC_INFO_TAG: '{"host": "127.0.0.1", "port": 4000}'})
    with started(ticks, run):
        assert ticks.due(CRON).run_requests == []
    assert tables(ticks.due(CRON).run_requests) == ["abcde"]
    assert status(ticks, run) == "FAILURE"


def test_a_run_that_died_before_its_first_step_holds_its_tables_where_another_host_started_it(
    ticks: Ticks,
) -> None:
    run = launched(ticks, asked(ticks)[0])
    ticks.instance.add_run_tags(run.run_id, {GRPC_INFO_TAG: '{"host": "code", "port": 4000}'})
    with started(ticks, run):
        pass
    assert ticks.due(CRON).run_requests == []


@pytest.mark.parametrize(
    ("health", "asked_for"),
    [(WorkerStatus.RUNNING, []), (WorkerStatus.FAILED, ["abcde"]), (WorkerStatus.UNKNOWN, [])],
)
def test_a_launcher_that_looks_after_its_workers_is_believed(
    ticks: Ticks, monkeypatch: pytest.MonkeyPatch, health: WorkerStatus, asked_for: list[str]
) -> None:
    launcher, told = DefaultRunLauncher, CheckRunHealthResult(health, "OOMKilled")
    monkeypatch.setattr(launcher, "supports_check_run_worker_health", True)
    monkeypatch.setattr(launcher, "check_run_worker_health", lambda *_: told)
    launched(ticks, asked(ticks)[0], "a")
    assert tables(ticks.due(CRON).run_requests) == asked_for


def test_a_run_that_is_queued_is_the_daemon_s(
    ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "SILENCE", 0.0)
    job = ticks.definitions.resolve_implicit_global_asset_job_def()
    place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "__repository__")
    ticks.instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.QUEUED, remote_job_origin=place.get_job_origin(job.name)
    )
    assert asked(ticks) == []


def test_one_that_nobody_ever_launched_holds_nothing(
    ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ticks.definitions.resolve_implicit_global_asset_job_def()
    run = ticks.instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED)
    assert asked(ticks) == []
    monkeypatch.setattr(in_flight, "SILENCE", 0.0)
    assert tables(asked(ticks)) == ["abcde"]
    assert status(ticks, run) == "FAILURE"
