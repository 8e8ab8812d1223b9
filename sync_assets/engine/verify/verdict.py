"""What a difference means, and the count of all of them (pure)."""

from __future__ import annotations

from collections.abc import Callable

from sync_assets.engine.compare.difference import Difference, Kind
from sync_assets.engine.compare.tally import Judge
from sync_assets.engine.snapshot.identity import is_other_history
from sync_assets.engine.snapshot.snapshot import Snapshot
from sync_assets.engine.state.state import State
from sync_assets.engine.table import Deletes, SyncMode, Table
from sync_assets.engine.verification import Verdict


def after_sync(table: Table) -> Judge:
    """Judge rows that a run on the very same snapshot has just left."""
    extra: Verdict = "kept" if keeps_rows(table) else "wrong"
    return lambda found: extra if found.kind is Kind.ONLY_IN_TARGET else "wrong"


def since_last_run(
    table: Table,
    known: State | None,
    now: Snapshot,
    settled: Callable[[], int | None],
    *,
    unsettled: bool = False,
) -> Judge:
    """Judge rows of a target that was not synced for the occasion.

    `settled` says how many rows of the source are as the last run saw them, once they are counted;
    `unsettled` that any row may have changed since, of which no version tells.
    """

    def judge(found: Difference) -> Verdict:
        if found.kind is not Kind.ONLY_IN_TARGET:
            return "pending" if found.awaited or unsettled else "wrong"
        if keeps_rows(table):
            return "kept"
        return "wrong" if known is not None and _none_gone(known, now, settled()) else "pending"

    return judge


def _none_gone(known: State, now: Snapshot, settled: int | None) -> bool:
    """Whether the source has certainly deleted no row since the last run.

    A deleted row leaves nothing to tell it by. But as long as there was no transaction, there was
    no delete; nor while all the rows that the last run saw are there, as they were. Where a map of
    pages finds what is gone, their number is only what our own writes have made of it.
    """
    if now.xmax == known.watermark and not is_other_history(known, now):
        return True
    return settled is not None and not known.mapped and settled == known.rows_in_target


def keeps_rows(table: Table) -> bool:
    """Whether the target keeps rows that the source no longer has."""
    return table.mode is not SyncMode.FULL_SYNC and table.deletes is Deletes.IGNORE
