"""Page ranges, and which WAL position is a safe start."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from sync_assets.engine.snapshot.pages import (
    GAP,
    QUEUE,
    PageRange,
    Position,
    advanced,
    pages_in,
    portions,
    ranges_of,
    safe_start,
    too_many,
)

pages = st.sets(st.integers(min_value=0, max_value=500))
limits = st.none() | st.integers(min_value=0, max_value=500)


def covered(runs: tuple[PageRange, ...], end: int = 600) -> set[int]:
    return {page for run in runs for page in range(run.first, run.end or end)}


@given(pages, limits)
def test_ranges_cover_every_changed_page_and_at_most_the_gaps_between(
    changed: set[int], limit: int | None
) -> None:
    runs = ranges_of(changed, limit)
    truncated = set() if limit is None else set(range(limit, 600))
    assert covered(runs) >= changed | truncated
    assert len(covered(runs)) <= len(changed | truncated) + (GAP) * len(changed)
    assert list(runs) == sorted(runs, key=lambda run: run.first)
    assert all(run.end is None or run.end <= after.first for run, after in itertools.pairwise(runs))


def test_pages_far_apart_stay_apart() -> None:
    assert ranges_of([10, 11, 14, 100]) == (PageRange(10, 15), PageRange(100, 101))
    assert ranges_of([]) == ()


def test_everything_beyond_a_truncation_counts_as_changed() -> None:
    assert ranges_of([3, 17, 20], limit=18) == (
        PageRange(3, 4),
        PageRange(17, 18),
        PageRange(18, None),
    )
    assert pages_in(ranges_of([3], limit=18), 24) == 7
    assert pages_in(ranges_of([3], limit=18), 10) == 1


def test_a_scan_is_taken_above_a_share_of_the_pages() -> None:
    assert not too_many((PageRange(0, 30),), 100)
    assert too_many((PageRange(0, 31),), 100)
    assert not too_many((), 0)


@given(pages, st.integers(min_value=1, max_value=7))
def test_portions_hold_every_range_once(changed: set[int], most: int) -> None:
    runs = ranges_of(changed)
    cut = list(portions(runs, most))
    assert tuple(run for portion in cut for run in portion) == runs
    assert all(len(portion) <= most for portion in cut)


# A history: transactions get ids in order, write from their first position on, and end.
lengths = st.lists(st.integers(min_value=1, max_value=12), min_size=1, max_size=60)


@given(lengths, st.sets(st.integers(min_value=0, max_value=60), min_size=2, max_size=20))
def test_the_window_starts_before_all_that_a_snapshot_did_not_see(
    durations: list[int], runs: set[int]
) -> None:
    """At time i transaction i starts and writes at position i; it ends at i + its duration."""
    kept: tuple[Position, ...] = ()
    for now in sorted(runs):
        read = Position(next_xid=now, lsn=now)
        running = [xid for xid, lasts in enumerate(durations) if xid < now < xid + lasts]
        xmin = min(running, default=now)
        kept = advanced(kept, read, xmin)
        start = safe_start(kept, xmin)
        unseen = [*running, *range(now, len(durations))]
        if start is not None:
            assert all(start <= first for first in unseen)
        if not running:
            assert start == now


def test_a_position_read_while_an_older_transaction_was_open_is_used_once_that_has_ended() -> None:
    kept = advanced((), Position(10, 1000), xmin=10)
    kept = advanced(kept, Position(20, 2000), xmin=15)
    assert safe_start(kept, 15) == 1000
    assert safe_start(kept, 20) == 2000
    kept = advanced(kept, Position(30, 3000), xmin=25)
    assert kept == (Position(20, 2000), Position(30, 3000))


def test_there_is_no_start_while_a_transaction_is_older_than_every_position() -> None:
    assert safe_start((Position(10, 1000),), 9) is None
    assert advanced((), Position(10, 1000), xmin=9) == (Position(10, 1000),)


def test_the_queue_stays_short_behind_a_transaction_that_never_ends() -> None:
    kept: tuple[Position, ...] = ()
    for xid in range(100, 1000):
        kept = advanced(kept, Position(xid, xid), xmin=100)
    assert len(kept) <= QUEUE
    assert kept[0] == Position(100, 100)
    assert kept[-1] == Position(999, 999)
