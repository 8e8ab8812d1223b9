"""Which rows a run will read, and why: decided from state, snapshot and shapes (pure)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sync_assets.engine import errors
from sync_assets.engine.computed.labels import labels_as_text
from sync_assets.engine.layout.layout import Layout
from sync_assets.engine.plan.batch_format import BatchFormat
from sync_assets.engine.plan.cursor_range import CursorRange
from sync_assets.engine.plan.plan import How, KeySearch, LeafRead, Part, Plan
from sync_assets.engine.postgres.relation import Leaf, Relation
from sync_assets.engine.postgres.xid import XidWindow
from sync_assets.engine.snapshot.identity import is_behind, is_other_source, require_same_source
from sync_assets.engine.snapshot.scope import texts
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.state.shape import places
from sync_assets.engine.state.state import State, StateLeaf
from sync_assets.engine.table import LateCommits, SyncMode, Table

REASONS = 3
"""How many leaves a receipt's reason names."""

ASKED_FOR = "asked for"

ALL_AROUND = "full pass: the last run is 2^32 or more transactions ago"


@dataclass(frozen=True, slots=True)
class Basis:
    """What the reads of a table are decided from.

    `known` is None before the first run, `there` where there is no target yet; `suspicion` is a
    reason from outside to read everything.
    """

    table: Table
    view: SourceRelation
    layout: Layout
    known: State | None
    there: Relation | None
    format: BatchFormat = field(default_factory=BatchFormat)
    cursor: CursorRange | None = None
    suspicion: str | None = None


def plan_changes(basis: Basis) -> Plan:
    """Plan the rows that changed since the last run, or all, or those that are to be read again.

    Raises SourceIdentityChanged or SourceBehind where going on would lose rows, ConfigurationError
    where a part is asked for and all must be read.
    """
    if basis.table.rows is not None:
        _require_in_step(basis)
        return plan_part(basis, Part(), f"rows again: {' '.join(basis.table.rows.split())}")
    table, view, layout, cursor = basis.table, basis.view, basis.layout, basis.cursor
    fingerprint = configuration(table, view, layout)
    why = _why_all(basis, fingerprint) or basis.suspicion
    start = basis.known.watermark if basis.known and not why else 0
    window = XidWindow(start, view.snapshot.xmax)
    if not why and window.covers_ring:
        why = ALL_AROUND
    reads = tuple(
        read
        for leaf in view.relation.leaves
        for read in _leaf_reads(basis, leaf, why or layout.full_leaves.get(leaf.oid))
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
        _events(basis.known, view.relation),
        format=basis.format,
        keys=KeySearch(mapped=basis.known is not None and basis.known.mapped),
    )


def plan_since(basis: Basis, since: int) -> Plan:
    """The plan of rows whose xid is `since` or newer, of all rows for 0; raises ConfigurationError.

    They travel as text. It is told what to read, and so asks nothing of the last run but its source.
    """
    _require_accepted(basis)
    if basis.table.rows is not None:
        raise errors.ConfigurationError(
            "rows is for a whole run, not for a step of one", remedy="Say `where` instead."
        )
    layout, end = basis.layout, basis.view.snapshot.xmax
    why = layout.full or next(iter(layout.full_leaves.values()), None)
    if since and why is not None:
        raise errors.ConfigurationError(
            f"every row must be exported: {why}", remedy="Leave since out, once."
        )
    if not 0 <= since <= end:
        raise errors.ConfigurationError(
            f"since is {since}, and the source's next transaction {end}",
            remedy="Give the 64-bit transaction id of an earlier export, or 0 for all rows.",
        )
    how = How.WHOLE if since == 0 else How.XID
    return Plan(
        basis.table,
        basis.view,
        layout,
        XidWindow(since, end),
        tuple(LeafRead(leaf, how, ASKED_FOR) for leaf in basis.view.relation.leaves),
        since == 0,
        ASKED_FOR,
        configuration(basis.table, basis.view, layout),
        basis.cursor,
        format=BatchFormat(encoding=basis.format.encoding),
        # A map that there may be would not know of the rows: merging them drops it.
        keys=KeySearch(mapped=True),
    )


def plan_part(basis: Basis, part: Part, reason: str) -> Plan:
    """The plan of the rows that `Table.rows` says; raises UnusableKey or SchemaConflict.

    Its window holds what the last run may not have seen, of which a map of keys cannot know.
    """
    table, view, layout, known = basis.table, basis.view, basis.layout, basis.known
    if layout.key is None:
        raise errors.UnusableKey(
            f"{table.source} has no key, so some of its rows cannot be read again without the others",
            remedy="Name the columns that identify a row, key: [id], or read every row: --full-refresh.",
        )
    if layout.alterations:
        # A column that changes is written in every row, and here only some are sent.
        changes = "; ".join(each.says for each in layout.alterations)
        raise errors.SchemaConflict(
            f"the target {table.target} must follow its source first: {changes}",
            remedy="Sync the table first.",
        )
    seen = {leaf.oid for leaf in known.leaves} if known else set()
    unseen = any(leaf.oid not in seen for leaf in view.relation.leaves)
    return Plan(
        table,
        view,
        layout,
        XidWindow(known.watermark if known and not unseen else 0, view.snapshot.xmax),
        tuple(LeafRead(leaf, How.WHOLE, ASKED_FOR) for leaf in view.relation.leaves),
        full=False,
        reason=reason,
        fingerprint=configuration(table, view, layout),
        keys=KeySearch(mapped=known is not None and known.mapped),
        format=basis.format,
        part=part,
    )


