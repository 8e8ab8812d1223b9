"""Which pages of a leaf to read: where its WAL window starts, and how pages become ranges (pure).

A run asks the source's WAL which pages were written between two positions. The window must start
before the first record of every transaction that the last run's snapshot could not see. Such a
start is found without waiting for anybody: each run reads, before its snapshot, a WAL position and
then an id that was not assigned yet. Once the snapshot's xmin has reached that id, everything the
snapshot does not see was assigned later, and so wrote its first record after that position.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

GAP = 3
"""Pages between two ranges that cost less to read than another range."""

SHARE = 0.3
"""Above this share of changed pages reading them one by one costs more than a scan."""

QUEUE = 32
"""Positions kept while a transaction stays open through many runs."""


@dataclass(frozen=True, slots=True)
class Position:
    """A WAL position in bytes, and a 64-bit id that was read after it and not assigned yet."""

    next_xid: int
    lsn: int


@dataclass(frozen=True, slots=True)
class PageRange:
    """Pages `first` up to, not including, `end`; None: to the end of the leaf."""

    first: int
    end: int | None


def safe_start(positions: Iterable[Position], xmin: int) -> int | None:
    """The last position before everything that a snapshot with this xmin could not see."""
    safe = [each.lsn for each in positions if each.next_xid <= xmin]
    return max(safe, default=None)


def advanced(positions: Sequence[Position], read: Position, xmin: int) -> tuple[Position, ...]:
    """The positions to keep after a run that read one more before a snapshot with this xmin.

    Each position alone would be right; keeping several only lets a later window start later.
    """
    start = safe_start((*positions, read), xmin)
    kept = [each for each in (*positions, read) if start is None or each.lsn >= start]
    if len(kept) > QUEUE:
        kept = [*kept[: -QUEUE // 2 : 2], *kept[-QUEUE // 2 :]]
    return tuple(kept)


def ranges_of(pages: Iterable[int], limit: int | None = None) -> tuple[PageRange, ...]:
    """Merge pages into ranges, those close to each other into one.

    `limit` is the length to which the leaf was once truncated: what was beyond it counts as changed.
    """
    chosen = sorted({page for page in pages if limit is None or page < limit})
    runs: list[PageRange] = []
    for page in chosen:
        last = runs[-1].end if runs else None
        if last is not None and page - last <= GAP:
            runs[-1] = PageRange(runs[-1].first, page + 1)
        else:
            runs.append(PageRange(page, page + 1))
    if limit is not None:
        runs.append(PageRange(limit, None))
    return tuple(runs)


def pages_in(runs: Iterable[PageRange], pages: int) -> int:
    """How many of a leaf's pages the ranges cover."""
    return sum(max((run.end or pages) - run.first, 0) for run in runs)


def too_many(runs: Sequence[PageRange], pages: int) -> bool:
    """Whether a scan of the whole leaf is the cheaper way to read these ranges."""
    return pages_in(runs, pages) > SHARE * pages


def portions(runs: Sequence[PageRange], most: int) -> Iterator[tuple[PageRange, ...]]:
    """Cut the ranges into portions of at most `most`, each to be read by one statement."""
    rest = iter(runs)
    while portion := tuple(itertools.islice(rest, most)):
        yield portion
