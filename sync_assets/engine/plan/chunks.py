"""How what is to be read is cut into chunks, and how many workers they are worth (pure)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterator, Sequence

from sync_assets.engine.plan.plan import Chunk, How, KeyBuckets, LeafRead, Plan
from sync_assets.engine.postgres.relation import Leaf
from sync_assets.engine.snapshot.pages import pages_in, portions, ranges_of

SMALL_CHUNK = 1024
"""Pages of the smallest chunk: below that a round trip costs more than the read."""

LARGE_CHUNK = 8192
"""Pages of the largest chunk: 64 MB of table."""

SMALL_PORTION = 64
"""Page ranges in one statement, at least: so few are not worth another worker."""

LARGE_PORTION = 500
"""Page ranges in one statement, at most: each costs a tenth of a millisecond, and planning grows
with them."""

RANGE_PAGES = 16
"""Pages that are scanned in the time that a range takes."""

CHUNK_BYTES = 64 << 20
WORTH_A_WORKER = 16 << 20
"""Bytes: a connection with a password takes 10 ms, in which a worker scans as much."""

CHUNKS_PER_WORKER = 4

NOTED_SHARE = 64
"""Pages of the source's cache, of which one may be filled with what has changed on a large table."""

ROWS_PER_PAGE_GUESS = 50


def useful_workers(cut: Sequence[Chunk]) -> int:
    """How many connections the chunks keep busy for longer than it takes to open them."""
    return max(1, min(len(cut), useful_loaders(cut)))


