"""The one transaction that changes the target: all tables of a group, their states and receipts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sync_assets.engine import interference, merge, page_map
from sync_assets.engine.catalog import Cursor
from sync_assets.engine.foreign_keys import (
    acts_within,
    deferred,
    parents_first,
    read_foreign_keys,
)
from sync_assets.engine.merge import Merged, Removed
from sync_assets.engine.plan import Removal
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
                merge.evolve(cursor, staged.plan, staged.staging)
            merged[staged.target] = Merged(staged.done.rows, 0)
        else:
            there[staged.target] = staged
    for target in sorted(there):
        merge.lock_target(cursor, there[target].plan, expected_storage.get(target))
    for staged in there.values():
        merge.evolve(cursor, staged.plan, staged.staging)
    merged |= _write(cursor, there)
    for staged in there.values():
        page_map.renew(cursor, staged.plan, staged.staging)
    return merged


def _write(cursor: Cursor, there: Mapping[RelationName, Staged]) -> dict[RelationName, Merged]:
    moves = any(each.done.rows or each.plan.removal is not Removal.NONE for each in there.values())
    keys = read_foreign_keys(cursor, tuple(there)) if moves else ()
    actors = interference.read_actors(cursor, tuple(there)) if moves else ()
    ordered = parents_first(tuple(there), keys)
    removed: dict[RelationName, Removed] = {}
    written: dict[RelationName, tuple[int, int]] = {}

    def remove(target: RelationName) -> None:
        staged = there[target]
        removed[target] = merge.remove_missing(cursor, staged.plan, staged.staging, staged.done)

    def write(target: RelationName) -> None:
        staged = there[target]
        written[target] = (0, 0)
        if staged.done.rows:
            written[target] = merge.merge_rows(cursor, staged.plan, staged.staging)

    with deferred(cursor, keys) as put_off:
        if put_off and not acts_within(ordered, keys):
            # A removal frees unique values for rows that take them over. What a removed row would
            # take along, or be held back by, has been brought up to date before.
            for target in reversed(ordered):
                remove(target)
                write(target)
        else:
            for target in ordered:
                write(target)
            for target in reversed(ordered):
                remove(target)
    if actors:
        # Of every table: a trigger of one may write into another.
        for staged in there.values():
            interference.require_written(
                cursor,
                staged.plan,
                interference.unlike(staged.plan, staged.staging, staged.done),
                interference.left(staged.plan, staged.staging),
            )
    return {
        target: Merged(*written[target], **dataclasses.asdict(removed[target]))
        for target in ordered
    }
