"""What a run will do to the table of a history, told before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from psycopg2.sql import Composable

from sync_assets.engine.history import shape
from sync_assets.engine.layout.alteration import Alteration
from sync_assets.engine.layout.layout import Field
from sync_assets.engine.layout.our_columns import XID
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.catalog import read_relations
from sync_assets.engine.postgres.relation import Column, Relation
from sync_assets.engine.postgres.session import Cursor


def planned(cursor: Cursor, plan: Plan) -> Iterator[Composable | Alteration]:
    """The changes of a history's table, in order, that the next run makes; raises SchemaConflict.

    But for its indexes where the key is another one.
    """
    name, key = plan.table.history_table, plan.layout.key
    if name is None or key is None:
        return
    target = plan.table.target
    found = read_relations(cursor, [name, target])
    kept = shape.kept_columns(plan, target, _columns_after(plan, found.get(target)))
    there = found.get(name)
    if there is None:
        yield from shape.creation(name, target, kept)
        yield from shape.indexes(name, key)
        return
    for change, _ in shape.following(plan, there, kept):
        yield change


def _columns_after(plan: Plan, there: Relation | None) -> list[Column]:
    """The columns that the target will have, as far as a history has them, too."""
    columns = {column.name: column for column in there.columns} if there else {}
    renames = dict(each.renames for each in plan.layout.alterations if each.renames)
    now = {renames.get(name, name): column for name, column in columns.items()}
    ours = Field(plan.table.xmin_column, XID, None, not_null=False)
    for field in (*plan.layout.fields, ours):
        before = now.get(field.name) or _NEW
        now[field.name] = dataclasses.replace(before, type=field.type, collation=field.collation)
    return [dataclasses.replace(column, name=name) for name, column in now.items()]


_NEW = Column(0, "", "", 0, not_null=False, collation=None, generated=False, identity_always=False)
