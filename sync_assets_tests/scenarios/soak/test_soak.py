"""A month in an hour, or in this short form in a minute; `make soak HOURS=…` goes on for longer.

SYNC_TEST_SOAK_HOURS says how long, SYNC_TEST_SOAK_SEED repeats the order of an earlier one,
SYNC_TEST_SOAK_KINDS names kinds of events, and SYNC_TEST_SOAK_REPORT where the report goes.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sync_assets_tests.scenarios.soak.soak import soak

HOURS = float(os.environ.get("SYNC_TEST_SOAK_HOURS", "0"))
SEED = os.environ.get("SYNC_TEST_SOAK_SEED") or str(int(time.time()))
SHORT = ("source restarted", "a table added")
KINDS = os.environ.get("SYNC_TEST_SOAK_KINDS")
REPORT = os.environ.get("SYNC_TEST_SOAK_REPORT")


@pytest.mark.slow
@pytest.mark.timeout(1800 + 3600 * HOURS)
def test_after_each_event_all_is_in_step_told_once_and_nothing_is_left() -> None:
    chosen = KINDS.split(",") if KINDS else None if HOURS else SHORT
    report = soak(3600 * HOURS or 600, SEED, Path(REPORT) if REPORT else None, chosen)
    assert report.wrong == []
    assert report.events
