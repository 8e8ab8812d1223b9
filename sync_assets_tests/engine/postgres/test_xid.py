"""The window of transaction ids, on a ring of 2^32."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sync_assets.engine.postgres.xid import FIRST, RING, YOUNG, XidWindow, widened

ids = st.integers(min_value=3, max_value=3 * RING)
lengths = st.one_of(
    st.integers(min_value=0, max_value=100), st.integers(min_value=0, max_value=RING - 1)
)


def plain(expression: str) -> str:
    """The expression without the schemas of PostgreSQL's own operators and types."""
    return re.sub(r"OPERATOR\(pg_catalog\.(\S+)\)", r"\1", expression).replace(
        "::pg_catalog.", "::"
    )


def holds(predicate: str, raw: int) -> bool:
    """What PostgreSQL would make of the predicate for a row with this raw xid."""
    python = plain(predicate).replace("xmin::text::bigint", str(raw)).lower()
    return bool(eval(python, {"true": True, "false": False}))


@given(ids, lengths, st.integers(min_value=0, max_value=RING))
def test_every_id_in_the_window_satisfies_the_predicate(start: int, length: int, step: int) -> None:
    window = XidWindow(start, start + length)
    inside = start + min(step, max(length - 1, 0))
    assert holds(window.predicate(), inside % RING) is (length > 0)


@given(ids, lengths, st.integers(min_value=0, max_value=RING - 1))
def test_the_predicate_says_no_more_than_the_window_on_the_ring(
    start: int, length: int, raw: int
) -> None:
    window = XidWindow(start, start + length)
    assert holds(window.predicate(), raw) is ((raw - start) % RING < length)


def test_a_window_of_the_whole_ring_tells_nothing_apart() -> None:
    assert XidWindow(5, 5 + RING).covers_ring
    assert XidWindow(5, 5 + RING).predicate() == "true"
    assert not XidWindow(5, 4 + RING).covers_ring


def test_a_window_across_the_wrap_has_two_branches() -> None:
    assert plain(XidWindow(RING - 2, RING + 5).predicate()) == (
        f"(xmin::text::bigint >= {RING - 2} OR xmin::text::bigint < 5)"
    )


def aged(now: int, raw: int) -> int:
    """PostgreSQL's age() of a raw xid, for a session whose next one is `now`."""
    if raw < FIRST:
        return (1 << 31) - 1
    age = (now - raw) % RING
    return age - RING if age >= 1 << 31 else age


def with_ages(expression: str, now: int, raw: int) -> str:
    ages = re.sub(r"pg_catalog\.age\(xmin\)", str(aged(now, raw)), plain(expression))
    return re.sub(
        r"pg_catalog\.age\('(\d+)'::xid\)", lambda found: str(aged(now, int(found[1]))), ages
    )


def holds_by_age(predicate: str, now: int, raw: int) -> bool:
    return holds(with_ages(predicate, now, raw), raw)


@given(
    ids,
    st.integers(min_value=0, max_value=RING - 1),
    st.integers(min_value=0, max_value=RING // 2 - 2),
)
def test_a_row_s_64_bit_id_is_the_newest_that_was_given_out_with_its_bits(
    end: int, distance: int, later: int
) -> None:
    true_id = end - 1 - distance
    assume(true_id >= 0 and true_id % RING >= FIRST and end > FIRST)
    assume(distance + later + 1 < RING)
    found = re.fullmatch(
        r"\(CASE WHEN xmin = '2'::xid THEN 2 ELSE (.*) END\)",
        with_ages(widened(end), end + later, true_id % RING),
    )
    assert found
    assert eval(found[1].replace("::bigint", "")) == true_id


@given(
    ids,
    st.integers(min_value=0, max_value=YOUNG + 5),
    st.integers(min_value=0, max_value=YOUNG),
    st.integers(min_value=0, max_value=RING),
)
def test_ages_tell_the_same_rows_apart(start: int, length: int, later: int, step: int) -> None:
    window = XidWindow(start, start + length)
    now = window.end + later % (RING // 2 - YOUNG)
    for raw in ((start + step) % RING, window.end % RING, (start - 1) % RING, now % RING):
        if raw >= FIRST:
            told = holds_by_age(window.quick_predicate(), now, raw)
            assert told is holds(window.predicate(), raw)


@given(ids, st.integers(min_value=1, max_value=YOUNG), st.integers(min_value=0, max_value=RING))
def test_where_ages_have_wrapped_no_row_of_the_window_is_left_out(
    start: int, length: int, step: int
) -> None:
    window = XidWindow(start, start + length)
    inside = (start + step % length) % RING
    now = start + RING // 2 + step % (RING // 4)
    if inside >= FIRST:
        assert holds_by_age(window.quick_predicate(), now, inside)


def test_a_long_window_is_told_without_ages() -> None:
    assert "age" not in XidWindow(5, 6 + YOUNG).quick_predicate()
    assert "age" in XidWindow(5, 5 + YOUNG).quick_predicate()


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="not a window"):
        XidWindow(6, 5)
