"""Compare rows taken at random, by checksums that each server makes of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine import errors
from sync_assets.engine.catalog import Column, Key
from sync_assets.engine.ends import Ends, on_both
from sync_assets.engine.schema import choose_key
from sync_assets.engine.scope import written
from sync_assets.engine.session import row, rows
from sync_assets.engine.table import Table

SAMPLED_AT_LEAST, SAMPLED_AT_MOST = 1000, 100_000
"""Rows."""

KEYS_AT_ONCE = 1000
WHOLE_PAGES = 1000
"""A smaller table is sampled row by row: a share of its pages may be none."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows compared, and those of them that differ on the target or are missing there."""

    rows: int
    differing: int
    missing: int


def sample_rows(source_url: str, target_url: str, table: Table, share: float) -> Sample:
    """Compare rows taken at random from the source with the target; raises SyncError.

    Left out are rows that changed since the last sync. It finds what is wrong or missing on the
    target, not what is there besides.
    """
    return on_both(source_url, target_url, table, lambda ends: _sampled(ends, share))


def _sampled(ends: Ends, share: float) -> Sample:
    key = choose_key(ends.table, ends.view.relation)
    if key is None:
        raise errors.UnusableKey(
            f"rows of {ends.table.source} cannot be sampled without a key",
            remedy="Compare all of them: content: {share: 1}.",
        )
    columns = [c for c in ends.view.relation.columns if ends.relation.column(c.name)]
    found = rows(ends.source, _sample_of(ends, key, columns, share))
    differing = missing = 0
    for first in range(0, len(found), KEYS_AT_ONCE):
        part = found[first : first + KEYS_AT_ONCE]
        there, same = row(ends.target, _same_rows(ends, key, columns, part))
        missing += len(part) - there
        differing += there - same
    return Sample(len(found), differing, missing)


def _sample_of(ends: Ends, key: Key, columns: Sequence[Column], share: float) -> Composable:
    """The key of each row as text, and a checksum of the row."""
    relation = ends.view.relation
    estimate = sum(max(leaf.estimated_rows, 0) for leaf in relation.leaves)
    share = max(share, min(1.0, SAMPLED_AT_LEAST / estimate if estimate else 1.0))
    method = "SYSTEM" if sum(leaf.pages for leaf in relation.leaves) > WHOLE_PAGES else "BERNOULLI"
    sampled = SQL(f" TABLESAMPLE {method} ({{}})").format(Literal(100 * share))
    chosen = SQL("pg_catalog.random() OPERATOR(pg_catalog.<) {}").format(Literal(share))
    stored = relation.kind in "rmp"
    return SQL("SELECT {}, {} FROM {}{} WHERE {} AND {} AND {} LIMIT {}").format(
        SQL(", ").join(SQL("{}::pg_catalog.text").format(Identifier(name)) for name in key.columns),
        _checksum([written(c.expression) if c.expression else Identifier(c.name) for c in columns]),
        ends.from_source,
        sampled if stored else SQL(""),
        ends.settled,
        ends.in_scope,
        SQL("true") if stored else chosen,
        Literal(SAMPLED_AT_MOST),
    )


def _checksum(values: Sequence[Composable]) -> Composable:
    """A checksum of a row's text, in which NULL differs from the empty string."""
    return SQL("pg_catalog.md5(ROW({})::pg_catalog.text)").format(SQL(", ").join(values))


def _same_rows(
    ends: Ends, key: Key, columns: Sequence[Column], part: Sequence[tuple[object, ...]]
) -> Composable:
    """How many of the keys given are there, and how many with the checksum given."""
    names = [Identifier("sampled", f"k{number}") for number in range(len(key.columns))]
    aliases = SQL(", ").join(Identifier(f"k{number}") for number in range(len(key.columns)))
    joins = [
        SQL("t.{} {} {}::{}").format(
            Identifier(column), SQL(operator), name, SQL(_type(ends, column))
        )
        for column, operator, name in zip(key.columns, key.operators, names, strict=True)
    ]
    checksum = _checksum([SQL("t.{}").format(Identifier(column.name)) for column in columns])
    return SQL(
        "SELECT count(*), count(*) FILTER (WHERE {} = sampled.checksum)"
        " FROM unnest({}) AS sampled ({}, checksum) JOIN {} AS t ON {} WHERE {}"
    ).format(
        checksum,
        # Not as parameters: a percent sign in a column's name would be taken for one.
        SQL(", ").join(
            SQL("{}::text[]").format(Literal(list(each))) for each in zip(*part, strict=True)
        ),
        aliases,
        ends.from_target,
        SQL(" AND ").join(joins),
        ends.live,
    )


def _type(ends: Ends, name: str) -> str:
    column = ends.relation.column(name)
    if column is None:
        raise errors.SchemaConflict(f"the target {ends.table.target} has no column {name}")
    return column.type
