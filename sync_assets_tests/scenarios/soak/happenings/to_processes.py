"""What happens to the processes of Dagster, and to what they load."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence

import dagster as dg
import psutil
import psycopg2

from sync_assets.runs.in_flight import UNFINISHED
from sync_assets.runs.process import PROCESS
from sync_assets_tests.fixtures.pair import eventually
from sync_assets_tests.scenarios.soak.home import COMPONENT, PATIENCE
from sync_assets_tests.scenarios.soak.stage import NOTHING, Happening, Stage, Told

ALL = ("daemon", "webserver", "code server")


def killed(stage: Stage, *names: str) -> Happening:
    stage.home.kill(*names)
    yield NOTHING
    stage.home.start(*names)


@contextlib.contextmanager
def _run_at_work(stage: Stage) -> Iterator[None]:
    """A run is in the middle of its work for as long as the block lasts."""
    name = stage.any_of(["customers", "visits", "notes"])
    pair = stage.servers.pair
    with contextlib.closing(psycopg2.connect(pair.target_url)) as session:
        with session.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {name} IN EXCLUSIVE MODE")
        stage.tables.touch([name])
        waits = f"SELECT 1 FROM pg_locks WHERE relation = '{name}'::regclass AND NOT granted"
        assert eventually(lambda: bool(pair.target(waits)), PATIENCE * 3), "no run came"
        yield


def killed_at_work(stage: Stage, *names: str) -> Happening:
    with _run_at_work(stage):
        stage.home.kill(*names)
    yield NOTHING
    stage.home.start(*names)


def run_killed(stage: Stage) -> Happening:
    with _run_at_work(stage):
        for run in stage.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
            if noted := run.tags.get(PROCESS):
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(int(noted.split(" ")[2])).kill()
    yield NOTHING


def frozen(stage: Stage, name: str) -> Happening:
    held = stage.home.tree(name)
    _signal(held, signal.SIGSTOP)
    try:
        yield NOTHING
    finally:
        _signal(held, signal.SIGCONT)


def code_server_frozen(stage: Stage) -> Happening:
    """For longer than Dagster's own heartbeat: what serves the code ends, and is not started again."""
    yield from frozen(stage, "code server")
    stage.home.reload()


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def other_version(stage: Stage) -> Happening:
    stage.home.kill("code server")
    stage.home.start("code server", PYTHONPATH=stage.home.path_of_version("99.0"))
    assert eventually(stage.home.is_up, PATIENCE * 3)
    yield NOTHING
    stage.home.kill("code server")
    stage.home.start("code server")


def nonsense(stage: Stage) -> Happening:
    stage.home.write_text("type: sync_assets.TableSync\nattributes: {tables: [{sauce: orders}]}\n")
    stage.home.reload()
    assert eventually(lambda: not stage.home.is_up(), PATIENCE), "nonsense was taken"
    yield Told({"every table": "sauce"})
    stage.redefine()


def rescheduled(stage: Stage) -> Happening:
    now = stage.tables.synced["stock"].get("schedule")
    later = "*/2 * * * *" if now == "* * * * *" else "* * * * *"
    stage.tables.synced["stock"] = {**stage.tables.synced["stock"], "schedule": later}
    stage.redefine()
    yield NOTHING


def switched_off(stage: Stage) -> Happening:
    sensor = f"{COMPONENT}_changes"
    stage.home.switch(sensor, on=False)
    yield Told(dict.fromkeys(stage.tables.watched, f"{sensor} is switched off"))
    stage.home.switch(sensor, on=True)
