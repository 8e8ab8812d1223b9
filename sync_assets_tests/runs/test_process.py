"""A run's process is noted on it, and runs whose process is gone are ended."""

import os
from collections.abc import Iterator

import dagster as dg
import psutil
import pytest
import sqlalchemy

from sync_assets.runs.in_flight import end_dead_runs
from sync_assets.runs.process import PROCESS, is_alive, note_process, noted


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def started(instance: dg.DagsterInstance, **words: str) -> str:
    """A run that says it was started by this process, but for the words of its tag given here."""
    job = dg.Definitions(assets=[dg.AssetSpec("a")]).resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    run_id, host, pid, born = noted(run.run_id)[PROCESS].split()
    told = {"run": run_id, "host": host, "pid": pid, "born": born} | words
    instance.add_run_tags(run.run_id, {PROCESS: " ".join(told.values())})
    return run.run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_only_a_run_whose_process_is_known_to_be_gone_is_ended(
    instance: dg.DagsterInstance,
) -> None:
    runs = {
        "alive": started(instance),
        "elsewhere": started(instance, host="another", born="1.0"),
        "inherited its tag": started(instance, run="another", born="1.0"),
        "dead, and its process id used again": started(instance, born="1.0"),
    }
    end_dead_runs(instance)
    ended = {name for name, run in runs.items() if status(instance, run).value == "FAILURE"}
    assert ended == {"dead, and its process id used again"}


def test_a_clock_that_is_put_right_kills_nobody(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(instance)
    # What the system tells: processes and itself began so much earlier or later by the new clock.
    before = psutil.boot_time()
    monkeypatch.setattr("psutil._psplatform.boot_time", lambda: before + 3600)
    end_dead_runs(instance)
    assert status(instance, run) is dg.DagsterRunStatus.STARTED


def test_one_that_was_told_to_stop_has_stopped(instance: dg.DagsterInstance) -> None:
    run_id = started(instance, born="1.0")
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_run_canceling(run)
    end_dead_runs(instance)
    assert status(instance, run_id) is dg.DagsterRunStatus.CANCELED


def test_a_run_killed_before_dagster_had_stored_its_tags_is_ended_too(
    instance: dg.DagsterInstance,
) -> None:
    run_id = started(instance, born="1.0")
    with instance.run_storage.connect() as storage:  # type: ignore[attr-defined]
        storage.execute(sqlalchemy.text("DELETE FROM run_tags"))
    end_dead_runs(instance)
    assert status(instance, run_id) is dg.DagsterRunStatus.FAILURE


def test_a_dead_run_gives_its_pool_slots_back(instance: dg.DagsterInstance) -> None:
    run_id, storage = started(instance, born="1.0"), instance.event_log_storage
    storage.set_concurrency_slots("sync_source", 1)
    storage.claim_concurrency_slot("sync_source", run_id, "one")
    storage.claim_concurrency_slot("sync_source", run_id, "two")
    end_dead_runs(instance)
    info = storage.get_concurrency_info("sync_source")
    assert (info.active_slot_count, info.pending_step_count) == (0, 0)


@dg.op
def notes(context: dg.OpExecutionContext) -> None:
    note_process(context.instance, context.run)
    run = context.instance.get_run_by_id(context.run_id)
    assert run is not None
    assert is_alive(run)


@dg.job
def noting() -> None:
    notes()


@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
def test_a_step_notes_the_process_that_executes_its_run(
    instance: dg.DagsterInstance, executor: str
) -> None:
    result = dg.execute_job(
        dg.reconstructable(noting),
        instance,
        run_config={"execution": {"config": {executor: {}}}},
    )
    assert result.success
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    _, _, pid, born = run.tags[PROCESS].split()
    assert int(pid) == os.getpid()
    since_boot = psutil.Process().create_time() - psutil.boot_time()
    assert float(born) == pytest.approx(since_boot, abs=0.01)
