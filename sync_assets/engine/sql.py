"""Statements that move rows, built from identifiers and numbers (pure).

What reads the source names everything by its schema, operators too: `where` and `expressions` are
in the same statement, and see the role's own search_path.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from psycopg2 import sql
from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine.alter import column_definition
from sync_assets.engine.catalog import Key
from sync_assets.engine.checksum import has_key_hash
from sync_assets.engine.plan import Chunk, How, KeyMap, Plan
from sync_assets.engine.schema import Field
from sync_assets.engine.scope import written
from sync_assets.engine.session import SCANNED
from sync_assets.engine.table import RelationName
from sync_assets.engine.xid import widened


def relation(name: RelationName) -> Composable:
    """A relation's qualified name."""
    return Identifier(name.schema, name.name)


def names(columns: Iterable[str], of: Composable | None = None) -> Composable:
    """A list of columns, each prefixed with `of` where given."""
    prefix = SQL("{}.").format(of) if of else SQL("")
    return SQL(", ").join(SQL("{}{}").format(prefix, Identifier(column)) for column in columns)


IN_SCOPE = "sync_assets.in_scope"
"""The staging table's flag for rows that pass the filter; a dot keeps it from being a column's."""


LEAF, PAGE = "sync_assets.leaf", "sync_assets.page"
"""Where a key was read: the leaf's oid on the source, and the page."""


def export_chunk(plan: Plan, chunk: Chunk) -> Composable:
    """COPY one chunk: rows followed by their 64-bit xid, or every row's key alone."""
    # One branch for each range: conditions joined by OR would become a scan of all pages.
    ranges: list[tuple[int | None, int | None]] = [(run.first, run.end) for run in chunk.runs]
    ranges = ranges or [(chunk.first, chunk.end)]
    branches = [_selected(plan, chunk, *pages) for pages in ranges]
    return SQL("COPY ({}) TO STDOUT (FORMAT {})").format(
        SQL(" UNION ALL ").join(branches), _format(plan, keys_only=chunk.keys_only)
    )


def reading(chunk: Chunk) -> tuple[str, ...]:
    """Settings under which a chunk of a large leaf is read through a ring."""
    scanned = chunk.leaf is not None and chunk.leaf.is_large
    if not scanned or chunk.runs or chunk.how not in (How.WHOLE, How.XID):
        return ()
    return SCANNED


def _format(plan: Plan, *, keys_only: bool) -> Composable:
    if plan.sends_binary(keys_only=keys_only):
        return SQL("binary")
    return SQL("csv, ENCODING {}").format(Literal(plan.encoding))


def _selected(plan: Plan, chunk: Chunk, first: int | None, end: int | None) -> Composable:
    conditions = [*_pages(first, end), *_wanted(plan, chunk), *_filter(plan, chunk)]
    return SQL("SELECT {columns} FROM {relation}{where}").format(
        columns=_exported(plan, chunk),
        relation=_read_from(plan, chunk),
        where=SQL(" WHERE {}").format(SQL(" AND ").join(conditions)) if conditions else SQL(""),
    )


def _read_from(plan: Plan, chunk: Chunk) -> Composable:
    if chunk.leaf is None:
        return relation(plan.view.relation.name)
    only = chunk.leaf.kind == "r" and plan.view.relation.has_versions
    return SQL("ONLY {}" if only else "{}").format(relation(chunk.leaf.name))


def _pages(first: int | None, end: int | None) -> Iterator[Composable]:
    if first is not None:
        yield SQL("ctid OPERATOR(pg_catalog.>=) {}").format(_first_of(first))
    if end is not None:
        yield SQL("ctid OPERATOR(pg_catalog.<) {}").format(_first_of(end))


def _wanted(plan: Plan, chunk: Chunk) -> Iterator[Composable]:
    """The condition that tells changed rows from those that are known."""
    if chunk.how is How.WHOLE:
        return
    by_xid = SQL(plan.window.quick_predicate())
    cursor = plan.cursor.predicate() if plan.cursor and plan.cursor.since is not None else None
    if chunk.how is How.CURSOR and cursor:
        # A row that the other statement reads by its xid must not come twice.
        other = SQL("{} AND NOT {}").format(cursor, by_xid) if plan.reads_by_xid else None
        name = Identifier(plan.table.cursor or "")
        yield other or SQL("({} OR {} IS NULL)").format(cursor, name)
    elif chunk.leaf is None:
        whole = [is_of(plan.whole)] if plan.whole else []
        yield SQL("({})").format(SQL(" OR ").join([*whole, by_xid, *([cursor] if cursor else [])]))
    else:
        yield by_xid


def _filter(plan: Plan, chunk: Chunk) -> Iterator[Composable]:
    if plan.table.where is not None and (chunk.keys_only or not plan.flags_scope):
        yield written(plan.table.where)
    if chunk.keys_only and plan.key_buckets is not None:
        key = [Identifier(name) for name in plan.layout.key_columns]
        yield has_key_hash(key, plan.key_buckets.prefixes)


