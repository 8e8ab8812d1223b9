"""Why one row is, or is not, on the target: the sentence that says so (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sync_assets.engine.table import Deletes, LateCommits, SyncMode, Table


@dataclass(frozen=True, slots=True)
class SourceRow:
    """The row on the source: its 64-bit xid, None where the relation keeps none, and its leaf.

    `in_scope` is what `where` says of it; `leaf_known`, whether the last run saw its leaf; `image`
    stands for its values.
    """

    xmin: int | None
    leaf: str
    in_scope: bool
    leaf_known: bool
    image: str


@dataclass(frozen=True, slots=True)
class TargetRow:
    """The row on the target: the xid of the source's version that last changed it, and its mark.

    `source_xmin` is None where no run has changed the row since it was adopted. `image` stands for
    its values; None where columns are missing.
    """

    source_xmin: int | None
    deleted_at: datetime | None
    image: str | None

    def equals(self, source: SourceRow) -> bool | None:
        """Whether it has the values that the source's row has; None where columns are missing."""
        return None if self.image is None else self.image == source.image


@dataclass(frozen=True, slots=True)
class LastRun:
    """What the target remembers: the next run reads from `watermark` on; it saw below `xmax`."""

    watermark: int
    snapshot_xmax: int


def sentence(
    table: Table, source: SourceRow | None, target: TargetRow | None, last: LastRun | None
) -> str:
    """Explain the row's presence or absence, and what the next run does about it."""
    if source is None or not source.in_scope:
        return _gone(table, source, target)
    if target is None:
        return _missing(table, source, last)
    return _present(table, source, target, last)


def _gone(table: Table, source: SourceRow | None, target: TargetRow | None) -> str:
    why = "left out by where" if source else "not in the source"
    if target is None:
        return f"{why}, and not on the target"
    if target.deleted_at is not None:
        return f"{why}: marked as deleted on the target, at {target.deleted_at.isoformat()}"
    if table.deletes is Deletes.SOFT:
        return f"{why}: the next run marks it as deleted"
    if table.mode is SyncMode.FULL_SYNC or table.deletes is Deletes.HARD:
        return f"{why}: the next run deletes it"
    if source is None:
        return "deleted on the source, or its key was changed; deletes: ignore keeps it"
    return f"{why}; deletes: ignore keeps it"


def _missing(table: Table, source: SourceRow, last: LastRun | None) -> str:
    if last is None:
        return "the table was never synced: its first run brings the row"
    if source.xmin is None or table.mode is SyncMode.FULL_SYNC:
        return "not on the target: the next run reads every row and brings it"
    if not source.leaf_known:
        return f"in {source.leaf}, which the last run did not see: the next run loads all of it"
    if table.late_commits is LateCommits.LOOKBACK and source.xmin >= last.watermark:
        return (
            "not on the target: the next run brings it if its cursor is not older than the last"
            " mark, looked back"
        )
    return _late(source.xmin, last)


def _late(xmin: int, last: LastRun) -> str:
    if xmin >= last.snapshot_xmax:
        return "committed after the last run's snapshot: the next run brings it"
    if xmin >= last.watermark:
        return (
            "written before the last run's snapshot, by a transaction that it may not have seen"
            " committed: the next run reads from the watermark on and brings it"
        )
    return (
        "older than the watermark and yet not on the target: it was removed there; bring it back"
        " with run --full-refresh"
    )


def _present(table: Table, source: SourceRow, target: TargetRow, last: LastRun | None) -> str:
    if target.deleted_at is not None:
        return "back in the source: the next run clears its mark as deleted"
    differs = target.equals(source) is False
    if source.xmin is None:
        said = "with other values" if differs else "with the same values"
        return f"on both ends {said}; the source keeps no version of its rows"
    if not differs and target.source_xmin == source.xmin:
        return "on the target, in the source's version"
    if last is None or source.xmin >= last.watermark:
        return "on the target, and written on the source since: the next run reads it again"
    return _differing(table) if differs else _older(target)


def _differing(table: Table) -> str:
    said = "on the target with other values than on the source, and changed there"
    if table.mode is SyncMode.FULL_SYNC:
        return f"{said}: the next run reads every row and puts it right"
    return f"{said}: no run reads it again; put it right with verify --repair"


def _older(target: TargetRow) -> str:
    if target.source_xmin is None:
        return "on the target, where it was before the first run, which found it equal"
    return (
        "on the target; what the source has written since changed none of the columns that are"
        " synced"
    )
