"""What a scan of a piece has missed, told by its first row and by its last."""

from __future__ import annotations

import random

from sync_assets.engine.export.copy_piece import missed
from sync_assets.engine.plan.plan import Chunk, How, Scan

PAGES = 8
CASES = 60_000

Row = tuple[int, int]
"""A page and a line of it."""


def scanned(rows: list[Row], chunk: Chunk, scan: Scan) -> tuple[list[Row], str, str]:
    """What the statement sends of rows in a scan's order, and the ctids that it tells."""
    sent: list[Row] = []
    began = came_to = ""
    for page, line in rows[: scan.rows]:
        wanted = True
        if page < scan.begins_before:
            wanted = not came_to
            began = began or (f"({page},{line})" if wanted else "")
        elif page >= scan.comes_past:
            came_to = f"({page},{line})"
        if wanted and chunk.first <= page < chunk.end:  # type: ignore[operator]
            sent.append((page, line))
    return sent, began, came_to


def by_pages(rows: list[Row], chunk: Chunk) -> list[Row]:
    after = chunk.after or "(-1,0)"
    page, line = map(int, after.strip("()").split(","))
    first, end = chunk.first or 0, chunk.end or 0
    return [row for row in rows if first <= row[0] < end and row > (page, line)]


def test_each_row_of_a_piece_is_read_once_wherever_the_scan_begins_and_ends() -> None:
    dice = random.Random(1)
    proven = 0
    for _ in range(CASES):
        rows = [(page, line) for page in range(PAGES) for line in range(dice.choice((0, 0, 1, 2)))]
        first, end = sorted(dice.sample(range(PAGES + 2), 2))
        told = dice.randint(0, (end - first) // 2)
        scan = Scan(dice.randint(1, 2 * PAGES), first + told, end - told)
        start = dice.randrange(PAGES)
        in_order = [row for row in rows if row[0] >= start] + [
            row for row in rows if row[0] < start
        ]
        chunk = Chunk(0, 0, None, How.OLDER, first, end)
        sent, began, came_to = scanned(in_order, chunk, scan)
        rest = missed(chunk, began, came_to)
        proven += rest is not None
        if rest is None:
            sent, rest = [], (chunk,)
        found = sent + [row for part in rest for row in by_pages(rows, part)]
        assert sorted(found) == by_pages(rows, chunk), (rows, start, chunk, scan)
    assert proven > CASES / 10
