"""`sync-assets doctor`: what hinders syncing now is found, named with its mend, and mended with --fix."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
import yaml
from click.testing import CliRunner
from dagster._daemon.types import DaemonHeartbeat
from psycopg2.extensions import make_dsn

from sync_assets.automation.home import looked, program
from sync_assets.cli import main
from sync_assets.definitions import load_tables
from sync_assets.engine.names import RelationName, staging_name
from sync_assets.engine.postgres.lock import advisory_key
from sync_assets.hindrances import kinds
from sync_assets.launch import doctor
from sync_assets.launch.instance import FILES, opened_instance
from sync_assets.runs.process import noted
from sync_assets_tests.automation.test_hindrances import FROM_OUTSIDE
from sync_assets_tests.fixtures.documents import printed
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.switches import switched_off

POOL, EVERY = "sync_source", ["public.a", "public.b"]
ATTRIBUTES = {
    "defaults": {"automation": "running"},
    "tables": [{"source": "a"}, {"source": "b", "schedule": "@yearly"}],
}
NOTHING = "Nothing is in the way of a sync."
A = RelationName("public", "a")


@dataclass
class Patient:
    """A project with its Dagster home, whose daemon lives."""

    home: Path
    defs: Path
    pair: Pair
    monkeypatch: pytest.MonkeyPatch

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with opened_instance() as instance:
            yield instance

    def beat(self, at: float) -> None:
        """A sign of life of every daemon."""
        with self.instance() as instance:
            for daemon in instance.get_required_daemon_types():
                instance.add_daemon_heartbeat(DaemonHeartbeat(at, daemon, None))

    def found(self, *words: str, code: int = 1) -> dict[str, list[str]]:
        """The kinds of what `doctor` finds, each with its tables."""
        found: dict[str, list[str]] = {}
        for each in printed("doctor", *words, code=code)["hindrances"]:
            found.setdefault(each["kind"], []).append(each["target"])
        return found


@pytest.fixture
def patient(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Patient:
    for name in ("a", "b"):
        pair.source(f"CREATE TABLE {name} (id int PRIMARY KEY)")
        pair.sync(name)
    home, defs = tmp_path / "home", tmp_path / "defs"
    home.mkdir()
    defs.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    document = {"type": "sync_assets.TableSync", "attributes": ATTRIBUTES}
    (defs / "defs.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("SYNC_DEFS", str(defs))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    made = Patient(home, defs, pair, monkeypatch)
    made.beat(time.time())
    return made


def told(*words: str) -> str:
    return CliRunner().invoke(main, ["doctor", *words]).output


def switch_off(patient: Patient, name: str, cron: str = "") -> None:
    with patient.instance() as instance:
        switched_off(instance, name, cron)


@contextmanager
def sensor_off(patient: Patient) -> Iterator[None]:
    switch_off(patient, "sync_changes")
    yield


@contextmanager
def schedule_off(patient: Patient) -> Iterator[None]:
    switch_off(patient, "sync_sync__b", "@yearly")
    yield


@contextmanager
def watcher_off(patient: Patient) -> Iterator[None]:
    switch_off(patient, "sync_hindrances")
    yield


def dead_process(run_id: str) -> dict[str, str]:
    """The note of a process that was there and is gone."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        note = noted(run_id, process.pid)
        process.kill()
    return note


@contextmanager
def dead_run(patient: Patient) -> Iterator[None]:
    job = load_tables(patient.defs).resolve_implicit_global_asset_job_def()
    with patient.instance() as instance:
        run = instance.create_run_for_job(
            job,
            asset_selection=frozenset([dg.AssetKey(["target", "public", "a"])]),
            status=dg.DagsterRunStatus.STARTED,
        )
        instance.add_run_tags(run.run_id, dead_process(run.run_id))
    yield
    with patient.instance() as instance:
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        assert ended.status is dg.DagsterRunStatus.FAILURE


@contextmanager
def place_of_an_ended_run(patient: Patient) -> Iterator[None]:
    job = load_tables(patient.defs).resolve_implicit_global_asset_job_def()
    with patient.instance() as instance:
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE)
        instance.event_log_storage.set_concurrency_slots(POOL, 1)
        instance.event_log_storage.claim_concurrency_slot(POOL, run.run_id, "target__public__a")
    yield
    with patient.instance() as instance:
        assert instance.event_log_storage.get_concurrency_info(POOL).active_slot_count == 0