def _exported(plan: Plan, chunk: Chunk) -> Composable:
    layout = plan.layout
    key = layout.key_columns
    if chunk.keys_only:
        return SQL(", ").join([names(key), *_place(plan, chunk)])
    versioned = plan.view.relation.has_versions and (chunk.leaf is None or chunk.leaf.kind == "r")
    xid = SQL(widened(plan.window.end) if versioned else "NULL")
    if not plan.flags_scope:
        return SQL(", ").join([*(value_of(field) for field in layout.fields), xid])
    passes = SQL("({} IS TRUE)").format(written(plan.table.where or "true"))
    # What is out of scope does not leave the source: only the key does, to say so.
    kept = (
        value_of(field)
        if field.name in key
        else SQL("CASE WHEN {} THEN {} END").format(passes, value_of(field))
        for field in layout.fields
    )
    return SQL(", ").join([*kept, xid, passes])


def _place(plan: Plan, chunk: Chunk) -> tuple[Composable, ...]:
    """What follows a key: where it lies, if all of that is kept, or the page of a changed row."""
    page = SQL("(ctid::pg_catalog.text::pg_catalog.point)[0]::bigint")
    if plan.key_map is not KeyMap.NONE and chunk.leaf is not None:
        return sql.Literal(chunk.leaf.oid), page
    if not plan.notes_pages:
        return ()
    if not chunk.notes:
        return (SQL("NULL"),)
    return (SQL("CASE WHEN {} THEN {} END").format(SQL(plan.window.quick_predicate()), page),)


def value_of(field: Field) -> Composable:
    """What is read on the source for a field: the column, or what is computed in its place."""
    return Identifier(field.name) if field.expression is None else written(field.expression)


def staged_columns(plan: Plan) -> tuple[str, ...]:
    """The staging table's columns, in the order in which a batch file has them."""
    flag = (IN_SCOPE,) if plan.flags_scope else ()
    return (*plan.layout.names, plan.table.xmin_column, *flag)


def staged_keys(plan: Plan) -> tuple[str, ...]:
    """The columns of the staging table for keys, in the order in which a batch file has them."""
    return (*plan.layout.key_columns, *_place_columns(plan))


def _place_columns(plan: Plan) -> tuple[str, ...]:
    if plan.key_map is not KeyMap.NONE:
        return (LEAF, PAGE)
    return (PAGE,) if plan.notes_pages else ()


def is_of(leaves: Iterable[int]) -> Composable:
    """The condition on the source's rows that they are of these leaves."""
    return SQL("tableoid OPERATOR(pg_catalog.=) ANY ({}::pg_catalog.oid[])").format(
        sql.Literal(list(leaves))
    )


def _first_of(page: int) -> Composable:
    return SQL("'({},0)'::pg_catalog.tid").format(sql.Literal(page))


def max_xmin(name: RelationName, end: int) -> Composable:
    """The highest 64-bit xid among a relation's visible rows, NULL where there are none."""
    return SQL("SELECT max({}) FROM {}").format(SQL(widened(end)), relation(name))


def staging_columns(plan: Plan) -> Composable:
    """Column definitions of the staging table: those of the target where it will become it."""
    layout = plan.layout
    definitions = [_definition(field, strict=layout.creates) for field in layout.fields]
    definitions.append(_ours(plan.table.xmin_column, "bigint"))
    if layout.creates and layout.deleted_column:
        definitions.append(_ours(layout.deleted_column, "timestamptz"))
    if plan.flags_scope:
        definitions.append(_ours(IN_SCOPE, "boolean"))
    return SQL(", ").join(definitions)


MOST_ROOM, LEAST_ROOM = 15, 5
"""Percent of a page that is left free for new versions of its rows."""


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


def create_temporary(plan: Plan, name: Composable) -> Composable:
    """CREATE TABLE for a staging table beside a target that is there."""
    return SQL("CREATE TEMP TABLE {} ({})").format(name, staging_columns(plan))


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
    found = [_definition(field, strict=False) for field in key_fields(plan)]
    return SQL(", ").join([*found, *place])


def key_fields(plan: Plan) -> tuple[Field, ...]:
    """The fields of the key, in its order."""
    fields = {field.name: field for field in plan.layout.fields}
    return tuple(fields[name] for name in plan.layout.key_columns)


def _ours(name: str, type_: str) -> Composable:
    return SQL("{} {}").format(Identifier(name), SQL(type_))


def _definition(field: Field, *, strict: bool) -> Composable:
    definition = column_definition(field.name, field.type, field.collation)
    return SQL("{}{}").format(definition, SQL(" NOT NULL" if strict and field.not_null else ""))


def load_batch(plan: Plan, staging: Composable, *, keys_only: bool) -> Composable:
    """COPY a batch into the staging table of the rows, or of the keys."""
    columns = staged_keys(plan) if keys_only else staged_columns(plan)
    return SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(
        staging, names(columns), _format(plan, keys_only=keys_only)
    )
