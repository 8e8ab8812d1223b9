"""What every test gets: no configuration from outside, and the servers of `fixtures`."""

from __future__ import annotations

import os
import signal

import pytest

pytest_plugins = [
    "sync_assets_tests.fixtures.servers",
    "sync_assets_tests.fixtures.pair",
    "sync_assets_tests.fixtures.replicated",
    "sync_assets_tests.fixtures.inbox",
]

# A shell starts what runs in the background with SIGINT ignored, and children inherit that: the
# tests that interrupt a process would interrupt nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)

OURS = ("DAGSTER_", "SYNC_", "PG")
FOR_TESTS = "SYNC_TEST_"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(OURS) and not name.startswith(FOR_TESTS):
            monkeypatch.delenv(name)
