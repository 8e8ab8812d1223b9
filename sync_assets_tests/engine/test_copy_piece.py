"""What a scan of a piece has missed, told by its first row and by whether it came past the piece."""

from __future__ import annotations

import itertools

import pytest

from sync_assets.engine.export.copy_piece import missed_until

PAGES = 7


def scanned(
    pages: list[int], earliest: int, first: int, end: int
) -> tuple[list[int], int | None, bool]:
    """What the statement sends of a table that has a row on each of these pages, in a scan's order.

    And what it tells: the page of its first row, and whether it left.
    """
    sent: list[int] = []
    beside = 0
    left = False
    for place, page in enumerate(pages):
        beside += not earliest <= page < end
        if beside == 2:
            break
        left = left or (beside == 1 and place > 0)
        if beside == 0 and page >= first:
            sent.append(page)
    return sent, next(iter(pages), None), left


@pytest.mark.parametrize("earlier", [0, 1, 3, PAGES])
def test_each_row_of_a_piece_is_read_once_wherever_the_scan_begins(
    earlier: int,
) -> None:
    there = itertools.product((False, True), repeat=PAGES)
    ranges = list(itertools.combinations(range(PAGES + 1), 2))
    for has_row, start, (first, end) in itertools.product(there, range(PAGES), ranges):
        rows = [page for page in range(PAGES) if has_row[page]]
        in_order = [page for page in rows if page >= start] + [
            page for page in rows if page < start
        ]
        earliest = max(0, first - earlier)
        sent, began, left = scanned(in_order, earliest, first, end)
        missed = missed_until(first, end, earliest, began, left=left)
        by_pages = [page for page in rows if first <= page < missed]
        wanted = [page for page in rows if first <= page < end]
        assert sorted(sent + by_pages) == wanted, (rows, start, first, end)
