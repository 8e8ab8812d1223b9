"""Statements that move rows, built from identifiers and numbers (pure).

What reads the source names everything by its schema, operators too: `where` and `expressions` are
in the same statement, and see the role's own search_path.
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg2 import sql
from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine.compare.checksum import has_key_hash
from sync_assets.engine.names import RelationName
from sync_assets.engine.plan.plan import Chunk, How, KeysByPage, Plan, Scan
from sync_assets.engine.postgres.identifiers import relation
from sync_assets.engine.postgres.session import SCANNED
from sync_assets.engine.postgres.xid import widened
from sync_assets.engine.snapshot.scope import between_pages, is_of, value_of, values_of, written

BEGAN = "sync_assets.scan_began"
"""The setting of a transaction in which a scan leaves the ctid of its first row."""

CAME_TO = "sync_assets.scan_came_to"
"""That of its last one."""


def export_chunk(plan: Plan, chunk: Chunk) -> Composable:
    """COPY one chunk: rows followed by their 64-bit xid, or every row's key alone."""
    # One branch for each range: conditions joined by OR would become a scan of all pages.
    ranges: list[tuple[int | None, int | None]] = [(run.first, run.end) for run in chunk.runs]
    ranges = ranges or [(chunk.first, chunk.end)]
    if chunk.scan is None:
        branches = [_selected(plan, chunk, *pages) for pages in ranges]
    else:
        branches = [_scanned(plan, chunk, chunk.scan)]
    return SQL("COPY ({}) TO STDOUT (FORMAT {})").format(
        SQL(" UNION ALL ").join(branches), copy_format(plan, keys_only=chunk.keys_only)
    )


def reading(plan: Plan, chunk: Chunk) -> tuple[str, ...]:
    """Settings under which a chunk of a large leaf is read through a ring; of a part an index tells."""
    scanned = chunk.leaf is not None and chunk.leaf.is_large
    if plan.part is not None and not chunk.keys_only:
        return ()
    if not scanned or chunk.runs or chunk.how not in (How.WHOLE, How.XID):
        return ()
    return SCANNED


def copy_format(plan: Plan, *, keys_only: bool) -> Composable:
    """The format of COPY, alike for writing a file and for reading it."""
    if plan.sends_binary(keys_only=keys_only):
        return SQL("binary")
    return SQL("csv, ENCODING {}").format(Literal(plan.format.encoding))


def _selected(plan: Plan, chunk: Chunk, first: int | None, end: int | None) -> Composable:
    conditions = [*between_pages(first, end), *_wanted(plan, chunk), *_filter(plan, chunk)]
    if chunk.after is not None:
        after = SQL("ctid OPERATOR(pg_catalog.>) {}::pg_catalog.tid").format(Literal(chunk.after))
        conditions.insert(0, after)
    return SQL("SELECT {columns} FROM {relation}{where}").format(
        columns=_exported(plan, chunk),
        relation=_read_from(plan, chunk),
        where=SQL(" WHERE {}").format(SQL(" AND ").join(conditions)) if conditions else SQL(""),
    )


def _scanned(plan: Plan, chunk: Chunk, scan: Scan) -> Composable:
    """Rows of the chunk's pages out of a scan that ends after so many, wherever it begins.

    It tells where its first row was, if it began in time, and the last one that came far enough. When
    it has, and goes round, it must not send again what lies at its begin.
    """
    row = SQL(" AND ").join(
        [*between_pages(chunk.first, chunk.end), *_wanted(plan, chunk), *_filter(plan, chunk)]
    )
    return SQL(
        "SELECT {columns} FROM (SELECT *, tableoid, xmin, ctid FROM {relation} LIMIT {rows}) AS scanned"
        # Each is looked at for what it tells, in this order, before it is for what is wanted.
        " WHERE CASE WHEN CASE WHEN {early} THEN pg_catalog.current_setting({came_to})"
        " OPERATOR(pg_catalog.=) '' AND (pg_catalog.current_setting({began}) OPERATOR(pg_catalog.<>) ''"
        " OR pg_catalog.set_config({began}, ctid::pg_catalog.text, true) OPERATOR(pg_catalog.<>) '')"
        " WHEN {far} THEN pg_catalog.set_config({came_to}, ctid::pg_catalog.text, true)"
        " OPERATOR(pg_catalog.<>) '' ELSE true END THEN {row} END"
    ).format(
        columns=_exported(plan, chunk),
        relation=_read_from(plan, chunk),
        rows=Literal(scan.rows),
        early=SQL(" AND ").join(between_pages(None, scan.begins_before)),
        far=SQL(" AND ").join(between_pages(scan.comes_past, None)),
        began=Literal(BEGAN),
        came_to=Literal(CAME_TO),
        row=row,
    )


def _read_from(plan: Plan, chunk: Chunk) -> Composable:
    if chunk.leaf is None:
        return relation(plan.view.relation.name)
    only = chunk.leaf.kind == "r" and plan.view.relation.has_versions
    return SQL("ONLY {}" if only else "{}").format(relation(chunk.leaf.name))


def _wanted(plan: Plan, chunk: Chunk) -> Iterator[Composable]:
    """The condition that tells changed rows from those that are known."""
    if chunk.how is How.WHOLE:
        return
    by_xid = SQL(plan.window.quick_predicate())
    if chunk.how is How.OLDER:
        yield SQL("NOT {}").format(by_xid)
        return
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
    if plan.part is not None and not chunk.keys_only:
        yield written(plan.table.rows or "true")
    if chunk.buckets is not None:
        yield has_key_hash(_key(plan), chunk.buckets.prefixes)


def _exported(plan: Plan, chunk: Chunk) -> Composable:
    layout = plan.layout
    key = layout.key_columns
    if chunk.keys_only:
        return SQL(", ").join([*_key(plan), *_place(plan, chunk)])
    versioned = plan.view.relation.has_versions and (chunk.leaf is None or chunk.leaf.kind == "r")
    xid = SQL(widened(plan.window.end) if versioned else "NULL")
    if not plan.flags_scope:
        return SQL(", ").join(
            [*(value_of(each.name, each.expression) for each in layout.fields), xid]
        )
    passes = SQL("({} IS TRUE)").format(written(plan.table.where or "true"))
    # What is out of scope does not leave the source: only the key does, to say so.
    values = ((each.name, value_of(each.name, each.expression)) for each in layout.fields)
    kept = (
        value if name in key else SQL("CASE WHEN {} THEN {} END").format(passes, value)
        for name, value in values
    )
    return SQL(", ").join([*kept, xid, passes])


def _key(plan: Plan) -> list[Composable]:
    return values_of(plan.view.relation, plan.layout.key_columns)


def _place(plan: Plan, chunk: Chunk) -> tuple[Composable, ...]:
    """What follows a key: where it lies, if all of that is kept, or the page of a changed row."""
    page = SQL("(ctid::pg_catalog.text::pg_catalog.point)[0]::bigint")
    if plan.keys.by_page is not KeysByPage.NONE and chunk.leaf is not None:
        return sql.Literal(chunk.leaf.oid), page
    if not plan.notes_pages:
        return ()
    if not chunk.notes:
        return (SQL("NULL"),)
    return (SQL("CASE WHEN {} THEN {} END").format(SQL(plan.window.quick_predicate()), page),)


def max_xmin(name: RelationName, end: int) -> Composable:
    """The highest 64-bit xid among a relation's visible rows, NULL where there are none."""
    return SQL("SELECT max({}) FROM {}").format(SQL(widened(end)), relation(name))
