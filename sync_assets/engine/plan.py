"""What a run will read, and why: decided from state, snapshot and shapes (pure)."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sync_assets.engine.batch_format import UTF8
from sync_assets.engine.blocks import PageRun, Position, pages_in, portions, runs_of
from sync_assets.engine.catalog import Leaf, Relation
from sync_assets.engine.cursor_range import CursorRange
from sync_assets.engine.identity import is_behind, is_other_source, require_same_source
from sync_assets.engine.schema import Layout
from sync_assets.engine.shape import places
from sync_assets.engine.snapshot import SourceView
from sync_assets.engine.state import Known, KnownLeaf
from sync_assets.engine.table import Deletes, LateCommits, SyncMode, Table
from sync_assets.engine.xid import XidWindow

SMALL_CHUNK, LARGE_CHUNK = 1024, 8192
"""Pages. Below the first a round trip costs more than the read; the second is 64 MB of table."""

SMALL_PORTION, LARGE_PORTION = 64, 500
"""Page ranges in one statement: each costs a tenth of a millisecond, and planning grows with them."""

RANGE_PAGES = 16
"""Pages that are scanned in the time that a range takes."""

CHUNK_BYTES = 64 << 20
WORTH_A_WORKER = 16 << 20
"""Bytes: a connection with a password takes 10 ms, in which a worker scans as much."""

CHUNKS_PER_WORKER = 4

NOTED_SHARE = 64
"""Pages of the source's cache, of which one may be filled with what has changed on a large table."""

ROWS_PER_PAGE_GUESS = 50
REASONS = 3
"""How many leaves a receipt's reason names."""


class How(str, enum.Enum):
    """How a leaf is read: every row, rows by their xid (in changed pages alone), or by cursor."""

    WHOLE = "full"
    BLOCKS = "blocks"
    XID = "scan"
    CURSOR = "cursor"


class Removal(str, enum.Enum):
    """What is done to target rows that the source no longer has."""

    NONE = "none"
    DELETE = "delete"
    MARK = "mark"


class KeyMap(str, enum.Enum):
    """What becomes of the target's map from source pages to keys (`page_map`)."""

    NONE = "none"
    BUILD = "build"
    USE = "use"