@contextmanager
def broken_home(patient: Patient) -> Iterator[None]:
    import sqlite3

    for name in FILES[:2]:
        with closing(sqlite3.connect(patient.home / name)) as file:
            file.execute("INSERT INTO alembic_version VALUES ('5771160a95ad')")
            file.commit()
    yield


@contextmanager
def silent_session(patient: Patient) -> Iterator[None]:
    for module in (kinds, doctor):
        patient.monkeypatch.setattr(module, "SILENCE", 0.0)
    url = make_dsn(patient.pair.target_url, application_name="sync_assets")
    with closing(psycopg2.connect(url)) as session:
        session.cursor().execute(f"SELECT pg_advisory_lock({advisory_key(A)})")
        yield


Case = Callable[[Patient], AbstractContextManager[None]]
MENDED: list[tuple[str, Case, list[str], str]] = [
    ("switched_off", sensor_off, ["public.a"], "sync_changes is switched off"),
    ("switched_off", schedule_off, ["public.b"], "sync_sync__b is switched off"),
    ("unwatched", watcher_off, EVERY, "sync_hindrances is switched off"),
    ("run_dead", dead_run, ["public.a"], "The process of this run is gone."),
    ("pool_full", place_of_an_ended_run, EVERY, "are taken by runs that have ended"),
    ("home_broken", broken_home, EVERY, "was made by several processes at once"),
    ("hung", silent_session, ["public.a"], "held by a session of ours, silent for"),
]


@pytest.mark.parametrize(
    ("kind", "case", "tables", "said"), MENDED, ids=[case.__name__ for _, case, *_ in MENDED]
)
def test_what_is_safe_to_mend_is_named_and_mended_when_told_so(
    patient: Patient, kind: str, case: Case, tables: list[str], said: str
) -> None:
    with case(patient):
        first = printed("doctor", code=1)
        assert {each["kind"] for each in first["hindrances"]} == {kind}
        assert [each["target"] for each in first["hindrances"]] == tables
        assert said in first["hindrances"][0]["what"]
        assert {each["command"] for each in first["hindrances"]} == {"sync-assets doctor --fix"}
        done = printed("doctor", "--fix")
        assert [each["target"] for each in done["mended"]] == tables
        assert done["hindrances"] == []
    assert NOTHING in told()


@contextmanager
def daemon_down(patient: Patient) -> Iterator[None]:
    patient.beat(time.time() - 1000)
    yield
    patient.beat(time.time())


@contextmanager
def other_version(patient: Patient) -> Iterator[None]:
    key = looked("sync_hindrances")
    with patient.instance() as instance:
        instance.run_storage.set_cursor_values({key: "sync-assets 0.0.1 on Dagster 1.13.8"})
    yield
    with patient.instance() as instance:
        instance.run_storage.set_cursor_values({key: program()})


