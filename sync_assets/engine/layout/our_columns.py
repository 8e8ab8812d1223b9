"""The columns of ours that a target has besides its source's: their names and types (pure)."""

from __future__ import annotations

import dataclasses

from sync_assets.engine import errors
from sync_assets.engine.layout.remedies import retyped
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.table import Deletes, Table

SYSTEM_COLUMNS = ("ctid", "xmin", "cmin", "xmax", "cmax", "tableoid")

XID = "bigint"
"""The type of the column that has the transaction which wrote a row."""

TIME = "timestamp with time zone"
"""The type of the column that says when a row was found to be gone."""


def require_own_names(table: Table, source: Relation) -> None:
    """Refuse names that cannot stand beside the source's; raises ConfigurationError."""
    ours = {"xmin_column": table.xmin_column}
    if table.deletes is Deletes.SOFT:
        ours["deleted_column"] = table.deleted_column
    if table.partition_of is not None:
        ours["partition_of"] = table.partition_of.column
    for option, name in ours.items():
        if name in SYSTEM_COLUMNS or [*ours.values()].count(name) > 1:
            raise errors.ConfigurationError(
                f"{option} names the column {name!r}, which every table of PostgreSQL's has"
                if name in SYSTEM_COLUMNS
                else f"{' and '.join(ours)} name one column, {name!r}",
                remedy=f"Give it another name: {option}: …",
            )
        if source.column(name):
            raise errors.ConfigurationError(
                f"{table.source} has a column {name!r} of its own",
                remedy=f"Give ours another name: {option}: …",
            )


def lacking(table: Table, target: Relation) -> list[tuple[str, str]]:
    """The columns of ours that a table on the target, or that of many sources, lacks: names and types.

    Raises SchemaConflict where such a name is another's.
    """
    ours = [("xmin_column", table.xmin_column, XID)]
    if table.deletes is Deletes.SOFT:
        ours.append(("deleted_column", table.deleted_column, TIME))
    for option, name, type_ in ours:
        there = target.column(name)
        if there is not None and there.type != type_:
            wanted = dataclasses.replace(there, type=type_)
            raise errors.SchemaConflict(
                f"column {name!r} of {target.name} is {there.type}, not {type_}",
                remedy=f"Give ours another name: {option}: …"
                if target.name == table.target
                else f"Let it be that: ALTER TABLE {target.name.as_sql} {retyped(there, wanted)};"
                f" or give ours another name: {option}: …",
            )
    return [(name, type_) for _, name, type_ in ours if target.column(name) is None]


def deleted_column_of(table: Table, source: Relation, target: Relation) -> str | None:
    """The column that marks deleted rows.

    Marks that an earlier `deletes: soft` left are cleared when their row returns.
    """
    name = table.deleted_column
    there = target.column(name)
    left = there is not None and there.type == TIME and source.column(name) is None
    return name if left or table.deletes is Deletes.SOFT else None