def useful_loaders(cut: Sequence[Chunk]) -> int:
    """How many connections are worth opening for what the chunks hold, few as they may be."""
    return max(1, sum(map(_bytes_read, cut)) // WORTH_A_WORKER)


def _bytes_read(chunk: Chunk) -> int:
    leaf = chunk.leaf
    if leaf is None or not leaf.pages:
        return 0
    if chunk.runs:
        return pages_in(chunk.runs, leaf.pages) * leaf.bytes // leaf.pages
    first, end = chunk.first or 0, chunk.end or leaf.pages
    return (end - first) * leaf.bytes // leaf.pages


def chunks(plans: Sequence[Plan], workers: int, batch_size: int) -> Iterator[Chunk]:
    """Cut what a group of plans reads into what one COPY reads each."""
    pages = sum(leaf.pages for plan in plans for leaf in plan.view.relation.leaves)
    numbers = itertools.count()
    for member, plan in enumerate(plans):
        for chunk in _member_chunks(plan, pages, workers, batch_size):
            yield dataclasses.replace(chunk, number=next(numbers), member=member)


def _member_chunks(plan: Plan, pages: int, workers: int, batch_size: int) -> Iterator[Chunk]:
    relation = plan.view.relation
    if relation.through_parent:
        how = How.WHOLE if plan.full or plan.part else How.XID
        yield from _with_keys(plan, Chunk(0, 0, None, how))
        return
    for leaf in relation.leaves:
        if leaf.kind == "r" and relation.has_versions:
            yield from _leaf_chunks(plan, leaf, pages, workers, batch_size)
        else:
            how = next(read.how for read in plan.reads if read.leaf is leaf)
            yield from _with_keys(plan, Chunk(0, 0, leaf, how))


def _leaf_chunks(
    plan: Plan, leaf: Leaf, pages: int, workers: int, batch_size: int
) -> Iterator[Chunk]:
    reads = {read.how: read for read in plan.reads if read.leaf is leaf}
    if How.CURSOR in reads:
        yield Chunk(0, 0, leaf, How.CURSOR)
    if How.BLOCKS in reads:
        for chunk in _block_chunks(reads[How.BLOCKS], workers):
            yield from _with_keys(plan, chunk) if not plan.reads_all_keys else (chunk,)
    how = How.WHOLE if How.WHOLE in reads else How.XID
    rows = how in reads and plan.finds_rows(how)
    keys = plan.compares_keys if how in reads else plan.reads_all_keys
    notes = how is How.XID and rows and keys and plan.notes_pages
    ranges = list(page_ranges(leaf, pages, workers, batch_size))
    # New versions are mostly at the end: what takes longest begins first. A first load keeps the order.
    for first, end in reversed(ranges) if how is How.XID else ranges:
        if rows and not notes:
            yield Chunk(0, 0, leaf, how, first, end)
        if keys and not plan.keys.later:
            yield Chunk(0, 0, leaf, How.WHOLE, first, end, keys_only=True, notes=notes)


def noted_chunks(chunk: Chunk, leaf: Leaf, pages: Collection[int]) -> Iterator[Chunk]:
    """Cut what is read of rows, once it is known on which pages of a chunk any have changed."""
    rows = dataclasses.replace(chunk, how=How.XID, keys_only=False, notes=False)
    runs = ranges_of(pages)
    scanned = (chunk.end or leaf.pages) - (chunk.first or 0)
    if len(pages) > most_noted(leaf) or len(runs) * RANGE_PAGES > scanned:
        yield rows
        return
    for portion in portions(runs, LARGE_PORTION):
        yield dataclasses.replace(rows, first=None, end=None, runs=portion)


def most_noted(leaf: Leaf) -> int:
    """So many pages are read once more by themselves: few, beside what the source's cache holds."""
    return leaf.cache // NOTED_SHARE


def key_chunks(
    differing: Sequence[KeyBuckets | None], plans: Sequence[Plan], workers: int, batch_size: int
) -> Iterator[Chunk]:
    """Cut what is read of keys, once it is known in which buckets of each plan any may be gone."""
    pages = sum(leaf.pages for plan in plans for leaf in plan.view.relation.leaves)
    numbers = itertools.count()
    for member, (plan, buckets) in enumerate(zip(plans, differing, strict=True)):
        if buckets is None or not buckets.prefixes:
            continue
        whole = Chunk(0, member, None, How.WHOLE, keys_only=True, buckets=buckets)
        for leaf in plan.view.relation.leaves:
            for first, end in page_ranges(leaf, pages, workers, batch_size):
                yield dataclasses.replace(
                    whole, number=next(numbers), leaf=leaf, first=first, end=end
                )


def _block_chunks(read: LeafRead, workers: int) -> Iterator[Chunk]:
    most = max(SMALL_PORTION, math.ceil(len(read.runs) / workers))
    for portion in portions(read.runs, min(most, LARGE_PORTION)):
        yield Chunk(0, 0, read.leaf, How.BLOCKS, runs=portion)


def _with_keys(plan: Plan, chunk: Chunk) -> Iterator[Chunk]:
    yield chunk
    if plan.compares_keys and not plan.keys.later:
        yield dataclasses.replace(chunk, how=How.WHOLE, keys_only=True)


def page_ranges(
    leaf: Leaf, pages: int, workers: int, batch_size: int
) -> Iterator[tuple[int | None, int | None]]:
    """Cut a leaf into page ranges; the last is open, as the leaf may have grown.

    A large one stays whole, without a range: what its pages would displace from the source's cache
    is dearer than the second connection's help, of which loading takes most.
    """
    if leaf.is_large:
        yield None, None
        return
    size = _chunk_pages(leaf, pages, workers, batch_size)
    firsts = range(0, max(leaf.pages, 1), size)
    for first in firsts:
        yield first, first + size if first != firsts[-1] else None


def _chunk_pages(leaf: Leaf, all_pages: int, workers: int, batch_size: int) -> int:
    per_page = leaf.estimated_rows / leaf.pages if leaf.pages else 0
    batch = math.ceil(batch_size / (per_page if per_page > 0 else ROWS_PER_PAGE_GUESS))
    share = math.ceil(all_pages / (workers * CHUNKS_PER_WORKER))
    pages = max(SMALL_CHUNK, min(max(batch, share), LARGE_CHUNK))
    # Rows with large values live mostly in TOAST, which the pages do not show.
    return max(1, min(pages, CHUNK_BYTES * leaf.pages // max(leaf.bytes, 1))) if leaf.pages else 1
