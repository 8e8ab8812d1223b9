"""Compare rows taken at random, by checksums that each server makes of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine import errors
from sync_assets.engine.compare.checksum import Rows
from sync_assets.engine.compare.sides import rows_of_source, rows_of_target
from sync_assets.engine.layout.keys import choose_key
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.equality import equality_of, given_keys, same_key
from sync_assets.engine.postgres.relation import Key
from sync_assets.engine.postgres.session import row, rows
from sync_assets.engine.snapshot.scope import values_of
from sync_assets.engine.table import Table
from sync_assets.engine.verify.ends import BothEnds, are_empty, on_both

SAMPLED_AT_LEAST = 1000
"""Rows that a sample has, at least, where the table has so many."""

SAMPLED_AT_MOST = 100_000
"""Rows that a sample has, at most."""

KEYS_AT_ONCE = 1000
NOTHING, ALL = SQL(""), SQL("true")
WHOLE_PAGES = 1000
"""A smaller table is sampled row by row: a share of its pages may be none."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows compared, and those of them that differ on the target or are missing there.

    `empty` says that neither end has a row, `unsettled` that what differs may have changed since
    the last sync, as their source tells no versions.
    """

    rows: int
    differing: int
    missing: int
    empty: bool = False
    unsettled: bool = False

    @property
    def tells(self) -> bool:
        """Whether anything was compared: two empty ends are the same, too."""
        return self.rows > 0 or self.empty


def sample_rows(
    source_url: DatabaseOrUrl, target_url: DatabaseOrUrl, table: Table, share: float
) -> Sample | None:
    """Compare rows taken at random from the source with the target; raises SyncError.

    Left out are rows that changed since the last sync. It finds what is wrong or missing on the
    target, not what is there besides. None where the rows have no key to find them by.
    """
    return on_both(source_url, target_url, table, lambda ends: _sampled(ends, share))


def _sampled(ends: BothEnds, share: float) -> Sample | None:
    key = choose_key(ends.table, ends.view.relation)
    if key is None:
        return None
    here = _on_both(ends, rows_of_source(ends.table, ends.view))
    there = rows_of_target(ends.table, here, ends.relation)
    sampled = rows(ends.source, _sample_of(ends, key, here, _chosen(ends, share)))
    # Of few rows in scope chance may take none.
    found = sampled or rows(
        ends.source, _sample_of(ends, key, here, _Chosen(SAMPLED_AT_LEAST, NOTHING, ALL))
    )
    differing = missing = 0
    for first in range(0, len(found), KEYS_AT_ONCE):
        part = found[first : first + KEYS_AT_ONCE]
        present, same = row(ends.target, _same_rows(ends, key, there, part))
        missing += len(part) - present
        differing += present - same
    empty = not found and are_empty(ends)
    return Sample(len(found), differing, missing, empty, ends.unsettled)


def _on_both(ends: BothEnds, here: Rows) -> Rows:
    """The rows by the columns that the target has: schema_drift tells of the others."""
    columns = tuple(each for each in here.columns if ends.relation.column(each[0]))
    return dataclasses.replace(here, columns=columns)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Which rows are taken: `most` of those that `method` and `condition` leave."""

    most: int
    method: Composable
    condition: Composable


def _chosen(ends: BothEnds, share: float) -> _Chosen:
    relation = ends.view.relation
    estimate = sum(max(leaf.estimated_rows, 0) for leaf in relation.leaves)
    share = max(share, min(1.0, SAMPLED_AT_LEAST / estimate if estimate else 1.0))
    if relation.kind not in "rmp":
        drawn = SQL("pg_catalog.random() OPERATOR(pg_catalog.<) {}").format(Literal(share))
        return _Chosen(SAMPLED_AT_MOST, NOTHING, drawn)
    method = "SYSTEM" if sum(leaf.pages for leaf in relation.leaves) > WHOLE_PAGES else "BERNOULLI"
    sampled = SQL(f" TABLESAMPLE {method} ({{}})").format(Literal(100 * share))
    return _Chosen(SAMPLED_AT_MOST, sampled, ALL)


def _sample_of(ends: BothEnds, key: Key, compared: Rows, chosen: _Chosen) -> Composable:
    """The key of each row as text, and what the whole row is compared by."""
    return SQL("SELECT {}, {} FROM {}{} WHERE {} AND {} AND {} LIMIT {}").format(
        SQL(", ").join(
            SQL("{}::pg_catalog.text").format(value)
            for value in values_of(ends.view.relation, key.columns)
        ),
        compared.image,
        ends.from_source,
        chosen.method,
        ends.already_synced,
        ends.in_scope,
        chosen.condition,
        Literal(chosen.most),
    )


def _same_rows(
    ends: BothEnds, key: Key, compared: Rows, part: Sequence[tuple[str, ...]]
) -> Composable:
    """How many of the keys given are there, and how many with the checksum given."""
    types = (*(_type(ends, column) for column in key.columns), "text")
    sampled, (*wanted, checksum) = given_keys(types, zip(*part, strict=True))
    operators = equality_of(ends.target, ends.relation, key)
    return SQL(
        "SELECT count(*), count(*) FILTER (WHERE {} = {}) FROM {} JOIN {} ON {} WHERE {}"
    ).format(
        compared.image,
        checksum,
        sampled,
        ends.from_target,
        same_key(map(Identifier, key.columns), operators, wanted),
        ends.live,
    )


def _type(ends: BothEnds, name: str) -> str:
    column = ends.relation.column(name)
    if column is None:
        raise errors.SchemaConflict(f"the target {ends.table.target} has no column {name}")
    return column.type
