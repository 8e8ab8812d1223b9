"""Which keys lie on which page of the source: what makes deletes exact without reading all keys.

The target keeps one row for each page of the source, with the keys of the rows on it. A page that
was written since is read again: keys that were on such pages, and are on none of them now, are
gone. No other row can have gone or moved, for that writes its page. A row for each page takes a
tenth of what a row for each key would (docs/changed-blocks.md).
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine.load import staging_statements
from sync_assets.engine.load.staging import Staging
from sync_assets.engine.merge import merge_statements
from sync_assets.engine.plan.plan import How, KeysByPage, Plan
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.relation import Key
from sync_assets.engine.postgres.session import Cursor, row
from sync_assets.engine.snapshot.pages import PageRange
from sync_assets.engine.state.state import drop_keys_by_page, keys_by_page_of

WHOLE = PageRange(0, None)


def reads_pages(plan: Plan) -> bool:
    """Whether any page was read, or lost with its leaf; else the map is what it was."""
    return any(_runs(plan))


def find_gone(cursor: Cursor, plan: Plan, key: Key, staging: Staging) -> Composable:
    """Fill a temporary table with the keys that are gone from the pages read; return its name."""
    pages, gone = _temporary(staging, "pages"), gone_of(staging)
    _list_pages(cursor, plan, pages)
    cursor.execute(
        SQL(
            "CREATE TEMP TABLE {gone} ON COMMIT DROP AS SELECT t.* FROM ({before}) AS t "
            "WHERE NOT EXISTS (SELECT FROM {now} AS s WHERE {joined})"
        ).format(
            gone=gone,
            before=_keys_before(plan, key, pages),
            now=staging.all_keys,
            joined=merge_statements.joined(key),
        )
    )
    cursor.execute(SQL("ANALYZE {}").format(gone))
    return gone


def gone_of(staging: Staging) -> Composable:
    """The name of the temporary table with the keys that are gone."""
    return _temporary(staging, "gone")


def renew(cursor: Cursor, plan: Plan, staging: Staging) -> None:
    """Bring the map to the run's snapshot, build it, or drop one that is no longer kept up."""
    name = identifiers.relation(keys_by_page_of(plan.table.target))
    if plan.keys.by_page is KeysByPage.USE and not reads_pages(plan):
        return
    if plan.keys.by_page is KeysByPage.USE:
        pages = _temporary(staging, "pages")
        cursor.execute(
            SQL("DELETE FROM {} AS m USING {} AS p WHERE {}").format(name, pages, SQL(_SAME_PAGE))
        )
        for leaf, first in _open_ends(plan):
            condition = SQL("leaf = {} AND page >= {}").format(Literal(leaf), Literal(first))
            cursor.execute(SQL("DELETE FROM {} WHERE {}").format(name, condition))
        cursor.execute(SQL("INSERT INTO {} {}").format(name, _grouped(plan, staging)))
    elif plan.keys.mapped or plan.keys.by_page is KeysByPage.BUILD:
        drop_keys_by_page(cursor, plan.table.target)
    if plan.keys.by_page is KeysByPage.BUILD and _may_create(cursor):
        cursor.execute(SQL("CREATE TABLE {} AS {}").format(name, _grouped(plan, staging)))
        cursor.execute(SQL("ALTER TABLE {} ADD PRIMARY KEY (leaf, page)").format(name))
        cursor.execute(SQL("ANALYZE {}").format(name))


def _may_create(cursor: Cursor) -> bool:
    """Whether this role may: somebody else may have made the schema, and the state's tables."""
    (allowed,) = row(cursor, "SELECT pg_catalog.has_schema_privilege('sync_assets', 'CREATE')")
    return bool(allowed)


_SAME_PAGE = "m.leaf = p.leaf AND m.page = p.page"


def _temporary(staging: Staging, what: str) -> Composable:
    return Identifier("pg_temp", f"{staging.name.name}_{what}")


def _runs(plan: Plan) -> Iterator[tuple[int, PageRange]]:
    """The pages whose keys were read, by leaf; all that a leaf ever had where it was read whole."""
    for read in plan.reads:
        if read.how is not How.CURSOR:
            for run in read.runs if read.how is How.BLOCKS else (WHOLE,):
                yield read.leaf.oid, run
    for leaf in plan.keys.gone_leaves:
        yield leaf, WHOLE


def _open_ends(plan: Plan) -> list[tuple[int, int]]:
    return [(leaf, run.first) for leaf, run in _runs(plan) if run.end is None]


def _list_pages(cursor: Cursor, plan: Plan, pages: Composable) -> None:
    """Fill a table with the single pages, so that the planner knows how few they are."""
    closed = [(leaf, run.first, run.end - 1) for leaf, run in _runs(plan) if run.end is not None]
    leaves, firsts, lasts = ([each[n] for each in closed] for n in range(3))
    cursor.execute(
        SQL(
            "CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT leaf, page FROM "
            "unnest({}::bigint[], {}::bigint[], {}::bigint[]) AS run (leaf, first, last) "
            "CROSS JOIN LATERAL generate_series(first, last) AS page"
        ).format(pages, Literal(leaves), Literal(firsts), Literal(lasts))
    )
    cursor.execute(SQL("ANALYZE {}").format(pages))


def _keys_before(plan: Plan, key: Key, pages: Composable) -> Composable:
    """The keys that the map has for the pages read."""
    name, arrays = identifiers.relation(keys_by_page_of(plan.table.target)), _arrays(plan)
    chosen = [
        SQL("SELECT m.* FROM {} AS m JOIN {} AS p ON {}").format(name, pages, SQL(_SAME_PAGE)),
        *(
            SQL("SELECT m.* FROM {} AS m WHERE leaf = {} AND page >= {}").format(
                name, Literal(leaf), Literal(first)
            )
            for leaf, first in _open_ends(plan)
        ),
    ]
    return SQL("SELECT k.* FROM ({}) AS m CROSS JOIN LATERAL unnest({}) AS k ({})").format(
        SQL(" UNION ALL ").join(chosen),
        identifiers.names(arrays, Identifier("m")),
        identifiers.names(key.columns),
    )


def _arrays(plan: Plan) -> tuple[str, ...]:
    return tuple(f"keys_{number}" for number, _ in enumerate(plan.layout.key_columns, 1))


def _grouped(plan: Plan, staging: Staging) -> Composable:
    aggregated = [
        SQL("array_agg({}) AS {}").format(Identifier(column), Identifier(array))
        for column, array in zip(plan.layout.key_columns, _arrays(plan), strict=True)
    ]
    return SQL(
        "SELECT {leaf} AS leaf, {page} AS page, {keys} FROM {staged} AS s GROUP BY {leaf}, {page}"
    ).format(
        leaf=Identifier(staging_statements.LEAF),
        page=Identifier(staging_statements.PAGE),
        keys=SQL(", ").join(aggregated),
        staged=staging.all_keys,
    )
