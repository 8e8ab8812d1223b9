"""A run of the command line that failed is executed again from the UI, as one of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sync_assets_tests.fixtures.live import Live
from sync_assets_tests.live.test_terminate import newest_run

pytestmark = pytest.mark.slow

AGAIN = """
mutation ($run: String!, $strategy: ReexecutionStrategy!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: $strategy}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""


def test_a_failed_run_of_the_command_line(live: Live) -> None:
    astray = f"host={live.folder} dbname=nowhere"
    command = [sys.executable, "-m", "sync_assets.cli", "run", "shop.busy"]
    environment = {**live.environment, "SYNC_TARGET_URL": astray}
    done = subprocess.run(command, env=environment, cwd=live.folder, check=False)
    assert done.returncode == 1
    failed = newest_run(live)
    assert live.ends(failed, "FAILURE")
    for strategy in ("ALL_STEPS", "FROM_FAILURE"):
        told = live.ask(AGAIN, run=failed, strategy=strategy)["launchRunReexecution"]
        assert told["__typename"] == "LaunchRunSuccess", (strategy, told)
        again = told["run"]["runId"]
        assert live.ends(again, "SUCCESS"), (strategy, live.log(again))
    assert live.pair.target("SELECT count(*) FROM shop.busy") == [(250,)]
