"""Statements that make tables on the target and fill them (pure)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from psycopg2 import sql
from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine.export.copy_statements import copy_format
from sync_assets.engine.layout.alteration import column_definition
from sync_assets.engine.layout.layout import Field
from sync_assets.engine.layout.our_columns import XID
from sync_assets.engine.layout.partition import told_by
from sync_assets.engine.names import RelationName, object_name
from sync_assets.engine.plan.plan import KeysByPage, Plan, key_fields
from sync_assets.engine.postgres.identifiers import names
from sync_assets.engine.postgres.relation import Key

IN_SCOPE = "sync_assets.in_scope"
"""The staging table's flag for rows that pass the filter; a dot keeps it from being a column's."""


LEAF = "sync_assets.leaf"
"""The column that says in which leaf of the source a key was read, by oid."""

PAGE = "sync_assets.page"
"""The column that says on which page of its leaf a key was read."""


def staged_columns(plan: Plan) -> tuple[str, ...]:
    """The staging table's columns, in the order in which a batch file has them."""
    flag = (IN_SCOPE,) if plan.flags_scope else ()
    return (*plan.layout.names, plan.table.xmin_column, *flag)


def staged_keys(plan: Plan) -> tuple[str, ...]:
    """The columns of the staging table for keys, in the order in which a batch file has them."""
    return (*plan.layout.key_columns, *_place_columns(plan))


def _place_columns(plan: Plan) -> tuple[str, ...]:
    if plan.keys.by_page is not KeysByPage.NONE:
        return (LEAF, PAGE)
    return (PAGE,) if plan.notes_pages else ()


def staging_columns(plan: Plan) -> Composable:
    """Column definitions of the staging table: those of the target where it will become it."""
    layout = plan.layout
    definitions = [
        SQL("{}{}").format(_definition(field), _not_null(plan.table.target, field))
        if layout.creates
        else _definition(field)
        for field in layout.fields
    ]
    definitions.append(_ours(plan.table.xmin_column, XID))
    if layout.creates and plan.table.partition_of:
        definitions.append(told_by(plan.table.partition_of))
    if layout.creates and layout.deleted_column:
        definitions.append(_ours(layout.deleted_column, "timestamptz"))
    if plan.flags_scope:
        definitions.append(_ours(IN_SCOPE, "boolean"))
    return SQL(", ").join(definitions)


MOST_ROOM = 15
"""Percent of a page that is left free, at most, for new versions of its rows."""

LEAST_ROOM = 5
"""Percent of a page that is left free, at least, for new versions of its rows."""


def create_table(plan: Plan, name: Composable) -> Composable:
    """CREATE TABLE for a target, or for the staging table that becomes it."""
    return SQL("CREATE TABLE {} ({}) WITH (fillfactor = {})").format(
        name, staging_columns(plan), sql.Literal(_fillfactor(plan))
    )


def add_key(key: Key, name: Composable, constraint: str) -> Composable:
    """What gives a table that we create its key."""
    return SQL("ALTER TABLE {} ADD CONSTRAINT {} {} ({})").format(
        name,
        Identifier(constraint),
        SQL("PRIMARY KEY" if key.primary else "UNIQUE"),
        names(key.columns),
    )


_BRIEFLY = SQL(
    "SET LOCAL default_statistics_target = 10; {}; SET LOCAL default_statistics_target TO DEFAULT"
)
"""What the planner has to know of staged rows is how many there are, and a little of their keys."""


def analyze_briefly(table: Composable, key: Key | None) -> Composable:
    """ANALYZE of staged rows, of the key's columns where they have one."""
    keys = SQL(" ({})").format(names(key.columns)) if key else SQL("")
    return _BRIEFLY.format(SQL("ANALYZE {}{}").format(table, keys))


def create_temporary(name: Composable, columns: Composable) -> Composable:
    """CREATE TABLE for a staging table beside a target that is there."""
    return SQL("CREATE TEMP TABLE {} ({})").format(name, columns)


def no_rows(columns: Composable) -> Composable:
    """What is read where a staging table with these columns has nothing to hold, and is not made."""
    # A function that returns records is the one that takes the columns as CREATE TABLE does.
    return SQL("(SELECT * FROM pg_catalog.json_to_recordset('[]') AS s ({}) WHERE false)").format(
        columns
    )


def few_rows(columns: Composable, rows: Sequence[Mapping[str, str]]) -> Composable:
    """What is read where so few rows are to be held that they go along in the statement."""
    return SQL("(SELECT * FROM pg_catalog.json_to_recordset({}) AS s ({}))").format(
        sql.Literal(json.dumps(rows, ensure_ascii=False)), columns
    )


def _fillfactor(plan: Plan) -> int:
    """How full a page gets: there is room for one more row, if it is not large.

    A row's new version then stays on its page, and no index has to learn of it: the manual,
    "Heap-Only Tuples". https://www.postgresql.org/docs/current/storage-hot.html
    """
    leaves = plan.view.relation.leaves
    pages, rows = sum(leaf.pages for leaf in leaves), sum(leaf.estimated_rows for leaf in leaves)
    room = math.ceil(110 * pages / rows) if rows > 0 else 0
    room = room if LEAST_ROOM < room <= MOST_ROOM else LEAST_ROOM
    return 100 - room


def key_columns(plan: Plan) -> Composable:
    """Column definitions of the staging table for keys, and for where they lie on the source."""
    place = [_ours(name, "bigint") for name in _place_columns(plan)]
    found = [_definition(field) for field in key_fields(plan)]
    return SQL(", ").join([*found, *place])


def _ours(name: str, type_: str) -> Composable:
    return SQL("{} {}").format(Identifier(name), SQL(type_))


def _definition(field: Field) -> Composable:
    return column_definition(field.name, field.type, field.collation)


def _not_null(target: RelationName, field: Field) -> Composable:
    """NOT NULL by the name that it has in a table of the target's name: from 18 on it is kept."""
    name = Identifier(object_name(target.name, field.name, "not_null"))
    return SQL(" CONSTRAINT {} NOT NULL").format(name) if field.not_null else SQL("")


def load_batch(plan: Plan, staging: Composable, *, keys_only: bool) -> Composable:
    """COPY a batch into the staging table of the rows, or of the keys."""
    columns = staged_keys(plan) if keys_only else staged_columns(plan)
    return SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(
        staging, names(columns), copy_format(plan, keys_only=keys_only)
    )