def _require_in_step(basis: Basis) -> None:
    """Refuse to read a part of a table of which the next run must read every row.

    What else it has is not what the mark says, and a part that is newer would hide that.
    """
    table, known, layout = basis.table, basis.known, basis.layout
    _require_accepted(basis)
    if known is None or basis.there is None:
        raise errors.ConfigurationError(
            f"{table.target} was never synced, so there are no rows of it to read again",
            remedy="Run it once without --rows.",
        )
    fingerprint = configuration(table, basis.view, layout)
    void = why_mark_is_void(table, basis.view, known, basis.there, fingerprint)
    why = f"full pass: {layout.full}" if layout.full and not layout.alterations else None
    if XidWindow(known.watermark, basis.view.snapshot.xmax).covers_ring:
        why = ALL_AROUND
    why = why or void or basis.suspicion
    if why is not None:
        raise errors.ConfigurationError(
            f"the next run of {table.target} must read every row, not a part ({why})",
            remedy="Run it without --rows.",
        )


def configuration(table: Table, view: SourceRelation, layout: Layout) -> str:
    """Changes whenever what this table selects from the source changes."""
    scope = (table.columns, table.exclude, table.expressions, table.where, table.only)
    # Nobody has proven of this text what an incremental mode relies on.
    unproven = ("unproven",) if table.mode is SyncMode.FULL_SYNC and any(texts(table)) else ()
    key = table.masking_key
    # Nothing where there are none: what was synced before there were masks is as it was.
    masked = (*((name, str(mask)) for name, mask in table.mask), *((key.name,) if key else ()))
    labels = labels_as_text(table.expressions, view.columns, view.probe_types)
    selected = (scope, table.xmin_column, *unproven, *masked, *labels.items())
    text = repr((str(table.source), layout.key_columns, *selected))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _why_all(basis: Basis, fingerprint: str) -> str | None:
    """The reason to read every row, or None where the last run's mark can be trusted."""
    table, view, layout, known = basis.table, basis.view, basis.layout, basis.known
    _require_accepted(basis)
    if layout.creates:
        return "first load: the target does not exist"
    if known is None or basis.there is None:
        return "full pass: the first run over a target that was there before"
    other = is_other_source(known, view.snapshot) or is_behind(known, view.snapshot)
    cursor = basis.cursor
    unmarked = not view.relation.has_versions and cursor is not None and cursor.since is None
    reasons = {
        "full pass: another source was accepted": table.accept_source and other,
        "full pass: asked for": table.full_refresh,
        "full_sync reads every row": table.mode is SyncMode.FULL_SYNC,
        f"full pass: {layout.full}": layout.full is not None,
        "full pass: the cursor has no mark yet": unmarked,
    }
    reason = next((text for text, holds in reasons.items() if holds), None)
    return reason or why_mark_is_void(table, view, known, basis.there, fingerprint)


def _require_accepted(basis: Basis) -> None:
    if basis.known is not None and not basis.table.accept_source:
        require_same_source(basis.known, basis.view.snapshot)


def why_mark_is_void(
    table: Table, view: SourceRelation, known: State, target: Relation, fingerprint: str
) -> str | None:
    """The reason, if rows below the mark of a state may be others by now; None where it holds."""
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


def known_leaf(leaf: Leaf) -> StateLeaf:
    """What the state keeps of a leaf."""
    return StateLeaf(leaf.oid, leaf.filenode, leaf.tablespace, places(leaf))


def _leaf_reads(basis: Basis, leaf: Leaf, why: str | None) -> Iterator[LeafRead]:
    table, view, cursor = basis.table, basis.view, basis.cursor
    reason = why or _why_whole(leaf, basis.known, view)
    by_cursor = cursor is not None and cursor.since is not None
    if reason is not None:
        yield LeafRead(leaf, How.WHOLE, reason)
        return
    trusts_cursor = by_cursor and table.late_commits is LateCommits.LOOKBACK
    if view.relation.has_versions and (not trusts_cursor or view.relation.through_parent):
        yield LeafRead(leaf, How.XID, "rows by their xid")
    if by_cursor and not view.relation.through_parent:
        yield LeafRead(leaf, How.CURSOR, "rows by their cursor")


def _why_whole(leaf: Leaf, known: State | None, view: SourceRelation) -> str | None:
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


def _events(known: State | None, relation: Relation) -> tuple[str, ...]:
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
