"""Find the keys that may be gone by checksums of all keys."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine.compare.checksum import Buckets, Piece, Rows, digits_for, sums
from sync_assets.engine.context import Work
from sync_assets.engine.load.staging import Staging
from sync_assets.engine.merge import merge_statements
from sync_assets.engine.plan.key_buckets import estimated_rows
from sync_assets.engine.plan.plan import KeyBuckets, Plan
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.relation import Key, Relation
from sync_assets.engine.postgres.session import PINNED, Connection, row, transaction
from sync_assets.engine.snapshot.scope import own_names, under, values_of, written

ROWS_PER_BUCKET = 16
"""Keys are small: a bucket holds so many times the rows that it would hold of whole rows."""


EVERYTHING = 1 << 62
"""Rows to list at once that no table has, so that buckets are not told in parts."""


def differing_buckets(work: Work, plan: Plan, staging: Staging) -> KeyBuckets:
    """The buckets that keys may be gone from, once the rows that changed are staged.

    None of them where the rows of both ends, counted, say that no key is gone.
    """
    from sync_assets.engine.compare.comparison import Comparison
    from sync_assets.engine.compare.scan import End

    key = plan.layout.key
    if key is None:
        raise AssertionError(f"{plan.table.target} is compared by a key that it does not have")
    if plan.keys.in_target is not None:
        rows_in_source = _count_source(work, plan)
        if plan.keys.in_target + _count_lacking(work.target, plan, key, staging) == rows_in_source:
            return KeyBuckets((), rows_in_source, 1)
    condition = None if plan.table.where is None else written(plan.table.where)
    own = own_names(plan.table, plan.view.relation, plan.view.types)
    values = values_of(plan.view.relation, key.columns)
    rows_ = _keys(plan.view.relation, key, values, condition)
    alone = plan.view.snapshot.in_recovery
    reading = End("source", rows_, work.source, alone, own, masking=plan.table.masking_key)
    comparison = Comparison(work.run, plan.table, reading)
    buckets = Buckets(digits_for(estimated_rows(plan.view.relation) / ROWS_PER_BUCKET))
    work.run.report.begin("compare")
    with comparison.target_end() as end:
        comparison.sum_up((comparison.source, end), buckets)
    if staging.rows.made:
        _add_new(work.target, plan, key, staging, buckets)
    work.run.report.spent("compare")
    return KeyBuckets(_differing(buckets), buckets.rows[1], 16**buckets.digits)


def _count_source(work: Work, plan: Plan) -> int:
    """All rows in scope, under the run's snapshot."""
    table, relation = plan.table, plan.view.relation
    only = SQL("ONLY " if relation.kind == "r" else "")
    where = written(table.where) if table.where is not None else SQL("true")
    counted = SQL("SELECT pg_catalog.count(*) FROM {}{} WHERE {}").format(
        only, identifiers.relation(relation.name), where
    )
    with work.source.cursor() as cursor, under(cursor, own_names(table, relation, plan.view.types)):
        return int(row(cursor, counted)[0])


def _count_lacking(target: Connection, plan: Plan, key: Key, staging: Staging) -> int:
    """The staged rows that the target does not have yet."""
    if not staging.rows.made:
        return 0
    with transaction(target) as cursor:
        return int(row(cursor, merge_statements.count_lacking(plan, key, staging.identifier))[0])


def _keys(
    relation: Relation, key: Key, values: Iterable[Composable], condition: Composable | None
) -> Rows:
    """Rows of which the key, read as `values`, is all that is looked at."""
    columns = tuple(zip(key.columns, values, strict=True))
    return Rows(relation, columns, (), condition)


def _add_new(target: Connection, plan: Plan, key: Key, staging: Staging, buckets: Buckets) -> None:
    """Count the staged rows that the target does not have yet among its own."""
    from sync_assets.engine.compare.scan import copy

    lacking = SQL("NOT EXISTS (SELECT FROM {} AS t WHERE {} AND {})").format(
        identifiers.relation(plan.table.target),
        merge_statements.joined(key, Identifier(staging.name.name)),
        merge_statements.live(plan),
    )
    rows_ = _keys(plan.view.relation, key, map(Identifier, key.columns), lacking)
    statement = sums(rows_, Piece(staging.name), buckets.digits)
    with transaction(target, *PINNED) as cursor:
        copy(cursor.connection, statement, partial(buckets.add, -1), Piece(staging.name), ())


def _differing(buckets: Buckets) -> tuple[str, ...]:
    """What the hashes in the buckets that differ begin with, in hexadecimal."""
    parts = buckets.differing(EVERYTHING)
    return tuple(f"{bucket:0{buckets.digits}x}" for part in parts for bucket in part)
