"""Terminate: within 5 s nothing of the run works on either server, however it was started."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from sync_assets_tests.fixtures.live import Live, active, lock_waits, locked
from sync_assets_tests.fixtures.pair import eventually

pytestmark = pytest.mark.slow

SECONDS = 5.0
BUSY = "target/shop/busy"


def seconds_until(condition: Callable[[], bool]) -> float:
    start = time.monotonic()
    assert eventually(condition)
    return time.monotonic() - start


def is_gone(live: Live) -> bool:
    return not active(live.pair.source_url) and not active(live.pair.target_url)


def test_a_run_launched_from_the_ui_waiting_on_the_source(live: Live) -> None:
    with locked(live.pair.source_url, "shop.busy"):
        run = live.launch([BUSY])
        assert eventually(lambda: lock_waits(live.pair.source_url) == 1, seconds=60), live.log(run)
        assert live.terminate(run) == "TerminateRunSuccess"
        assert seconds_until(lambda: is_gone(live)) < SECONDS
        assert live.ends(run, "CANCELED"), live.log(run)


def test_a_run_launched_from_the_ui_waiting_on_the_target(live: Live) -> None:
    assert live.ends(live.launch([BUSY], in_one_process=True), "SUCCESS")
    live.pair.source("UPDATE shop.busy SET note = 'changed' WHERE id = 1")
    with locked(live.pair.target_url, "shop.busy"):
        run = live.launch([BUSY], in_one_process=True)
        assert eventually(lambda: lock_waits(live.pair.target_url) == 1, seconds=60), live.log(run)
        assert live.terminate(run) == "TerminateRunSuccess"
        assert seconds_until(lambda: is_gone(live)) < SECONDS
        assert live.ends(run, "CANCELED"), live.log(run)


def test_a_run_of_the_command_line_terminated_from_the_ui(live: Live) -> None:
    command = [sys.executable, "-m", "sync_assets.cli", "run", "shop.busy"]
    with locked(live.pair.source_url, "shop.busy"):
        process = subprocess.Popen(
            command,
            env=dict(live.environment),
            cwd=live.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert eventually(lambda: lock_waits(live.pair.source_url) == 1, seconds=60)
        run = newest_run(live)
        live.terminate(run)
        assert seconds_until(lambda: is_gone(live)) < SECONDS
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert live.status(run) == "CANCELED"


def newest_run(live: Live) -> str:
    found = live.ask("{ runsOrError(limit: 1) { ... on Runs { results { runId } } } }")
    run: str = found["runsOrError"]["results"][0]["runId"]
    return run


def test_a_step_in_a_celery_worker(celery: Live) -> None:
    with locked(celery.pair.source_url, "celery.stuck"):
        run = celery.launch(["target/celery/stuck"])
        assert eventually(lambda: lock_waits(celery.pair.source_url) == 1, seconds=60), celery.log(
            run
        )
        assert celery.terminate(run) == "TerminateRunSuccess"
        assert seconds_until(lambda: is_gone(celery)) < SECONDS
        assert celery.ends(run, "CANCELED"), celery.log(run)
    assert eventually(lambda: celery.pair.leftovers() == [])
