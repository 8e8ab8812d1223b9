"""What grows with time is found, and a process that was started anew is not taken for one that grew."""

from __future__ import annotations

from sync_assets_tests.scenarios.soak.growth import AT_LEAST, HOUR, Sample, grown_too_fast

HOME, DAEMON = "MB of the home", "MB of memory of the daemon"


def samples(name: str, *sizes: float, births: tuple[float, ...] = ()) -> list[Sample]:
    """One sample every ten minutes; `births` say when the daemon of each began."""
    return [
        Sample(600.0 * number, {name: size}, {"daemon": births[number] if births else 0.0})
        for number, size in enumerate(sizes)
    ]


def test_what_stays_as_it_is_has_not_grown() -> None:
    assert grown_too_fast(samples(HOME, 10, 90, 91, 89, 90, 91)) == []


def test_what_grows_faster_than_it_may_is_named() -> None:
    (said,) = grown_too_fast(samples(HOME, 0, 0, 20, 40, 60))
    assert said.startswith(f"{HOME}: 120.0 an hour")


def test_a_process_that_was_started_anew_is_another_one() -> None:
    assert grown_too_fast(samples(DAEMON, 9, 9, 9, 9, 9, 200, births=(0, 0, 0, 0, 0, 3000))) == []


def test_of_a_short_time_nothing_can_be_said() -> None:
    assert AT_LEAST < HOUR
    assert grown_too_fast(samples(HOME, 0, 500)) == []
