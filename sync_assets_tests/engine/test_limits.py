"""Bounds of what a run takes from its source: values, hours of the day, the rate (pure)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from sync_assets.engine import Hours, Limits, PauseWhile
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.limits import Throttle, throttle_of

MB = 1_000_000


@pytest.mark.parametrize(
    ("hours", "among", "outside"),
    [
        # Berlin is an hour before UTC in winter and two in summer.
        ("08:00-18:00 Europe/Berlin", ["01-15 07:00", "07-15 15:59"], ["01-15 06:59", "07-15 16:00"]),
        ("22:00-06:00 UTC", ["01-15 22:00", "01-15 23:59", "01-15 00:00", "01-15 05:59"], ["01-15 06:00"]),
        ("18:00 - 00:00 UTC", ["01-15 18:00", "01-15 23:59"], ["01-15 00:00", "01-15 17:59"]),
    ],
)  # fmt: skip
def test_hours_have_a_zone_and_may_cross_midnight(
    hours: str, among: list[str], outside: list[str]
) -> None:
    found = Hours.parse(hours)

    def have(text: str) -> bool:
        return found.have(datetime.fromisoformat(f"2026-{text}+00:00"))

    assert [text for text in among if not have(text)] == []
    assert [text for text in outside if have(text)] == []


@pytest.mark.parametrize(
    "text",
    ["", "8-18 UTC", "08:00-18:00", "08:00-24:00 UTC", "08:00-08:00 UTC", "08:00-18:00 Mars/Base"],
)
def test_hours_that_are_none_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"between is .*(such as|Let it end)"):
        Hours.parse(text)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (Limits, "max_mb_per_second", 0),
        (Limits, "max_mb_per_second", float("nan")),
        (Limits, "max_mb_per_second", True),
        (PauseWhile, "replication_lag", -1.0),
        (PauseWhile, "active_sessions", -1),
        (PauseWhile, "active_sessions", 2.5),
    ],
)
def test_a_bound_that_makes_no_sense_is_named(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name} is {value!r}\. It must be"):
        kind(**{name: value})


def test_all_who_read_are_due_one_after_another_and_a_stop_is_made_up_for_by_little() -> None:
    now = [100.0]
    throttle = Throttle(10 * MB, clock=lambda: now[0])
    assert [throttle.take(5 * MB), throttle.take(5 * MB)] == pytest.approx([100.5, 101.0])
    now[0] = 200.0
    assert throttle.take(5 * MB) == pytest.approx(200.4)


def test_the_runs_of_a_process_share_the_rate_of_their_source() -> None:
    limits = Limits(max_mb_per_second=5)
    first = throttle_of("a", limits)
    assert first is not None
    assert throttle_of("a", limits) is first
    assert throttle_of("b", limits) is not first
    assert throttle_of("a", Limits()) is None
