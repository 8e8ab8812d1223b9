"""What is different about a source's columns since the last run (pure)."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Sequence

from sync_assets.engine import errors
from sync_assets.engine.names import quoted
from sync_assets.engine.postgres.relation import Column, Relation
from sync_assets.engine.postgres.types import UserType
from sync_assets.engine.state.shape import RememberedColumns
from sync_assets.engine.table import OnSchemaChange, Table


def column_before(column: Column, source: Relation, before: RememberedColumns) -> Column | None:
    """What a column was at the last run, by its number, which means nothing in another table."""
    by_number = before.relation == source.oid and column.number > 0
    for each in before.columns:
        if (each.number == column.number) if by_number else (each.name == column.name):
            return each
    return None


def text_changed(was: UserType, now: UserType) -> bool:
    """Whether values of a composite type, whose rows nobody touched, are written otherwise now."""
    parts = tuple(zip(was.part_numbers, (type_ for _, type_ in was.parts), strict=False))
    return parts != tuple(zip(now.part_numbers, (type_ for _, type_ in now.parts), strict=False))


def require_taken(table: Table, changes: tuple[str, ...]) -> None:
    """Raise SchemaConflict or SchemaNotApproved where a run may not follow its source's changes."""
    if not changes or table.on_schema_change is OnSchemaChange.EVOLVE:
        return
    said = f"the columns of {table.source} are not those of the last run: {'; '.join(changes)}"
    if table.on_schema_change is OnSchemaChange.FAIL:
        raise errors.SchemaConflict(
            said,
            remedy="Nothing was changed. To accept this, sync once with on_schema_change: evolve.",
        )
    change = hashlib.sha256("\0".join((str(table.source), *changes)).encode()).hexdigest()[:12]
    if change not in table.approved_changes:
        error = errors.SchemaNotApproved(
            said,
            remedy=f"Nothing was changed. To take this: sync-assets approve {shlex.quote(str(table.target))};"
            f' in Dagster\'s launchpad, approved_changes: ["{change}"].',
        )
        error.changes, error.change = changes, change
        raise error


def differences(
    before: RememberedColumns, source: Relation, types: Sequence[UserType]
) -> list[str]:
    """What a person would call the difference between the last run's columns and these."""
    found: list[str] = []
    seen = set()
    for column in source.columns:
        then = column_before(column, source, before)
        if then is None:
            found.append(f"{quoted(column.name)} {column.type} was added")
            continue
        seen.add(then.name)
        found += _column_differences(then, column)
    found += [f"{quoted(c.name)} was dropped" for c in before.columns if c.name not in seen]
    known = {each.oid: each for each in before.types}
    for each in types:
        was = known.get(each.oid)
        if was is not None and _said(was) != _said(each):
            found.append(f"the type {each.full_name} changed")
    return found


def _column_differences(then: Column, now: Column) -> Iterator[str]:
    if then.name != now.name:
        yield f"{quoted(then.name)} was renamed to {quoted(now.name)}"
    if then.type != now.type:
        yield f"{quoted(now.name)} was {then.type} and is {now.type}"
    if then.not_null != now.not_null:
        yield f"{quoted(now.name)} is {'NOT NULL' if now.not_null else 'no longer NOT NULL'}"
    if then.collation != now.collation:
        yield f"{quoted(now.name)} has another collation"
    if then.generated != now.generated:
        yield f"{quoted(now.name)} is {'generated' if now.generated else 'no longer generated'}"


def _said(each: UserType) -> tuple[object, ...]:
    # What a domain demands stays on the source: an older version's state may still hold it.
    clauses = () if each.kind == "d" else each.clauses
    return each.schema, each.name, each.labels, each.base, clauses, each.parts
