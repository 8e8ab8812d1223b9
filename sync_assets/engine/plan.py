"""What a run will read, and why: decided from state, snapshot and shapes (pure)."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sync_assets.engine import errors
from sync_assets.engine.catalog import Leaf, Relation
from sync_assets.engine.schema import Field, Layout
from sync_assets.engine.snapshot import Snapshot, SourceView
from sync_assets.engine.state import Known, KnownLeaf
from sync_assets.engine.table import Deletes, SyncMode, Table
from sync_assets.engine.xid import XidWindow

SMALL_CHUNK, LARGE_CHUNK = 128, 8192
"""Pages. Below the first a round trip costs more than the read; the second is 64 MB of table."""

CHUNK_BYTES = 64 << 20
CHUNKS_PER_WORKER = 4
ROWS_PER_PAGE_GUESS = 50
REASONS = 3
"""How many leaves a receipt's reason names."""


@dataclass(frozen=True, slots=True)
class LeafRead:
    """One leaf: read whole, or only rows whose xid falls into the plan's window."""

    leaf: Leaf
    full: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Pages `first` up to, not including, `end` of one leaf, read by one COPY; None: to its end."""

    number: int
    leaf: Leaf
    full: bool
    first: int
    end: int | None
    keys_only: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, decided. `full` says that every row of the source is read."""

    table: Table
    view: SourceView
    layout: Layout
    window: XidWindow
    leaves: tuple[LeafRead, ...]
    full: bool
    reason: str
    fingerprint: str

    @property
    def removes_missing(self) -> bool:
        """Whether target rows that the source no longer has are deleted."""
        asked = self.table.mode is SyncMode.FULL_SYNC or self.table.deletes is Deletes.HARD
        return asked and not self.layout.creates

    @property
    def compares_keys(self) -> bool:
        """Whether all keys are read besides the changed rows, to find what is gone."""
        return self.removes_missing and not self.full


def make_plan(
    table: Table, view: SourceView, layout: Layout, known: Known | None, target: Relation | None
) -> Plan:
    """Decide; raises SourceIdentityChanged or SourceBehind where going on would lose rows."""
    fingerprint = configuration(table, layout)
    why = _why_all(table, view, layout, known, target, fingerprint)
    start = known.watermark if known and not why else 0
    window = XidWindow(start, view.snapshot.xmax)
    if not why and window.covers_ring:
        why = "full pass: the last run is 2^32 or more transactions ago"
    known_leaves = known.leaves if known else ()
    leaves = tuple(
        _leaf_read(leaf, why, known_leaves, known, view.snapshot) for leaf in view.relation.leaves
    )
    return Plan(
        table,
        view,
        layout,
        window,
        leaves,
        bool(why) or all(read.full for read in leaves),
        why or _reason(leaves, start),
        fingerprint,
    )


def configuration(table: Table, layout: Layout) -> str:
    """Changes whenever what this table selects from the source changes."""
    text = repr((str(table.source), layout.key.columns, layout.names, table.xmin_column))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _why_all(
    table: Table,
    view: SourceView,
    layout: Layout,
    known: Known | None,
    target: Relation | None,
    fingerprint: str,
) -> str | None:
    """The reason to read every row, or None where the last run's mark can be trusted."""
    if known is not None and not table.accept_source:
        _require_same_source(known, view.snapshot)
    if layout.creates:
        return "first load: the target does not exist"
    if known is None or target is None:
        return "full pass: the first run over a target that was there before"
    other = _other_source(known, view.snapshot) or _behind(known, view.snapshot)
    reasons = {
        "full pass: another source was accepted": table.accept_source and other,
        "full pass: asked for": table.full_refresh,
        "full_sync reads every row": table.mode is SyncMode.FULL_SYNC,
        f"full pass: the target lacks {_named(layout.added)}": bool(layout.added),
    }
    reason = next((text for text, holds in reasons.items() if holds), None)
    return reason or _why_mark_is_void(table, view, known, target, fingerprint)


def _named(fields: Sequence[Field]) -> str:
    return f"column {', '.join(field.name for field in fields)}"


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
        "the columns of the source": (known.fingerprint, schema_fingerprint(view)),
        "the configuration of the table": (known.configuration, fingerprint),
        "the target table itself": (known.target_storage, storage(target)),
    }
    what = [name for name, (before, after) in changed.items() if before != after]
    return f"full pass: {' and '.join(what)} changed" if what else None


