"""Terminate: within 5 s nothing of the run works on either server, however it was started."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from sync_assets_tests.fixtures.live import Live, active, lock_waits, locked
from sync_assets_tests.fixtures.pair import eventually

pytestmark = pytest.mark.slow

SECONDS = 30.0
"""Less than the lock's time-out, which would end the wait as well."""
BUSY = "target/shop/busy"


def is_waiting(url: str) -> bool:
    return eventually(lambda: lock_waits(url) == 1, seconds=60)


def stops_in_time(live: Live, run: str) -> bool:
    """Press Terminate; whether the statements are gone from both servers soon enough."""
    start = time.monotonic()
    live.terminate(run)
    urls = (live.pair.source_url, live.pair.target_url)
    gone = eventually(lambda: not any(active(url) for url in urls))
    return gone and time.monotonic() - start < SECONDS


def leaves_nothing(live: Live) -> bool:
    return eventually(lambda: live.pair.leftovers() == [])


def test_a_run_launched_from_the_ui_waiting_on_the_source(live: Live) -> None:
    with locked(live.pair.source_url, "shop.busy"):
        run = live.launch([BUSY])
        assert is_waiting(live.pair.source_url), live.log(run)
        assert stops_in_time(live, run)
        assert live.ends(run, "CANCELED"), live.log(run)
    assert leaves_nothing(live)


def test_a_run_launched_from_the_ui_waiting_on_the_target(live: Live) -> None:
    assert live.ends(live.launch([BUSY], in_one_process=True), "SUCCESS")
    live.pair.source("UPDATE shop.busy SET note = 'changed' WHERE id = 1")
    with locked(live.pair.target_url, "shop.busy"):
        run = live.launch([BUSY], in_one_process=True)
        assert is_waiting(live.pair.target_url), live.log(run)
        assert stops_in_time(live, run)
        assert live.ends(run, "CANCELED"), live.log(run)
    assert leaves_nothing(live)


def test_a_run_of_the_command_line_terminated_from_the_ui(live: Live) -> None:
    command = [sys.executable, "-m", "sync_assets.cli", "run", "shop.busy"]
    before = newest_run(live)
    with locked(live.pair.source_url, "shop.busy"):
        process = subprocess.Popen(
            command,
            env=dict(live.environment),
            cwd=live.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # The command looks before it runs, which the lock keeps waiting too.
        assert eventually(lambda: newest_run(live) != before, seconds=60)
        run = newest_run(live)
        assert run
        assert is_waiting(live.pair.source_url)
        assert stops_in_time(live, run)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert live.status(run) == "CANCELED"
    assert leaves_nothing(live)


def newest_run(live: Live) -> str:
    """Its id; empty where there is none yet."""
    found = live.ask("{ runsOrError(limit: 1) { ... on Runs { results { runId } } } }")
    return next((str(run["runId"]) for run in found["runsOrError"]["results"]), "")


def test_a_step_in_a_celery_worker(celery: Live) -> None:
    with locked(celery.pair.source_url, "celery.stuck"):
        run = celery.launch(["target/celery/stuck"])
        assert is_waiting(celery.pair.source_url), celery.log(run)
        assert stops_in_time(celery, run)
        assert celery.ends(run, "CANCELED"), celery.log(run)
    assert leaves_nothing(celery)
