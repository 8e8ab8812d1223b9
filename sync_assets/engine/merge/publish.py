"""The one transaction that changes the target: all tables of a group, their states and receipts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sync_assets.engine.errors import about
from sync_assets.engine.load.staging import Staged
from sync_assets.engine.merge import (
    deletes,
    interference,
    keys_by_page,
    merge,
    merge_statements,
)
from sync_assets.engine.merge.collisions import StillThere, Written
from sync_assets.engine.merge.deletes import Removed
from sync_assets.engine.merge.foreign_keys import (
    acts_within,
    deferred,
    parents_first,
    read_foreign_keys,
)
from sync_assets.engine.merge.merge import Merged
from sync_assets.engine.names import RelationName
from sync_assets.engine.plan.plan import Plan, Removal
from sync_assets.engine.postgres.session import Cursor, row


def publish_rows(
    cursor: Cursor,
    group: Sequence[Staged],
    expected_storage: Mapping[RelationName, str],
    still_there: StillThere,
) -> dict[RelationName, Merged]:
    """Bring the staged rows of a group into its targets.

    `still_there` asks the source for rows that are in the way. Raises DeleteGuard, SchemaConflict
    or ConcurrentRun, after which the caller rolls back.
    """
    merge.lock_wholes(cursor, (staged.plan for staged in group))
    merged: dict[RelationName, Merged] = {}
    there: dict[RelationName, Staged] = {}
    for staged in group:
        if staged.plan.layout.creates:
            if not staged.plan.table.dry_run:
                with about(staged.target):
                    merge.become_target(cursor, staged.plan, staged.staging)
                    merge.alter_target(cursor, staged.plan, staged.staging)
            merged[staged.target] = Merged(staged.done.rows, 0)
        else:
            there[staged.target] = staged
    for target in sorted(there):
        with about(target):
            merge.lock_target(cursor, there[target].plan, expected_storage.get(target))
    for staged in there.values():
        with about(staged.target):
            merge.alter_target(cursor, staged.plan, staged.staging)
    merged |= {
        target: _counted(cursor, there[target].plan, written)
        for target, written in _write(cursor, there, still_there).items()
    }
    for staged in there.values():
        if staged.plan.part is None or _may_be_new(staged):
            keys_by_page.renew(cursor, staged.plan, staged.staging)
    return merged


def _counted(cursor: Cursor, plan: Plan, merged: Merged) -> Merged:
    """With the target's rows, if a part has more or fewer now: others may have removed or added some."""
    if plan.part is None or not (merged.inserted or merged.deleted):
        return merged
    return dataclasses.replace(merged, live=row(cursor, merge_statements.count_live(plan))[0])


def _may_be_new(staged: Staged) -> bool:
    """Whether a row may have come before the run whose map of keys will know of it: that map must go."""
    return staged.highest_xid is not None and staged.highest_xid >= staged.plan.window.start


def _write(
    cursor: Cursor, there: Mapping[RelationName, Staged], still_there: StillThere
) -> dict[RelationName, Merged]:
    moves = any(each.done.rows or each.plan.removal is not Removal.NONE for each in there.values())
    keys = read_foreign_keys(cursor, tuple(there)) if moves else ()
    actors, later = interference.read_surroundings(cursor, tuple(there)) if moves else ((), ())
    ordered = parents_first(tuple(there), keys)
    removed: dict[RelationName, Removed] = {}
    written: dict[RelationName, Written] = {}

    def remove(target: RelationName) -> None:
        staged = there[target]
        with about(target):
            removed[target] = deletes.remove_missing(
                cursor, staged.plan, staged.staging, staged.done
            )

    def write(target: RelationName) -> None:
        staged = there[target]
        written[target] = Written(0, 0)
        if staged.done.rows:
            plan, staging = staged.plan, staged.staging
            with about(target):
                written[target] = merge.merge_rows(
                    cursor, plan, staging, still_there, removes=plan.removal is Removal.DELETE
                )

    with deferred(cursor, keys) as put_off:
        interference.check_each_statement(cursor, later)
        if put_off and not acts_within(ordered, keys):
            # Delete before MERGE, children first: a new row may reuse a deleted row's unique value, and
            # no cascade reaches rows that were merged already.
            for target in reversed(ordered):
                counts = there[target].plan.removal is Removal.NONE
                for do in (write, remove) if counts else (remove, write):
                    do(target)
        else:
            for target in ordered:
                write(target)
            for target in reversed(ordered):
                remove(target)
    # Of every table: a trigger of one may write into another.
    for staged in there.values() if actors else ():
        _require_written(cursor, staged)
    return {target: _both(written[target], removed[target]) for target in ordered}


def _both(written: Written, removed: Removed) -> Merged:
    counts = dataclasses.asdict(removed) | {"deleted": removed.deleted + written.removed}
    return Merged(written.inserted, written.updated, **counts, events=written.events)


def _require_written(cursor: Cursor, staged: Staged) -> None:
    plan, staging = staged.plan, staged.staging
    unlike = interference.unlike(plan, staging, staged.done)
    interference.require_written(cursor, plan, unlike, interference.left(plan, staging))
