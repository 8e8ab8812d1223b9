"""A target as one partition of the table of many sources: what makes it that (pure).

The columns of that table are those of all its partitions: what one source lacks is NULL in its rows.
A key is each partition's own, so that one source is written without a look at the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine import errors
from sync_assets.engine.layout.alteration import (
    Alteration,
    add_column,
    column_definition,
    set_default,
    set_type,
)
from sync_assets.engine.layout.layout import Field, Layout
from sync_assets.engine.layout.our_columns import TIME, XID
from sync_assets.engine.layout.remedies import agreed
from sync_assets.engine.layout.widening import holds
from sync_assets.engine.names import PartitionOf, RelationName, object_name, quoted
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.partitions import Partitioned
from sync_assets.engine.postgres.relation import Column, Relation
from sync_assets.engine.table import Table

TEXT = "text"


def told_by(part: PartitionOf) -> Composable:
    """The definition of the column that tells sources apart: one value, whatever is written.

    The CHECK is what spares ATTACH PARTITION a look at every row: the manual, "Table Partitioning".
    https://www.postgresql.org/docs/current/ddl-partitioning.html
    """
    return SQL(
        "{column} {type} NOT NULL DEFAULT {value} CONSTRAINT {name} CHECK ({column} = {value})"
    ).format(
        column=Identifier(part.column),
        type=SQL(TEXT),
        value=Literal(part.value),
        # PostgreSQL's own would be that of the staging table, for ever.
        name=Identifier(object_name("sync_assets", part.column)),
    )


def as_partition(
    part: PartitionOf | None, target: Relation | None, whole: Partitioned | None
) -> Relation | None:
    """The target, which knows by what table its columns are defined; raises SchemaConflict."""
    if part is None or target is None or whole is None or not is_joined(part, target.name, whole):
        return target
    return dataclasses.replace(target, partition_of=part.table)


def columns_of(
    table: Table, part: PartitionOf, layout: Layout, target: Relation | None
) -> tuple[Field, ...]:
    """The columns that the target will have, once it is made or altered."""
    there = [*layout.fields, Field(part.column, TEXT, None, not_null=True)]
    if target is not None:
        there = [*fields_of(target), *layout.added]
    ours = [Field(table.xmin_column, XID, None, not_null=False)]
    if layout.deleted_column:
        ours.append(Field(layout.deleted_column, TIME, None, not_null=False))
    return tuple({each.name: each for each in (*there, *ours)}.values())


def fields_of(target: Relation) -> tuple[Field, ...]:
    """The columns of a table that is there."""
    return tuple(Field(c.name, c.type, c.collation, c.not_null) for c in target.columns)


def is_joined(part: PartitionOf, target: RelationName, whole: Partitioned) -> bool:
    """Whether the target is its partition; raises SchemaConflict where it is that for another value."""
    bound = whole.bounds.get(target)
    if bound is not None and bound != part.bound:
        raise errors.SchemaConflict(
            f"{target} is the partition of {part.table} {bound}, not {part.bound}",
            remedy=f"Give it that value again; or take it out, to be joined anew: ALTER TABLE "
            f"{part.table.as_sql} DETACH PARTITION {target.as_sql}; "
            f"ALTER TABLE {target.as_sql} DROP COLUMN {quoted(part.column)};",
        )
    return bound is not None


def require_attached(target: RelationName, whole: Partitioned, *, alters: bool) -> None:
    """Refuse a partition that is half out, and columns that it could not be taken out with."""
    half_out = whole.detaching
    if half_out is not None and (alters or half_out == target):
        raise errors.SchemaConflict(
            f"{half_out} is being taken out of {whole.name} by DETACH … CONCURRENTLY, which waits or was"
            " broken off",
            remedy="Wait for it; or where it was broken off, end it: "
            f"ALTER TABLE {whole.name.as_sql} DETACH PARTITION {half_out.as_sql} FINALIZE;",
        )


def joining(
    part: PartitionOf, target: RelationName, columns: Sequence[Field], whole: Partitioned
) -> tuple[Alteration, ...]:
    """What makes a target with these columns a partition; nothing where it is.

    Raises SchemaConflict where the table of all sources cannot take it.
    """
    if target == part.table:
        raise errors.ConfigurationError(
            f"{target} is to be a partition of itself",
            remedy="Name another target, or leave it out: it is called after the value then.",
        )
    own = tuple(each for each in columns if each.name != part.column)
    if whole.relation is not None:
        _require_list(part, whole.relation, whole)
    joined = is_joined(part, target, whole)
    if not joined:
        _require_joinable(part, target, own, whole)
    if whole.relation is not None:
        _require_nullable(part, target, own, whole.relation)
    if not joined:
        return tuple(_joining(part, target, columns, whole))
    if whole.defaults.get(target) == part.default:
        return ()
    # Somebody else has made it.
    return (set_default(target, part.column, part.value),)


def require_takes_new(part: PartitionOf, whole: Partitioned) -> None:
    """Refuse before the first row what PostgreSQL would refuse of a new partition after the last.

    Raises SchemaConflict.
    """
    if whole.relation is None:
        return
    told = whole.relation.column(part.column)
    overlaps = (other for other, bound in whole.bounds.items() if part.is_within(bound))
    in_the_way = [
        *(f"its constraint {quoted(name)}" for name in whole.checks),
        *(
            f"its column {quoted(column.name)}, which it computes by itself"
            for column in whole.relation.columns
            if column.generated
        ),
        *(
            [f"the collation of its column {quoted(part.column)}"]
            if told and told.collation
            else []
        ),
        *(f"its partition {other.as_sql}, which takes {part.value!r}, too" for other in overlaps),
    ]
    if in_the_way:
        raise errors.SchemaConflict(
            f"{part.table} takes no new partition: in the way is {' and '.join(in_the_way)}",
            remedy="Drop or change that on the target. Or name another table in partition_of, to be"
            " created.",
        )


def _joining(
    part: PartitionOf, target: RelationName, columns: Sequence[Field], whole: Partitioned
) -> Iterator[Alteration]:
    name = identifiers.relation(target)
    own = [each for each in columns if each.name != part.column]
    if len(own) == len(columns):
        yield Alteration(
            SQL("ALTER TABLE {} ADD COLUMN {}").format(name, told_by(part)),
            f"add column {quoted(part.column)}, {part.value!r} in every row",
        )
    if whole.relation is None:
        yield from _creation(part, own, whole)
    else:
        there = {each.name: each for each in whole.relation.columns}
        for each in own:
            if each.name not in there:
                yield add_column(part.table, each.name, each.type, each.collation)
        mine = {each.name: each for each in own}
        for column in whole.relation.columns:
            here = mine.get(column.name)
            if here is None and column.name != part.column:
                yield add_column(target, column.name, column.type, column.collation)
            elif here is not None and not _is_alike(here, column):
                type_ = (column.type, column.collation)
                yield set_type(target, column.name, *type_, may_clear=False, narrows=None)
    yield Alteration(
        SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES IN ({})").format(
            identifiers.relation(part.table), name, Literal(part.value)
        ),
        f"make it the partition of {part.table} for {part.value!r}",
        joins=True,
    )


def _creation(
    part: PartitionOf, columns: Sequence[Field], whole: Partitioned
) -> Iterator[Alteration]:
    if not whole.schema_exists:
        schema = Identifier(part.table.schema)
        says = f"create schema {quoted(part.table.schema)}"
        yield Alteration(SQL("CREATE SCHEMA {}").format(schema), says)
    first = SQL("{} {} NOT NULL").format(Identifier(part.column), SQL(TEXT))
    others = (column_definition(each.name, each.type, each.collation) for each in columns)
    yield Alteration(
        SQL("CREATE TABLE {} ({}) PARTITION BY LIST ({})").format(
            identifiers.relation(part.table),
            SQL(", ").join([first, *others]),
            Identifier(part.column),
        ),
        f"create {part.table}, partitioned by {quoted(part.column)}",
    )


def _require_joinable(
    part: PartitionOf, target: RelationName, columns: Sequence[Field], whole: Partitioned
) -> None:
    """Raises SchemaConflict where PostgreSQL would refuse, once all rows are there, or we must."""
    relation = whole.relation
    if relation is None:
        return
    if part.value in whole.in_default:
        (default,) = (other for other, bound in whole.bounds.items() if bound == "DEFAULT")
        raise errors.SchemaConflict(
            f"{default}, the default partition of {part.table}, holds rows of {part.value!r}, which"
            f" {target} is to hold",
            remedy="Delete them; a run brings what the source has: "  # noqa: S608 - to be read
            f"DELETE FROM {default.as_sql} WHERE {quoted(part.column)} = {part.literal};",
        )
    for other, bound in whole.bounds.items():
        if bound == part.bound:
            raise errors.SchemaConflict(
                f"{other} is the partition of {part.table} {bound} already",
                remedy=f"Give {target} another value in partition_of.",
            )
    if relation.has_primary:
        raise errors.SchemaConflict(
            f"{part.table} has a primary key, which its partitions cannot have beside their own",
            remedy=f"Drop it; each partition's rows are told apart by its own: "
            f"{_primary_dropped(relation)}",
        )
    known = {each.name: each for each in columns}
    for column in relation.columns:
        mine = known.get(column.name)
        if mine and not holds(mine.type, column.type):
            raise errors.SchemaConflict(
                f"column {column.name!r} is {mine.type} in {target} and {column.type} in {part.table}, "
                "which all sources share and which may not hold every value",
                remedy=agreed(part.table, [(column.name, column.type, mine.type)]),
            )


def _require_nullable(
    part: PartitionOf, target: RelationName, columns: Sequence[Field], whole: Relation
) -> None:
    strict = {each.name for each in columns if each.not_null}
    for column in whole.columns:
        if column.not_null and column.name != part.column and column.name not in strict:
            raise errors.SchemaConflict(
                f"column {column.name!r} of {part.table} is NOT NULL, and in {target} it is not",
                remedy=f"Let it be NULL: ALTER TABLE {part.table.as_sql} ALTER COLUMN "
                f"{quoted(column.name)} DROP IDENTITY IF EXISTS, ALTER COLUMN {quoted(column.name)} DROP NOT NULL;",
            )


def _require_list(part: PartitionOf, relation: Relation, whole: Partitioned) -> None:
    column = relation.column(part.column)
    if not whole.by_list or relation.partitioned_by != (part.column,) or column is None:
        raise errors.SchemaConflict(
            f"{part.table} is there and not partitioned by a list of {quoted(part.column)}",
            remedy="Name another table in partition_of, to be created; or rename this one: "
            f"ALTER TABLE {part.table.as_sql} RENAME TO {quoted(object_name(part.table.name, 'old'))};",
        )
    if whole.above is not None:
        raise errors.SchemaConflict(
            f"{part.table} is itself a partition of {whole.above}, by which its columns are defined",
            remedy=f"Take it out: ALTER TABLE {whole.above.as_sql} DETACH PARTITION {part.table.as_sql};"
            " or name another table in partition_of, to be created.",
        )
    if column.type != TEXT:
        raise errors.SchemaConflict(
            f"column {part.column!r} of {part.table} is {column.type}, not {TEXT}",
            remedy="Name another table in partition_of, to be created.",
        )


def _primary_dropped(relation: Relation) -> str:
    constraint = next((key.constraint for key in relation.keys if key.primary), None)
    name = quoted(constraint or f"{relation.name.name}_pkey")
    return f"ALTER TABLE {relation.name.as_sql} DROP CONSTRAINT {name};"


def _is_alike(mine: Field, theirs: Column) -> bool:
    return (mine.type, mine.collation) == (theirs.type, theirs.collation)
