"""Read a piece of a first load, of a large table through the small ring of buffers that a scan has.

PostgreSQL keeps to such a ring in sequential scans alone, and no condition makes one begin or end at a
page. But it begins where the last scan of that table has come to, for both to share what they read
(`synchronize_seqscans`), and LIMIT ends it after so many rows. So each piece begins about where the one
before has ended. Where it was is told by its first row and by its last: what it missed is read by its
pages, and if it has not come from one end of the piece to the other, so is all of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from sync_assets.engine.export.copy_statements import BEGAN, CAME_TO
from sync_assets.engine.plan.plan import Chunk, Scan
from sync_assets.engine.postgres.relation import Leaf
from sync_assets.engine.postgres.session import SCANNED, Connection, row

SMALLEST = 1024
"""Pages of a piece that is worth a scan: of smaller ones it would read ahead too much."""

SEEN_BY = 4
"""That part of a piece, at either end, in which a scan tells where it was."""

SHORT_OF = 32
"""That part of a piece before its end a scan is to stop, for the next one not to begin too late."""

MORE = 1.5
"""Times as many rows are taken for those of a page, after a scan that did not come far enough."""

PASSED_BY = 4
"""Over how many pieces of its size a scan comes to one that lies further on, rather than give up."""

TRIES = 3
"""So many scans that go astray, one after the other, are the last ones: somebody else scans as well."""

_SETTINGS = (
    *SCANNED,
    "SET LOCAL enable_seqscan = on",
    "SET LOCAL synchronize_seqscans = on",
    # Its workers would divide the table, and jump about in it.
    "SET LOCAL max_parallel_workers_per_gather = 0",
    f"SELECT pg_catalog.set_config('{BEGAN}', '', true), pg_catalog.set_config('{CAME_TO}', '', true)",
)
_TOLD = f"SELECT pg_catalog.current_setting('{BEGAN}'), pg_catalog.current_setting('{CAME_TO}')"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the last scan of a leaf, by its oid, has come to; how many `rows` a page had.

    `ahead` is by how many pages a scan of that server begins after where the last one came to;
    `astray` is how many scans, one after the other, have told nothing.
    """

    leaf: int
    page: int
    rows: float
    ahead: int = 0
    astray: int = 0


def is_scanned(leaf: Leaf) -> bool:
    """Whether pieces of a leaf are read by sequential scans, of which only one at a time makes sense."""
    return leaf.is_large and leaf.estimated_rows > 0


def copy_piece(
    connection: Connection,
    chunk: Chunk,
    copy: Callable[[Chunk], None],
    *,
    forget: Callable[[], None],
    last: Place | None,
) -> Place | None:
    """Have the pages of a chunk read by `copy`, through the ring if its leaf has one.

    `forget` is called where nothing is to be kept of what was read so far. `last` is where the last
    scan was, if any; returns where this one is.
    """
    leaf, first, end = chunk.leaf, chunk.first, chunk.end
    if leaf is None or first is None or end is None or not is_scanned(leaf):
        copy(chunk)
        return None
    # A load that goes on does so where an earlier run was killed.
    last = last or Place(leaf.oid, first, leaf.estimated_rows / leaf.pages)
    scan = _scan(first, end, last, is_last=end >= leaf.pages)
    if scan is None:
        copy(chunk)
        return last
    with connection.cursor() as cursor:
        cursor.execute("; ".join(_SETTINGS))
        copy(dataclasses.replace(chunk, scan=scan))
        began, came_to = row(cursor, _TOLD)
    rest = missed(chunk, began, came_to)
    if rest is None:
        forget()
        copy(chunk)
        at = _page(came_to or began) if came_to or began else scan.comes_past
        rows = last.rows * (MORE if began else 1)
        return Place(leaf.oid, at, rows, astray=last.astray + 1)
    for part in rest:
        copy(part)
    begun, at = _page(began), _page(came_to)
    ahead = max(0, begun - last.page)
    # After the last page a scan goes on with the first.
    onwards = 0 if end >= leaf.pages else at
    return Place(leaf.oid, onwards, scan.rows / (at - begun or 1), ahead)


def _scan(first: int, end: int, last: Place, *, is_last: bool) -> Scan | None:
    """A scan over the pages from `first` to before `end`; None where it is not worth one."""
    size = end - first
    told = size // SEEN_BY
    if size < SMALLEST or last.astray == TRIES:
        return None
    if not -told <= first - last.page <= PASSED_BY * size:
        return None
    stop = end + 1 if is_last else end - size // SHORT_OF
    pages = stop - last.page - last.ahead
    return Scan(max(1, round(pages * last.rows)), first + told, end - told)


def missed(chunk: Chunk, began: str, came_to: str) -> tuple[Chunk, ...] | None:
    """What a scan of a chunk has not sent: what lies before its begin, and after where it came to.

    None where it may have been anywhere: it tells its first row, a ctid, only if that lay early enough, and
    the last one only of those that lie far enough; nothing is an empty text.
    """
    first, end = chunk.first, chunk.end
    if first is None or end is None or not (began and came_to):
        return None
    parts = []
    if _page(began) > first:
        parts.append(dataclasses.replace(chunk, end=_page(began)))
    if _page(came_to) < end:
        parts.append(dataclasses.replace(chunk, first=None, after=came_to))
    return tuple(parts)


def _page(place: str) -> int:
    """The page of a ctid, `(page,line)`."""
    return int(place[1 : place.index(",")])