@contextmanager
def other_home(patient: Patient) -> Iterator[None]:
    program = patient.home.parent / "dagster-daemon"
    program.write_text("print(flush=True); input()")
    environment = {**os.environ, "DAGSTER_HOME": str(patient.home.parent)}
    with subprocess.Popen(
        [sys.executable, str(program)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.kill()


@contextmanager
def source_away(patient: Patient) -> Iterator[None]:
    patient.monkeypatch.setenv("SYNC_SOURCE_URL", "host=127.0.0.1 port=1 dbname=x")
    yield
    patient.monkeypatch.setenv("SYNC_SOURCE_URL", patient.pair.source_url)


@contextmanager
def no_place(patient: Patient) -> Iterator[None]:
    with patient.instance() as instance:
        instance.event_log_storage.set_concurrency_slots(POOL, 0)
    yield
    with patient.instance() as instance:
        instance.event_log_storage.set_concurrency_slots(POOL, 1)


NAMED: list[tuple[str, Case, str, str]] = [
    ("daemon_down", daemon_down, "Dagster's daemon SENSOR has given no sign", "dagster-daemon run"),
    ("versions_differ", other_version, "the code server works with sync-assets 0.0.1", ""),
    ("homes_differ", other_home, "records its runs in", ""),
    ("unreachable", source_away, "cannot connect to the source", ""),
    ("pool_full", no_place, "lets no step begin", "dagster instance concurrency set sync_source 2"),
]


@pytest.mark.parametrize(
    ("kind", "case", "said", "command"), NAMED, ids=[case.__name__ for _, case, *_ in NAMED]
)
def test_what_takes_a_person_is_named_and_left(
    patient: Patient, kind: str, case: Case, said: str, command: str
) -> None:
    with case(patient):
        left = printed("doctor", "--fix", code=1)
        assert left["mended"] == []
        assert {each["kind"] for each in left["hindrances"]} == {kind}
        assert any(
            said in each["what"] and each["command"] == command for each in left["hindrances"]
        )
        assert said in told()
    assert NOTHING in told()


def test_every_kind_that_only_a_command_can_see_has_a_case() -> None:
    cases = {kind for kind, *_ in MENDED} | {kind for kind, *_ in NAMED}
    assert cases >= FROM_OUTSIDE | {"run_dead"}


def test_who_syncs_by_hand_needs_no_daemon(patient: Patient) -> None:
    document: dict[str, Any] = {"type": "sync_assets.TableSync"}
    document["attributes"] = {"tables": [{"source": "a"}]}
    by_hand = patient.defs.parent / "by_hand"
    by_hand.mkdir()
    (by_hand / "defs.yaml").write_text(yaml.safe_dump(document))
    patient.monkeypatch.setenv("SYNC_DEFS", str(by_hand))
    patient.beat(time.time() - 1000)
    assert patient.found(code=0) == {}


def test_where_there_is_no_home_it_makes_none(patient: Patient, tmp_path: Path) -> None:
    patient.monkeypatch.delenv("DAGSTER_HOME")
    patient.monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    # What a run would meet in a new one is found all the same.
    assert set(patient.found()) == {"daemon_down"}
    assert not (tmp_path / "state").exists()
    assert told("--fix")
    assert (tmp_path / "state").exists()


def test_a_session_at_work_for_a_run_is_not_hung(patient: Patient) -> None:
    job = load_tables(patient.defs).resolve_implicit_global_asset_job_def()
    with silent_session(patient):
        with patient.instance() as instance:
            run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
            instance.add_run_tags(run.run_id, noted(run.run_id))
            event = dg.DagsterEvent(
                dg.DagsterEventType.STEP_START.value, job.name, step_key="target__public__a"
            )
            instance.report_dagster_event(event, run.run_id)
        assert patient.found("--fix", code=0) == {}


def test_what_dead_runs_left_on_the_target_is_dropped_unless_a_run_works_with_it(
    patient: Patient,
) -> None:
    staging = staging_name(A, temporary=False)
    patient.pair.target(f"CREATE TABLE {staging} (id int)")
    there = f"SELECT to_regclass('{staging}') IS NOT NULL"
    with closing(psycopg2.connect(patient.pair.target_url)) as session:
        session.cursor().execute(f"SELECT pg_advisory_lock({advisory_key(A)})")
        assert printed("doctor", "--fix", code=1)["left_behind"] == []
    assert "left behind: a staging table of public.a" in told()
    assert patient.pair.target(there) == [(True,)]
    assert printed("doctor", "--fix")["left_behind"] == []
    assert patient.pair.target(there) == [(False,)]


def test_what_would_take_data_along_is_named_with_its_command_and_not_done(
    patient: Patient,
) -> None:
    patient.pair.source("CREATE TABLE old (id int PRIMARY KEY)")
    patient.pair.sync("old")
    strange = staging_name(RelationName("Left over", "stranger"), temporary=False)
    patient.pair.target('CREATE SCHEMA "Left over"', f"CREATE TABLE {strange.as_sql} (id int)")
    found = printed("doctor", "--fix")["left_behind"]
    assert [each["command"] for each in found] == [
        f"DROP TABLE {strange.as_sql};",
        "sync-assets forget public.old --connection target",
    ]
    forgotten = CliRunner().invoke(main, [*found[1]["command"].split()[1:], "--yes"])
    assert forgotten.exit_code == 0, forgotten.output
    assert [each["command"] for each in printed("doctor")["left_behind"]] == [found[0]["command"]]
    patient.pair.target(found[0]["command"])
    assert printed("doctor")["left_behind"] == []
