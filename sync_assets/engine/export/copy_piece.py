"""Read a piece of a first load, of a large table through the small ring of buffers that a scan has.

PostgreSQL keeps to such a ring in sequential scans alone, and no condition makes one begin or end at a
page. But it begins where the last scan of that table has come to, for both to share what they read
(`synchronize_seqscans`), and a scan can be ended where a piece does. So each piece begins where the
one before has ended. Whether it did is told by its first row: what it missed is read by its pages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from sync_assets.engine.export.batches import Batch, BatchFile
from sync_assets.engine.export.copy_chunk import copy_chunk
from sync_assets.engine.export.copy_statements import BEGAN, LEFT
from sync_assets.engine.plan.plan import Chunk, Plan
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.relation import Leaf
from sync_assets.engine.postgres.session import SCANNED, Connection, row

ENDING_VERSION = 150000
"""From this release on a window's count can end the scan below it."""

EARLIER = 128
"""How many pages before a piece its scan may begin in any case: places are remembered in steps of 16."""

PASSED_BY = 4
"""Over how many pieces of its size a scan comes to one that lies further on, rather than give up."""

_SETTINGS = (
    *SCANNED,
    "SET LOCAL enable_seqscan = on",
    "SET LOCAL synchronize_seqscans = on",
    # Its workers would divide the table, and jump about in it.
    "SET LOCAL max_parallel_workers_per_gather = 0",
    f"SELECT pg_catalog.set_config('{BEGAN}', '', true), pg_catalog.set_config('{LEFT}', '', true)",
)
_TOLD = f"SELECT pg_catalog.current_setting('{BEGAN}'), pg_catalog.current_setting('{LEFT}')"


def is_scanned(source: Connection, leaf: Leaf) -> bool:
    """Whether pieces of a leaf are read by sequential scans, of which only one at a time makes sense."""
    return leaf.is_large and source.server_version >= ENDING_VERSION


def copy_piece(  # noqa: PLR0913 - as of copy_chunk, and where the last one was
    sessions: Sessions,
    connection: Connection,
    plan: Plan,
    chunk: Chunk,
    opening: Callable[[str], BatchFile],
    complete: Callable[[Batch], None],
    *,
    last: int | None,
) -> int | None:
    """Read the pages of a chunk, as `copy_chunk` does, through the ring if its leaf has one.

    `last` is the page at which the last scan of that leaf was; returns that of this one. None: unknown.
    """
    first, end = chunk.first or 0, chunk.end or 0
    if chunk.leaf is None or not is_scanned(connection, chunk.leaf):
        copy_chunk(sessions, connection, plan, chunk, opening, complete)
        return None
    earliest = max(0, first - EARLIER)
    if last is not None and 0 <= first - last <= PASSED_BY * (end - first):
        earliest = min(earliest, last)
    with connection.cursor() as cursor:
        cursor.execute("; ".join(_SETTINGS))
        scanned = dataclasses.replace(chunk, scanned_from=earliest)
        copy_chunk(sessions, connection, plan, scanned, opening, complete)
        began, left = (_page(place) for place in row(cursor, _TOLD))
    missed = missed_until(first, end, earliest, began, left=left is not None)
    if missed > first:
        rest = dataclasses.replace(chunk, end=missed)
        copy_chunk(sessions, connection, plan, rest, opening, complete)
    return left if left is not None else began


def missed_until(first: int, end: int, earliest: int, began: int | None, *, left: bool) -> int:
    """Before which page, from `first` on, a scan of the pages before `end` has sent nothing.

    `began` is the page of the first row that it saw, None if it saw none; where that lies before
    `earliest`, or not before `end`, it sent nothing. `left` says whether it came to such rows later; if
    not, it went round the whole table.
    """
    if began is None:
        return first
    if not earliest <= began < end:
        return end
    return max(first, began) if left else first


def _page(place: str) -> int | None:
    """The page of a ctid, `(page,line)`."""
    return int(place[1 : place.index(",")]) if place else None
