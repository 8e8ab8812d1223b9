"""How an existing target follows a source whose columns are not those of the last run (pure).

What PostgreSQL changes without touching a row version, nothing but the catalog shows: a column
added with a constant default, a renamed column, a renamed part of a composite. Columns are told
apart by their number, which a rename keeps and a dropped column takes along.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from sync_assets.engine import errors
from sync_assets.engine.layout.alteration import Alteration
from sync_assets.engine.layout.differences import differences, require_taken
from sync_assets.engine.layout.following import Following
from sync_assets.engine.layout.layout import Layout, fit
from sync_assets.engine.layout.partition import (
    as_partition,
    columns_of,
    joining,
    require_attached,
    require_takes_new,
)
from sync_assets.engine.postgres.partitions import Partitioned
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.types import UserType
from sync_assets.engine.state.shape import RememberedColumns
from sync_assets.engine.state.state import State
from sync_assets.engine.table import Deletes, SyncMode, Table


@dataclass(frozen=True, slots=True)
class Evolution:
    """What the target needs to follow its source, and `target` as it is after that.

    `full` is the reason to read every row, `full_leaves` the reason to read one leaf whole, by oid.
    """

    target: Relation | None
    alterations: tuple[Alteration, ...] = ()
    full: str | None = None
    full_leaves: Mapping[int, str] = field(default_factory=dict)


def lay_out(
    table: Table,
    source: Relation,
    types: tuple[UserType, ...],
    target: Relation | None,
    known: State | None,
    whole: Partitioned | None = None,
) -> Layout:
    """How the source fits the target once that has followed it.

    `whole` is the table that the target is to be a partition of. Raises SchemaConflict, SchemaNotApproved, UnusableKey or ConfigurationError.
    """
    before = known.columns if known else None
    target = as_partition(table.partition_of, target, whole)
    if before is not None and target is not None:
        _require_masked_alike(table, source, before)
    changes = tuple(differences(before, source, types)) if before else ()
    require_taken(table, changes)
    evolution = evolution_of(table, source, types, target, known)
    layout = fit(table, source, evolution.target, whole.relation if whole else None)
    return dataclasses.replace(
        layout,
        joining=_joining(table, layout, evolution, whole),
        alterations=(*evolution.alterations, *layout.alterations),
        full=evolution.full or _lacking(layout),
        full_leaves=evolution.full_leaves,
        known_types=before.types if before else (),
        changes=changes,
    )


def _joining(
    table: Table, layout: Layout, evolution: Evolution, whole: Partitioned | None
) -> tuple[Alteration, ...]:
    if table.partition_of is None or whole is None:
        return ()
    require_attached(table.target, whole, alters=bool(layout.alterations or evolution.alterations))
    columns = columns_of(table, table.partition_of, layout, evolution.target)
    found = joining(table.partition_of, table.target, columns, whole)
    if evolution.target is None:
        require_takes_new(table.partition_of, whole)
    return found


def _require_masked_alike(table: Table, source: Relation, before: RememberedColumns) -> None:
    """Refuse rows under other masked keys where those of the last run would stay beside them."""
    if table.mode is SyncMode.FULL_SYNC or table.deletes is not Deletes.IGNORE:
        return
    then = {column.name: column.expression for column in before.columns}
    for name in before.key:
        column = source.column(name)
        if column is not None and name in then and column.expression != then[name]:
            raise errors.SchemaConflict(
                f"{name!r} of the key of {table.source} is masked otherwise than at the last run, or under"
                f" another key, so every row would come to {table.target} a second time",
                remedy="Drop the target, to be loaded anew: "
                f"DROP TABLE {table.target.as_sql}; or set deletes: hard.",
            )


def _lacking(layout: Layout) -> str | None:
    names = ", ".join(each.name for each in layout.added)
    return f"the target lacks column {names}" if names else None


def evolution_of(
    table: Table,
    source: Relation,
    types: tuple[UserType, ...],
    target: Relation | None,
    known: State | None,
) -> Evolution:
    """What has happened to the source's columns since the last run, done to the target."""
    if target is None or target.kind not in "rp" or known is None:
        return Evolution(target)
    if known.columns is None:
        return Evolution(target, full="the columns of the last run are not known")
    following = Following(table, source, known.columns, known.leaves, target)
    following.rename()
    following.change_types()
    following.add()
    # A key among the new columns tells which rows only the target has.
    following.alterations += following.retypes
    following.change_key()
    following.let_be_null()
    following.compare_types(types)
    return Evolution(
        following.target,
        tuple(following.alterations),
        f"{' and '.join(following.reasons)}" if following.reasons else None,
        following.full_leaves(),
    )