@dataclass(frozen=True, slots=True)
class KeyBuckets:
    """Where keys may be gone: what the hash of their text begins with (`key_buckets`).

    `rows` are those of the source in scope, of which only the keys in these buckets are listed.
    """

    prefixes: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class LeafRead:
    """One leaf and how it is read. A leaf may be read both by xid and by cursor.

    `runs` are the changed pages of one that is read by them.
    """

    leaf: Leaf
    how: How
    reason: str
    runs: tuple[PageRun, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one COPY reads: pages `first` up to, not including, `end` of a leaf; None: to its end.

    Without `first` the whole leaf is read, or only `runs` of its pages, and without a leaf the
    whole relation. `member` is the plan's place in its group. `notes` says that keys come with the
    page of each changed row, and that the rows of those pages are read thereafter.
    """

    number: int
    member: int
    leaf: Leaf | None
    how: How
    first: int | None = None
    end: int | None = None
    keys_only: bool = False
    runs: tuple[PageRun, ...] = ()
    notes: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, decided. `full` says that every row of the source is read.

    `binary` says that rows travel as binary COPY data, and not as CSV; `encoding`, what their text
    is written in on the way.
    `position` is where a later run's WAL window may start. `key_map` is what becomes of the map of
    keys by page, which was there before if `mapped`; `gone_leaves` are the oids of leaves that were
    there at the last run. `keys_later` says that keys are read after the rows, those of `key_buckets`.
    """

    table: Table
    view: SourceView
    layout: Layout
    window: XidWindow
    reads: tuple[LeafRead, ...]
    full: bool
    reason: str
    fingerprint: str
    cursor: CursorRange | None = None
    events: tuple[str, ...] = ()
    position: Position | None = None
    key_map: KeyMap = KeyMap.NONE
    mapped: bool = False
    gone_leaves: tuple[int, ...] = ()
    binary: bool = False
    encoding: str = UTF8
    keys_later: bool = False
    key_buckets: KeyBuckets | None = None

    def sends_binary(self, *, keys_only: bool) -> bool:
        """Whether a batch of its rows, or of their keys alone, is binary COPY data."""
        return self.binary and not keys_only

    def finds_rows(self, how: How) -> bool:
        """Whether a leaf that is read so can have any: by xid only if a transaction has ended since."""
        return how is not How.XID or not self.window.is_empty

    @property
    def removal(self) -> Removal:
        """What becomes of target rows that the source no longer has."""
        return Removal.NONE if self.layout.creates else self.removes_later

    @property
    def removes_later(self) -> Removal:
        """What becomes of such rows once there is a target that may have some."""
        if self.table.mode is not SyncMode.FULL_SYNC and self.table.deletes is Deletes.IGNORE:
            return Removal.NONE
        return Removal.MARK if self.table.deletes is Deletes.SOFT else Removal.DELETE

    @property
    def compares_keys(self) -> bool:
        """Whether keys are read besides the changed rows, to find what is gone."""
        return self.removal is not Removal.NONE and not self.full

    @property
    def reads_all_keys(self) -> bool:
        """Whether those are all keys of the source, not only those of its changed pages."""
        return self.compares_keys and self.key_map is not KeyMap.USE

    @property
    def notes_pages(self) -> bool:
        """Whether one pass over a leaf finds all keys, and the pages that changed rows are on."""
        alone = self.reads_all_keys and not self.keys_later and self.key_map is KeyMap.NONE
        by_xid = any(read.how is How.XID for read in self.reads) and self.finds_rows(How.XID)
        return alone and by_xid and not self.view.relation.through_parent

    @property
    def changed_pages(self) -> int | None:
        """How many pages are read because the WAL names them; None where it was not asked."""
        counts = [
            pages_in(read.runs, read.leaf.pages) for read in self.reads if read.how is How.BLOCKS
        ]
        return sum(counts) if counts else None

    @property
    def flags_scope(self) -> bool:
        """Whether rows that fail the filter travel too, as their key alone.

        Nobody else would notice that a row has left the scope.
        """
        return self.table.where is not None and not self.full and not self.compares_keys

    @property
    def loads(self) -> bool:
        """Whether the rows go to the target: a dry run makes no table for them."""
        return not (self.table.dry_run and self.layout.creates)

    @property
    def exact(self) -> bool:
        """Whether the run misses no committed row, whatever the cursor says.

        Another server has a snapshot of its own, which nothing proves to be whole.
        """
        reach, leaves = self.view.reach, self.view.relation.leaves
        remote = any(leaf.kind == "f" for leaf in leaves) or (reach is not None and reach.remote)
        return not remote and (self.full or self.cursor is None or self.reads_by_xid)

    @property
    def reads_by_xid(self) -> bool:
        """Whether every leaf that is not read whole is read by xid."""
        by_xid = {read.leaf.oid for read in self.reads if read.how is not How.CURSOR}
        return self.view.relation.has_versions and by_xid >= {
            leaf.oid for leaf in self.view.relation.leaves
        }

    @property
    def whole(self) -> tuple[int, ...]:
        """The leaves that are read whole, by oid."""
        return tuple(read.leaf.oid for read in self.reads if read.how is How.WHOLE)


def make_plan(
    table: Table,
    view: SourceView,
    layout: Layout,
    known: Known | None,
    target: Relation | None,
    cursor: CursorRange | None = None,
    suspicion: str | None = None,
) -> Plan:
    """Decide; raises SourceIdentityChanged or SourceBehind where going on would lose rows.

    `suspicion` is a reason from outside to read everything.
    """
    fingerprint = configuration(table, layout)
    why = _why_all(table, view, layout, known, target, fingerprint, cursor) or suspicion
    start = known.watermark if known and not why else 0
    window = XidWindow(start, view.snapshot.xmax)
    if not why and window.covers_ring:
        why = "full pass: the last run is 2^32 or more transactions ago"
    reads = tuple(
        read
        for leaf in view.relation.leaves
        for read in _leaf_reads(
            table, leaf, why or layout.full_leaves.get(leaf.oid), known, view, cursor
        )
    )
    return Plan(
        table,
        view,
        layout,
        window,
        reads,
        bool(why) or all(read.how is How.WHOLE for read in reads),
        why or _reason(reads, start, cursor),
        fingerprint,
        cursor,
        _events(known, view.relation),
    )


def configuration(table: Table, layout: Layout) -> str:
    """Changes whenever what this table selects from the source changes."""
    scope = (table.columns, table.exclude, table.expressions, table.where, table.only)
    text = repr((str(table.source), layout.key_columns, scope, table.xmin_column))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _why_all(
    table: Table,
    view: SourceView,
    layout: Layout,
    known: Known | None,
    target: Relation | None,
    fingerprint: str,
    cursor: CursorRange | None,
) -> str | None:
    """The reason to read every row, or None where the last run's mark can be trusted."""
    if known is not None and not table.accept_source:
        require_same_source(known, view.snapshot)
    if layout.creates:
        return "first load: the target does not exist"
    if known is None or target is None:
        return "full pass: the first run over a target that was there before"
    other = is_other_source(known, view.snapshot) or is_behind(known, view.snapshot)
    unmarked = not view.relation.has_versions and cursor is not None and cursor.since is None
    reasons = {
        "full pass: another source was accepted": table.accept_source and other,
        "full pass: asked for": table.full_refresh,
        "full_sync reads every row": table.mode is SyncMode.FULL_SYNC,
        f"full pass: {layout.full}": layout.full is not None,
        "full pass: the cursor has no mark yet": unmarked,
    }
    reason = next((text for text, holds in reasons.items() if holds), None)
    return reason or _why_mark_is_void(table, view, known, target, fingerprint)


def _why_mark_is_void(
    table: Table, view: SourceView, known: Known, target: Relation, fingerprint: str
) -> str | None:
    now = view.snapshot.identity
    if now.system_identifier is None and not table.trust_source_identity:
        return "full pass: the source role may not call pg_control_system()"
    changed = {
        "the source's identity": (
            (known.system_identifier, known.database),
            (now.system_identifier, now.database),
        ),
        "the source's timeline": (known.timeline, now.timeline),
        "the configuration of the table": (known.configuration, fingerprint),
        "the target table itself": (known.target_storage, target.storage),
    }
    what = [name for name, (before, after) in changed.items() if before != after]
    return f"full pass: {' and '.join(what)} changed" if what else None


def known_leaf(leaf: Leaf) -> KnownLeaf:
    """What the state keeps of a leaf."""
    return KnownLeaf(leaf.oid, leaf.filenode, leaf.tablespace, places(leaf))


def _leaf_reads(
    table: Table,
    leaf: Leaf,
    why: str | None,
    known: Known | None,
    view: SourceView,
    cursor: CursorRange | None,
) -> Iterator[LeafRead]:
    reason = why or _why_whole(leaf, known, view)
    by_cursor = cursor is not None and cursor.since is not None
    if reason is not None:
        yield LeafRead(leaf, How.WHOLE, reason)
        return
    trusts_cursor = by_cursor and table.late_commits is LateCommits.LOOKBACK
    if view.relation.has_versions and (not trusts_cursor or view.relation.through_parent):
        yield LeafRead(leaf, How.XID, "rows by their xid")
    if by_cursor and not view.relation.through_parent:
        yield LeafRead(leaf, How.CURSOR, "rows by their cursor")


def _why_whole(leaf: Leaf, known: Known | None, view: SourceView) -> str | None:
    """The reason to read one leaf whole, or None."""
    before = known.leaves if known else ()
    same = next((each for each in before if each.oid == leaf.oid), None)
    if known is None or same is None:
        return f"{leaf.name} is new"
    if leaf.unlogged and known.postmaster_start != view.snapshot.postmaster_start:
        return f"{leaf.name} is unlogged and the source has restarted"
    if leaf.kind == "f" and view.relation.kind == "p":
        return f"{leaf.name} is a foreign table"
    return None


def _events(known: Known | None, relation: Relation) -> tuple[str, ...]:
    """What happened to the leaves since the last run that may have taken rows along."""
    if known is None:
        return ()
    now = {leaf.oid: leaf for leaf in relation.leaves}
    gone = sum(before.oid not in now for before in known.leaves)
    rewritten = [
        f"{now[before.oid].name} was truncated or rewritten"
        for before in known.leaves
        if before.oid in now and now[before.oid].filenode != before.filenode
    ]
    plural = "s are" if gone > 1 else " is"
    return (*([f"{gone} partition{plural} gone"] if gone else ()), *rewritten)


def _reason(reads: Sequence[LeafRead], start: int, cursor: CursorRange | None) -> str:
    whole = [read.reason for read in reads if read.how is How.WHOLE]
    more = ", …" if len(whole) > REASONS else ""
    also = f"; whole: {', '.join(whole[:REASONS])}{more}" if whole else ""
    parts = [f"changes since transaction {start}"] * any(r.how is How.XID for r in reads)
    if cursor is not None and any(read.how is How.CURSOR for read in reads):
        parts.append(f"{cursor.column} from {cursor.since}")
    return f"{' and '.join(parts)}{also}".removeprefix("; ")


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
        how = How.WHOLE if plan.full else How.XID
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
        if keys and not plan.keys_later:
            yield Chunk(0, 0, leaf, How.WHOLE, first, end, keys_only=True, notes=notes)


def noted_chunks(chunk: Chunk, leaf: Leaf, pages: Collection[int]) -> Iterator[Chunk]:
    """Cut what is read of rows, once it is known on which pages of a chunk any have changed."""
    rows = dataclasses.replace(chunk, how=How.XID, keys_only=False, notes=False)
    runs = runs_of(pages)
    scanned = (chunk.end or leaf.pages) - (chunk.first or 0)
    if len(pages) > most_noted(leaf) or len(runs) * RANGE_PAGES > scanned:
        yield rows
        return
    for portion in portions(runs, LARGE_PORTION):
        yield dataclasses.replace(rows, first=None, end=None, runs=portion)


def most_noted(leaf: Leaf) -> int:
    """So many pages are read once more by themselves: few, beside what the source's cache holds."""
    return leaf.cache // NOTED_SHARE


def key_chunks(plans: Sequence[Plan], workers: int, batch_size: int) -> Iterator[Chunk]:
    """Cut what is read of keys, once it is known in which buckets any may be gone."""
    pages = sum(leaf.pages for plan in plans for leaf in plan.view.relation.leaves)
    numbers = itertools.count()
    for member, plan in enumerate(plans):
        if plan.key_buckets is None or not plan.key_buckets.prefixes:
            continue
        for leaf in plan.view.relation.leaves:
            for pages_ in page_ranges(leaf, pages, workers, batch_size):
                yield Chunk(next(numbers), member, leaf, How.WHOLE, *pages_, keys_only=True)


def _block_chunks(read: LeafRead, workers: int) -> Iterator[Chunk]:
    most = max(SMALL_PORTION, math.ceil(len(read.runs) / workers))
    for portion in portions(read.runs, min(most, LARGE_PORTION)):
        yield Chunk(0, 0, read.leaf, How.BLOCKS, runs=portion)


def _with_keys(plan: Plan, chunk: Chunk) -> Iterator[Chunk]:
    yield chunk
    if plan.compares_keys and not plan.keys_later:
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
