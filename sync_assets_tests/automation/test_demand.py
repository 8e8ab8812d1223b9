"""When the sensor asks: at once for what is new, later and later for what fails."""

import pytest

from sync_assets.automation.demand import (
    LONGEST_WAIT,
    SUSPECT_SECONDS,
    Asked,
    Candidate,
    Success,
    asked_again,
    is_due,
    open_demand,
)

NOW = 1_000_000.0


def table(marker: str = "b", *, at: float = NOW, **options: object) -> dict[str, Candidate]:
    """A table whose last success had marker a."""
    return {"t": Candidate(marker, Success(7, "a", at), **options)}  # type: ignore[arg-type]


def due(candidates: dict[str, Candidate], demand: Asked | None = None) -> bool:
    return is_due(candidates, demand, 60, NOW)


def test_what_was_never_synced_or_has_changed_is_due() -> None:
    assert due({"t": Candidate("a", None)})
    assert due(table("b"))
    assert not due(table("a"))


def test_one_member_of_a_group_is_enough() -> None:
    assert due({**table("a"), "u": Candidate("x", Success(8, "y", NOW))})


@pytest.mark.parametrize(("times", "wait"), [(1, 120), (2, 240), (5, 1920), (9999, LONGEST_WAIT)])
def test_the_wait_doubles_up_to_an_hour(times: int, wait: float) -> None:
    assert not due(table(), Asked(times, NOW - wait + 1, 7))
    assert due(table(), Asked(times, NOW - wait, 7))


def test_a_success_answers_a_demand_and_nothing_else_does() -> None:
    first = asked_again(table(), None, NOW)
    assert first == Asked(1, NOW, 7)
    assert open_demand(table("c"), first) == first, "the source changed again: still waiting"
    assert asked_again(table(), first, NOW + 200) == Asked(2, NOW + 200, 7)
    assert open_demand({"t": Candidate("c", Success(8, "b", NOW))}, first) is None


def test_a_suspicion_waits_for_the_last_sync_to_grow_old() -> None:
    assert not due(table(suspected=True))
    assert due(table(suspected=True, at=NOW - SUSPECT_SECONDS))


def test_half_of_its_freshness_is_as_long_as_a_table_waits() -> None:
    assert not due(table("a", freshness=600.0, at=NOW - 299))
    assert due(table("a", freshness=600.0, at=NOW - 300))
