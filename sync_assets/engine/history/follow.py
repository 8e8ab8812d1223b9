"""Let a target's history follow what a run has written, inside the transaction that publishes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg2.sql import Composable

from sync_assets.engine import errors
from sync_assets.engine.history import shape
from sync_assets.engine.history.commit_times import are_told, commit_times
from sync_assets.engine.history.shape import History
from sync_assets.engine.history.versions import NO_TIMES, Versions
from sync_assets.engine.load.staging import Staged
from sync_assets.engine.merge import keys_by_page, merge_statements
from sync_assets.engine.merge.merge import Merged
from sync_assets.engine.names import RelationName
from sync_assets.engine.plan.plan import KeysByPage, Plan
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.catalog import read_storage
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.session import Cursor
from sync_assets.engine.state.state import State


@dataclass(frozen=True, slots=True)
class Followed:
    """Versions that a run has opened and closed, and what the state remembers their table by."""

    opened: int
    closed: int
    remembered: str


def is_followed(plan: Plan, known: State) -> bool:
    """Whether the last run has brought the history that is wanted up to its own moment, or none is.

    What has become of its table since, only the run that writes into it looks at.
    """
    name = plan.table.history_table
    if name is None:
        return known.history is None
    return known.history is not None and known.history.startswith(_named(name, plan))


def _named(name: RelationName, plan: Plan) -> str:
    return f"{name} by {', '.join(plan.layout.key_columns)} in "


def follow(
    cursor: Cursor,
    sessions: Sessions,
    staged: Staged,
    merged: Merged,
    before: State | None,
    there: Mapping[RelationName, Relation],
) -> Followed | None:
    """Close and open versions; `there` are the target and its history, as they are by now.

    None where none are kept. Needs the staged rows, and what tables of gone keys there are. Raises
    SchemaConflict.
    """
    plan = staged.plan
    name, target = plan.table.history_table, there.get(plan.table.target)
    if name is None or target is None:
        return None
    with errors.about(target.name):
        found = there.get(name)
        history = shape.brought_up(cursor, plan, target, found)
        storage = found.storage if found else None
        in_step = before is not None and before.history == f"{_named(name, plan)}{storage}"
        if history.made:
            opened, closed = _begun(cursor, Versions(plan, history)), 0
        elif plan.full or plan.layout.creates or history.altered or not in_step:
            opened, closed = _compared(cursor, sessions, plan, history, before)
        else:
            assert before is not None  # noqa: S101 - or it were not in step
            return _gone_on(cursor, sessions, staged, merged, before, history)
        storage = read_storage(cursor, name)
    return Followed(opened, closed, f"{_named(name, plan)}{storage}")


def _begun(cursor: Cursor, versions: Versions) -> int:
    """Open a version of every row, in a history that was just made."""
    opened = _done(cursor, versions.open_all())
    shape.index(cursor, versions.history)
    return opened


def _compared(
    cursor: Cursor, sessions: Sessions, plan: Plan, history: History, before: State | None
) -> tuple[int, int]:
    """Compare every row with its open version; count the versions opened and closed."""
    times: Composable = NO_TIMES
    if before is not None and are_told(plan):
        target = identifiers.relation(plan.table.target)
        times = commit_times(cursor, sessions, plan, target, before.watermark)
    versions = Versions(plan, history, times)
    closed = _done(cursor, versions.close_gone(None)) + _done(cursor, versions.close_changed(None))
    # The key may be another one: what is open by now is so by both.
    shape.index(cursor, history)
    return _done(cursor, versions.open_lacking(None)), closed


def _gone_on(
    cursor: Cursor,
    sessions: Sessions,
    staged: Staged,
    merged: Merged,
    before: State,
    history: History,
) -> Followed:
    """Compare the rows that the run may have touched."""
    plan, opened, closed = staged.plan, 0, 0
    if merged.deleted:
        closed += _done(cursor, Versions(plan, history).close_gone(_gone(staged, merged)))
    if staged.done.rows:
        touched = merge_statements.staged(plan, staged.staging.identifier)
        times: Composable = NO_TIMES
        if are_told(plan):
            times = commit_times(cursor, sessions, plan, touched, before.watermark)
        versions = Versions(plan, history, times)
        closed += _done(cursor, versions.close_changed(touched))
        opened += _done(cursor, versions.open_lacking(touched))
    return Followed(opened, closed, before.history or "")


def _gone(staged: Staged, merged: Merged) -> Composable | None:
    """The keys that were deleted, where there is a table of them; else all may be."""
    by_page = staged.plan.keys.by_page is KeysByPage.USE and not merged.events
    return keys_by_page.gone_of(staged.staging) if by_page else None


def _done(cursor: Cursor, statement: Composable) -> int:
    cursor.execute(statement)
    return cursor.rowcount
