"""Remove from the target what the source no longer has, inside the publishing transaction."""

from __future__ import annotations

import contextlib
import math
import shlex
from dataclasses import dataclass

from sync_assets.engine import errors
from sync_assets.engine.export.batches import Exported
from sync_assets.engine.load.staging import Staging
from sync_assets.engine.merge import keys_by_page, merge_statements
from sync_assets.engine.plan.plan import KeysByPage, Plan, Removal
from sync_assets.engine.postgres.relation import Key
from sync_assets.engine.postgres.session import Cursor, pinned, row


@dataclass(frozen=True, slots=True)
class Removed:
    """What was done about rows that the source no longer has."""

    deleted: int = 0
    only_in_target: int | None = None
    left_scope: int | None = None
    out_of_scope: int = 0


def remove_missing(cursor: Cursor, plan: Plan, staging: Staging, staged: Exported) -> Removed:
    """Delete or mark what the source no longer has, or count it; raises DeleteGuard."""
    key = plan.layout.key
    if key is None:
        return _remove_surplus(cursor, plan, staging, staged)
    keys = staging.all_keys
    if plan.removal is Removal.NONE:
        if plan.full:
            missing = row(cursor, merge_statements.count_missing(plan, key, keys))[0]
            return Removed(only_in_target=missing)
        if plan.flags_scope:
            left = merge_statements.count_left(plan, key, staging.identifier)
            return Removed(0, None, *(row(cursor, left) if staged.rows else (0, 0)))
        return Removed()
    if plan.keys.by_page is KeysByPage.USE:
        return _remove_gone(cursor, plan, key, staging, staged)
    return _remove_lacking(cursor, plan, key, staging, staged)


def _remove_lacking(
    cursor: Cursor, plan: Plan, key: Key, staging: Staging, staged: Exported
) -> Removed:
    """Delete or mark what is not among all keys, or has gone from the buckets that differ."""
    buckets, part = staging.buckets, plan.part
    if buckets is not None and not buckets.prefixes:
        return Removed(0, None if part else 0)
    within = merge_statements.within(plan, key, buckets)
    with pinned(cursor) if within else contextlib.nullcontext():
        cursor.execute(merge_statements.remove_others(plan, key, staging.all_keys, within))
        deleted = cursor.rowcount
    left = staged.keys if plan.compares_keys else staged.rows
    if part is not None and part.rows_in_source is not None:
        left = part.rows_in_source
    guard(cursor, plan, deleted, left if buckets is None else buckets.rows)
    return Removed(deleted, None if part else 0)


def _remove_gone(
    cursor: Cursor, plan: Plan, key: Key, staging: Staging, staged: Exported
) -> Removed:
    """Delete or mark what has gone from the pages that were read."""
    if not keys_by_page.reads_pages(plan):
        return Removed()
    gone = keys_by_page.find_gone(cursor, plan, key, staging)
    cursor.execute(merge_statements.remove_gone(plan, key, gone))
    deleted = cursor.rowcount
    left = staged.keys or int(deleted and row(cursor, merge_statements.any_live(plan))[0])
    guard(cursor, plan, deleted, left)
    return Removed(deleted)


def _remove_surplus(cursor: Cursor, plan: Plan, staging: Staging, staged: Exported) -> Removed:
    """Without a key a changed row is one deleted and one inserted: the guard looks at the sum."""
    with pinned(cursor):
        cursor.execute(merge_statements.delete_surplus(plan, staging.identifier))
        deleted = cursor.rowcount
    kept = row(cursor, merge_statements.count_live(plan))[0]
    guard(cursor, plan, max(0, kept + deleted - staged.rows), staged.rows)
    return Removed(deleted, 0)


def guard(cursor: Cursor, plan: Plan, deleted: int, left: int) -> None:
    """Refuse, and so roll back, a delete that looks like a mistake."""
    table = plan.table
    if table.confirm_deletes is not None:
        if deleted > table.confirm_deletes:
            raise errors.DeleteGuard(
                f"{deleted} rows of the target {table.target} would be deleted, "
                f"{table.confirm_deletes} were confirmed",
                remedy=_confirming(plan, deleted),
            )
        return
    if deleted and not left and not table.allow_empty:
        raise errors.DeleteGuard(
            f"the source {table.source} is empty and the target {table.target} has {deleted} rows",
            remedy=f"{_confirming(plan, deleted)} Or set allow_empty: true.",
        )
    if deleted < table.min_deletes:
        return
    # So many rows that are left make it a small share: the other ones need not be counted.
    enough = math.ceil(deleted / table.max_delete_ratio) if table.max_delete_ratio else None
    before = row(cursor, merge_statements.count_live(plan, enough))[0] + deleted
    if deleted > table.max_delete_ratio * before and not (table.allow_empty and not left):
        raise errors.DeleteGuard(
            f"{deleted} of {before} rows of the target {table.target} would be deleted, "
            f"more than max_delete_ratio {table.max_delete_ratio} allows",
            remedy=_confirming(plan, deleted),
        )


def _confirming(plan: Plan, deleted: int) -> str:
    name = shlex.quote(str(plan.table.target))
    return f"If that is right, run once: sync-assets run {name} --confirm-deletes {deleted}."