def _other_source(known: Known, snapshot: Snapshot) -> bool:
    now = snapshot.identity
    return (known.system_identifier, known.database) != (now.system_identifier, now.database)


def _require_same_source(known: Known, snapshot: Snapshot) -> None:
    now = snapshot.identity
    if _other_source(known, snapshot) and None not in (
        known.system_identifier,
        now.system_identifier,
    ):
        raise errors.SourceIdentityChanged(
            "the source is another database than the one of the last run "
            f"(system {now.system_identifier}, database {now.database}; "
            f"before: {known.system_identifier}, {known.database})"
        )
    if now.timeline is not None and now.timeline != known.timeline:
        return
    if _behind(known, snapshot):
        raise errors.SourceBehind(
            "the source shows an older state than the last run saw: "
            f"WAL position {snapshot.lsn}, timeline known up to {snapshot.timeline_as_of}, "
            f"next transaction {snapshot.xmax}; then {known.lsn} and {known.snapshot_xmax}"
        )


def _behind(known: Known, snapshot: Snapshot) -> bool:
    seen = min(snapshot.lsn, snapshot.timeline_as_of)
    return seen < known.lsn or snapshot.xmax < known.snapshot_xmax


def schema_fingerprint(view: SourceView) -> str:
    """Changes with the columns and with the types behind them."""
    text = view.relation.fingerprint + repr(view.types)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def storage(target: Relation) -> str:
    """Changes when the target was replaced, truncated or rewritten."""
    return repr((target.oid, [(leaf.oid, leaf.filenode) for leaf in target.leaves]))


def known_leaf(leaf: Leaf) -> KnownLeaf:
    """What the state keeps of a leaf."""
    return KnownLeaf(leaf.oid, leaf.filenode, leaf.tablespace, leaf.fingerprint)


def _leaf_read(
    leaf: Leaf,
    why: str | None,
    before: Sequence[KnownLeaf],
    known: Known | None,
    snapshot: Snapshot,
) -> LeafRead:
    if why is not None or known is None:
        return LeafRead(leaf, full=True, reason=why or "first load")
    same = next((each for each in before if each.oid == leaf.oid), None)
    if same is None:
        return LeafRead(leaf, full=True, reason=f"{leaf.name} is new")
    if same.fingerprint != leaf.fingerprint:
        return LeafRead(leaf, full=True, reason=f"the columns of {leaf.name} changed")
    if leaf.unlogged and known.postmaster_start != snapshot.postmaster_start:
        reason = f"{leaf.name} is unlogged and the source has restarted"
        return LeafRead(leaf, full=True, reason=reason)
    return LeafRead(leaf, full=False, reason="rows by their xid")


def _reason(leaves: Sequence[LeafRead], start: int) -> str:
    whole = [read.reason for read in leaves if read.full]
    more = ", …" if len(whole) > REASONS else ""
    also = f"; whole: {', '.join(whole[:REASONS])}{more}" if whole else ""
    return f"changes since transaction {start}{also}"


def chunks(plan: Plan, workers: int, batch_size: int) -> Iterator[Chunk]:
    """Cut every leaf into page ranges; the last of each is open, as the leaf may have grown."""
    pages = sum(read.leaf.pages for read in plan.leaves)
    numbers = itertools.count()
    for read in plan.leaves:
        size = _chunk_pages(read.leaf, pages, workers, batch_size)
        firsts = range(0, max(read.leaf.pages, 1), size)
        for first in firsts:
            end = first + size if first != firsts[-1] else None
            chunk = Chunk(next(numbers), read.leaf, read.full, first, end)
            yield chunk
            if plan.compares_keys:
                yield dataclasses.replace(chunk, number=next(numbers), keys_only=True)


def _chunk_pages(leaf: Leaf, all_pages: int, workers: int, batch_size: int) -> int:
    per_page = leaf.estimated_rows / leaf.pages if leaf.pages else 0
    batch = math.ceil(batch_size / (per_page if per_page > 0 else ROWS_PER_PAGE_GUESS))
    share = math.ceil(all_pages / (workers * CHUNKS_PER_WORKER))
    pages = max(SMALL_CHUNK, min(max(batch, share), LARGE_CHUNK))
    # Rows with large values live mostly in TOAST, which the pages do not show.
    return max(1, min(pages, CHUNK_BYTES * leaf.pages // max(leaf.bytes, 1))) if leaf.pages else 1
