"""The torture, short by default; `make torture` goes on for an hour.

SYNC_TEST_TORTURE_MINUTES says how long, SYNC_TEST_STORM_SEED repeats the dice of an earlier one.
"""

from __future__ import annotations

import math
import os

import pytest

from sync_assets_tests.scenarios.storms.controls import CONTROLS
from sync_assets_tests.scenarios.storms.torture import torture

LONG = "SYNC_TEST_TORTURE_MINUTES" in os.environ
MINUTES = float(os.environ.get("SYNC_TEST_TORTURE_MINUTES", "0.3"))


@pytest.mark.timeout(300 + 90 * MINUTES)
def test_nothing_is_lost_and_nothing_is_left() -> None:
    tally = torture(MINUTES, controls=LONG)
    assert tally.losses == []
    assert tally.syncs > 0
    assert tally.faults.total() > 0
    if LONG:
        share = min(1.0, MINUTES / 60)
        assert tally.syncs >= 1000 * share
        assert tally.faults.total() >= 500 * share
        assert min(tally.caught[each.__name__] for each in CONTROLS) >= math.ceil(5 * share)
