"""The one transaction that changes the target: all tables of a group, their states and receipts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sync_assets.engine import merge
from sync_assets.engine.catalog import Cursor
from sync_assets.engine.foreign_keys import (
    ForeignKey,
    deferred,
    parents_first,
    read_foreign_keys,
)
from sync_assets.engine.merge import Merged, Removed
from sync_assets.engine.run import Staged
from sync_assets.engine.table import RelationName


def publish_rows(
    cursor: Cursor, group: Sequence[Staged], expected_storage: Mapping[RelationName, str]
) -> dict[RelationName, Merged]:
    """Bring the staged rows of a group into its targets.

    Raises DeleteGuard, SchemaConflict or ConcurrentRun, after which the caller rolls back.
    """
    merged: dict[RelationName, Merged] = {}
    there: dict[RelationName, Staged] = {}
    for staged in group:
        if staged.plan.layout.creates:
            if not staged.plan.table.dry_run:
                merge.become_target(cursor, staged.plan, staged.staging)
            merged[staged.target] = Merged(staged.done.rows, 0)
        else:
            there[staged.target] = staged
    for target in sorted(there):
        merge.lock_target(cursor, there[target].plan, expected_storage.get(target))
    for staged in there.values():
        merge.evolve(cursor, staged.plan)
    return merged | _write(cursor, there)


def _write(cursor: Cursor, there: Mapping[RelationName, Staged]) -> dict[RelationName, Merged]:
    keys = read_foreign_keys(cursor, tuple(there)) if there else ()
    with deferred(cursor, keys) as put_off:
        ordered = parents_first(tuple(there), keys)
        early = [target for target in ordered if put_off and _may_go_first(target, keys)]
        removed = {target: _remove(cursor, there[target]) for target in reversed(early)}
        written = {
            target: merge.merge_rows(cursor, there[target].plan, there[target].staging)
            for target in ordered
        }
        late = [target for target in ordered if target not in removed]
        removed |= {target: _remove(cursor, there[target]) for target in reversed(late)}
    return {target: _merged(*written[target], removed[target]) for target in ordered}


def _may_go_first(target: RelationName, keys: Sequence[ForeignKey]) -> bool:
    """Whether rows may be removed before the others are written.

    That frees unique values for rows that take them over. But a delete that cascades, or that
    fails at once, must come after the rows that no longer point there have been written.
    """
    return not any(key.parent == target and key.acts for key in keys)


def _remove(cursor: Cursor, staged: Staged) -> Removed:
    return merge.remove_missing(cursor, staged.plan, staged.staging, staged.done)


def _merged(inserted: int, updated: int, removed: Removed) -> Merged:
    return Merged(inserted, updated, **dataclasses.asdict(removed))
