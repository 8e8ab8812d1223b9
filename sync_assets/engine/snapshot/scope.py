"""What of a source relation is in scope: its columns, the SQL computed in their place, the filter.

`where` and `expressions` are the operator's own SQL. It runs in a read-only transaction on the
source, and must be one expression; in the incremental modes it must also depend on nothing but the
row, or a row could change its place without changing its version.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import psycopg2
from psycopg2 import sql
from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine import errors
from sync_assets.engine.computed.expression import require_expression
from sync_assets.engine.computed.masking import keys_of, masked
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.catalog import formatted_types
from sync_assets.engine.postgres.relation import Column, Relation
from sync_assets.engine.postgres.session import CATALOG_NAMES, OWN_NAMES, Cursor
from sync_assets.engine.postgres.types import UserType, read_types
from sync_assets.engine.table import Table

INSUFFICIENT_PRIVILEGE = "42501"
COMPUTED = 0
"""The attribute number of a column that only an expression makes."""

CALLING = "vf"
"""Kinds of relations that somebody's functions run for when they are read."""

NAMES_OF_OBJECTS = frozenset(
    f"reg{kind}"
    for kind in [
        "class",
        "collation",
        "config",
        "dictionary",
        "oper",
        "operator",
        "proc",
        "procedure",
        "type",
    ]
)
"""Types whose text leaves out a schema that is in the search_path."""


def own_names(table: Table, relation: Relation, types: Iterable[UserType]) -> tuple[str, ...]:
    """What sets the search_path under which the source's rows are read, if not the pinned one.

    The operator's SQL, and the functions that a view calls, find their names where the role would,
    unless the text of a value that is read beside them depends on that: then they must name their
    schemas. What is ours in such a statement does so in any case.
    """
    if not any(computed(table)) and relation.kind not in CALLING:
        return ()
    columns = relation.columns
    parts = (part for each in types for part in (each.base, *(type_ for _, type_ in each.parts)))
    return () if shows_names((*(c.type for c in columns), *parts)) else (OWN_NAMES,)


def shows_names(types: Iterable[str | None]) -> bool:
    """Whether the text of a value of one of these types depends on the search_path."""
    return not NAMES_OF_OBJECTS.isdisjoint((text or "").rstrip("[]") for text in types)


@contextlib.contextmanager
def under(cursor: Cursor, names: Sequence[str]) -> Iterator[None]:
    """Read under the search_path that `names` set, and go back to the pinned one."""
    for setting in names:
        cursor.execute(setting)
    yield
    if names:
        cursor.execute(CATALOG_NAMES)


def written(text: str) -> Composable:
    """The operator's SQL, on lines of its own in parentheses."""
    return SQL("(\n{}\n)").format(SQL(text))


def value_of(name: str, expression: str | None) -> Composable:
    """What is read on the source for a column: itself, or what is computed in its place."""
    return Identifier(name) if expression is None else written(expression)


def values_of(relation: Relation, names: Iterable[str]) -> list[Composable]:
    """What is read for these columns of a relation in scope, or of a target, which computes none."""
    columns = {column.name: column for column in relation.columns}
    return [value_of(name, columns[name].expression) for name in names]


def scoped(cursor: Cursor, table: Table, relation: Relation) -> Relation:
    """The relation with only the columns that travel; raises ConfigurationError.

    The type of an expression is what the source says it is; a masked column is text.
    """
    _require_columns(table, relation)
    for place, text in texts(table):
        require_expression(text, place)
    travelling = [column for column in relation.columns if travels(table, column.name)]
    made = _computed_columns(cursor, table, relation, travelling)
    columns = [
        dataclasses.replace(made.pop(column.name, column), number=column.number)
        for column in travelling
    ]
    columns += made.values()
    chosen = dict(table.mask)
    columns = masked(cursor, table.source, columns, chosen, table.masking_key)
    keys = keys_of(relation, {column.name for column in columns}, chosen)
    return dataclasses.replace(relation, columns=tuple(columns), keys=keys)


def travels(table: Table, name: str) -> bool:
    """Whether a column of the source has its like on the target."""
    return name not in table.exclude and (table.columns is None or name in table.columns)


