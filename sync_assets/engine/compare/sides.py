"""What of each end is compared: columns, key, and which rows (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine import errors
from sync_assets.engine.compare.checksum import Rows
from sync_assets.engine.layout.keys import choose_key
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.types import UserType
from sync_assets.engine.postgres.xid import XidWindow
from sync_assets.engine.snapshot.identity import is_other_history, require_same_source
from sync_assets.engine.snapshot.scope import is_of, value_of, written
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.state.state import State
from sync_assets.engine.table import Table

LSNS = ("pg_lsn", "pg_lsn[]")


def rows_of_source(table: Table, view: SourceRelation, awaited: Composable | None = None) -> Rows:
    """The rows in scope on the source, as they would be exported."""
    columns = tuple(
        (column.name, value_of(column.name, column.expression)) for column in view.relation.columns
    )
    key = choose_key(table, view.relation)
    condition = None if table.where is None else written(table.where)
    identity = key.columns if key else ()
    lsns = frozenset(_lsns(view.relation, view.types))
    return Rows(view.relation, columns, identity, condition, awaited, lsns)


def _lsns(relation: Relation, types: Iterable[UserType]) -> Iterator[str]:
    """The columns whose values are WAL positions, and nothing besides.

    Of all types' text it is theirs alone that differs between the versions we read and write.
    """
    made = {each.oid for each in types if each.base in LSNS}
    for column in relation.columns:
        if column.type in LSNS or column.type_oid in made:
            yield column.name


def rows_of_target(table: Table, source: Rows, target: Relation | None) -> Rows:
    """The target's rows, without those that are marked as deleted and without our own columns.

    Raises SchemaConflict where it has no such table or column.
    """
    names = [name for name, _ in source.columns]
    there = {column.name for column in target.columns} if target else set()
    missing = [name for name in names if name not in there]
    if target is None or missing:
        what = f"column {', '.join(missing)}" if target else "table of that name"
        raise errors.SchemaConflict(
            f"the target {table.target} has no {what}",
            remedy="Sync the table first, or verify it without --no-sync.",
        )
    columns = tuple((name, Identifier(name)) for name in names)
    live = live_rows(table, source.relation, target)
    return Rows(target, columns, source.key, live, lsns=source.lsns)


def live_rows(table: Table, source: Relation, target: Relation) -> Composable | None:
    """The condition on target rows that are not marked as deleted; None where nothing marks them."""
    mark = marks_deleted(table, source, target)
    return SQL("{} IS NULL").format(Identifier(mark)) if mark else None


def marks_deleted(table: Table, source: Relation, target: Relation) -> str | None:
    """The target's column of that use; one of the source's own may bear the name."""
    name = table.deleted_column
    return name if target.column(name) and not source.column(name) else None


def may_have_changed(view: SourceRelation, known: State) -> bool:
    """Whether any row may be another one since the last run, of which no version tells.

    So it is with a view and its like, unless nothing at all was written since.
    """
    quiet = view.snapshot.xmax == known.watermark and not is_other_history(known, view.snapshot)
    return not _tells_versions(view.relation) and not quiet


def _tells_versions(relation: Relation) -> bool:
    return relation.has_versions and all(leaf.kind == "r" for leaf in relation.leaves)


def awaited_by(view: SourceRelation, known: State | None) -> Composable | None:
    """The condition on source rows that the next run reads by their version; None: it has none.

    All other rows the last run must have seen as they are. Raises SourceBehind or
    SourceIdentityChanged, as a run would.
    """
    if known is not None:
        require_same_source(known, view.snapshot)
    if not _tells_versions(view.relation):
        return None
    if known is None or not known.leaves or is_other_history(known, view.snapshot):
        return SQL("true")
    by_xid = SQL(XidWindow(known.watermark, view.snapshot.xmax).predicate())
    # A partition that was attached since brings rows with old versions.
    return SQL("(NOT {} OR {})").format(is_of(leaf.oid for leaf in known.leaves), by_xid)