def _require_columns(table: Table, relation: Relation) -> None:
    has = [column.name for column in relation.columns]
    named = {
        "columns": table.columns or (),
        "exclude": table.exclude,
        "mask": [name for name, _ in table.mask],
    }
    for option, names in named.items():
        for name in names:
            if name not in has:
                raise errors.ConfigurationError(
                    f"{option} names {name!r}, which {table.source} does not have",
                    remedy=f"Its columns are {', '.join(has)}.",
                )
    in_key = {name for key in relation.keys[:1] for name in key.columns} | {*(table.key or ())}
    for name, _ in table.expressions:
        if name in in_key:
            raise errors.ConfigurationError(
                f"the expression for {name!r} would change the key of {table.source}",
                remedy="Leave the key as it is, or name another key: key: …",
            )
        if name in has and not travels(table, name):
            raise errors.ConfigurationError(
                f"{name!r} has an expression and is left out by columns or exclude",
                remedy="Keep one of the two.",
            )
    in_key = {*table.key} if table.key else {n for key in relation.keys[:1] for n in key.columns}
    for name, mask in table.mask:
        if name in in_key and not mask.keeps_apart:
            raise errors.ConfigurationError(
                f"the mask {mask} of {name!r} would make rows alike that the key of {table.source}"
                " tells apart",
                remedy=f"Mask it by hmac, mask: {{{name}: hmac}}, or name another key: key: …",
            )


def texts(table: Table) -> Iterator[tuple[str, str]]:
    """The operator's SQL, each piece after what it is called."""
    if table.where is not None:
        yield "where", table.where
    for name, text in table.expressions:
        yield f"the expression for {name!r}", text


def computed(table: Table) -> Iterator[str]:
    """All SQL that a run has the source compute: the table's own, and what was asked of the run."""
    yield from (text for _, text in texts(table))
    if table.rows is not None:
        yield table.rows


def condition(table: Table) -> Composable:
    """The condition on the rows that a run reads."""
    wanted = [written(text) for text in (table.where, table.rows) if text is not None]
    return SQL(" AND ").join(wanted) if wanted else SQL("true")


def _computed_columns(
    cursor: Cursor, table: Table, relation: Relation, travelling: Iterable[Column]
) -> dict[str, Column]:
    """What the source makes of the expressions and the filter, without reading a row."""
    if not any(computed(table)):
        return {}
    replaced = {name for name, _ in table.expressions}
    kept = [column for column in travelling if column.name not in replaced]
    names = _own_names(cursor, table, relation, kept)
    found = _computed(cursor, table, names)
    if names and not _own_names(cursor, table, relation, found.values()):
        found = _computed(cursor, table, ())
    return found


def _own_names(
    cursor: Cursor, table: Table, relation: Relation, columns: Iterable[Column]
) -> tuple[str, ...]:
    chosen = dataclasses.replace(relation, columns=tuple(columns))
    types = read_types(cursor, (column.type_oid for column in chosen.columns))
    return own_names(table, chosen, types)


def _computed(cursor: Cursor, table: Table, names: Sequence[str]) -> dict[str, Column]:
    chosen = [written(text) for _, text in table.expressions] or [SQL("1")]
    statement = SQL("SELECT {} FROM {} WHERE {} LIMIT 0").format(
        SQL(", ").join(chosen),
        identifiers.relation(table.source),
        condition(table),
    )
    problem = None
    cursor.execute("; ".join(("SAVEPOINT scope", *names)))
    try:
        cursor.execute(statement)
        oids = [column.type_code for column in cursor.description or ()]
    except psycopg2.Error as error:
        if not is_about_the_text(error):
            raise
        problem = error.diag.message_primary
    cursor.execute("ROLLBACK TO scope; RELEASE scope")
    if problem is not None:
        asked = "the rows asked for, " if table.rows is not None else ""
        raise errors.ConfigurationError(
            f"the source {table.source} refuses {asked}its filter or an expression: {problem}",
            remedy=f"Correct {'rows, ' if asked else ''}where or expressions; they are SQL over the"
            " source's own columns."
            + (
                " Beside values of types like regclass they name the schemas of functions."
                * (not names)
            ),
        )
    types = formatted_types(cursor, oids)
    return {
        name: Column(
            number=COMPUTED,
            name=name,
            type=types[oid],
            type_oid=oid,
            not_null=False,
            collation=None,
            generated=False,
            identity_always=False,
            expression=text,
        )
        for (name, text), oid in zip(table.expressions, oids, strict=False)
    }


def is_about_the_text(error: psycopg2.Error) -> bool:
    """Whether the SQL that was given is to blame, not a right or the server."""
    code = error.pgcode or ""
    return code[:2] in ("42", "22", "0A") and code != INSUFFICIENT_PRIVILEGE


def is_of(leaves: Iterable[int]) -> Composable:
    """The condition on the source's rows that they are of these leaves."""
    return SQL("tableoid OPERATOR(pg_catalog.=) ANY ({}::pg_catalog.oid[])").format(
        sql.Literal(list(leaves))
    )


def between_pages(first: int | None, end: int | None) -> Iterator[Composable]:
    """The conditions on `ctid` for the pages from `first` on, and before `end`."""
    for operator, page in ((">=", first), ("<", end)):
        if page is not None:
            text = f"ctid OPERATOR(pg_catalog.{operator}) '({{}},0)'::pg_catalog.tid"
            yield SQL(text).format(sql.Literal(page))
