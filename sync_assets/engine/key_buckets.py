"""Find the keys that may be gone by checksums of all keys, so that equal ranges ship none.

Both ends add up the hashes of their keys, bucket by bucket, on the run's own snapshot and with the
changed rows already staged; the source then lists the keys of the buckets that differ. That takes the
servers longer than to list all keys, and so is done where the way between them is the slower part:
which is tried out, with a little data, where a table is large enough to matter.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from functools import partial

from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine import merge_sql, sql
from sync_assets.engine.catalog import Key, Relation, read_relation
from sync_assets.engine.checksum import Buckets, Piece, Rows, digits_for, sums
from sync_assets.engine.load import Staging
from sync_assets.engine.plan import KeyBuckets, KeyMap, Plan
from sync_assets.engine.run import Run
from sync_assets.engine.scope import own_names, written
from sync_assets.engine.session import (
    PINNED,
    Connection,
    row,
    transaction,
)

LEAST = 200_000
"""Rows of a table below which all keys are listed in any case."""

ROWS_PER_BUCKET = 16
"""Times as many rows in a bucket as a comparison of whole rows would put there."""

HASHING = 2e-6
"""Seconds that a row costs both servers more to be hashed than to be listed (`benchmarks/`)."""

EVERYTHING = 1 << 62
"""Rows to list at once that no table has, so that buckets are not told in parts."""

PROBE = 256 << 10
"""Bytes that are sent to see how fast the way is, twice: the first time opens its windows."""

# Types whose text is the same on every version, under the pinned settings, and how long it is.
_WIDTHS = {
    r"smallint": 5,
    r"integer": 8,
    r"bigint": 10,
    r"uuid": 36,
    r"date": 10,
    r"text|(character varying|character)(\(\d+\))?": 20,
    r"numeric(\(\d+(,\d+)?\))?": 10,
}


def by_buckets(source: Connection, target: Connection, plan: Plan) -> Plan:
    """The plan, with its keys compared by buckets where that is possible and quicker."""
    relation = plan.view.relation
    rows_ = _estimate(relation)
    if not plan.reads_all_keys or plan.key_map is not KeyMap.NONE or rows_ < LEAST:
        return plan
    if relation.through_parent or any(leaf.kind != "r" for leaf in relation.leaves):
        return plan
    width = _key_width(plan)
    if width is None or plan.layout.alterations or not _same_types(target, plan):
        return plan
    listed = rows_ * width / min(_received(source), _sent(target))
    return dataclasses.replace(plan, keys_later=listed > rows_ * HASHING)


def _key_width(plan: Plan) -> int | None:
    """About how many bytes a key has as text; None where its text may differ between the ends."""
    widths = [
        next((width for name, width in _WIDTHS.items() if re.fullmatch(name, type_)), None)
        for type_ in _key_types(plan).values()
    ]
    known = [width + 1 for width in widths if width is not None]
    return sum(known) if known and len(known) == len(widths) else None


def _same_types(target: Connection, plan: Plan) -> bool:
    """Whether the target holds the key in the types of the source."""
    with transaction(target) as cursor:
        there = read_relation(cursor, plan.table.target)
    types = {column.name: column.type for column in there.columns} if there else {}
    return all(types.get(name) == type_ for name, type_ in _key_types(plan).items())


def _key_types(plan: Plan) -> dict[str, str]:
    """The types of the key's columns on the source."""
    types = {column.name: column.type for column in plan.view.relation.columns}
    return {name: types.get(name, "") for name in plan.layout.key_columns}


def _estimate(relation: Relation) -> float:
    # One that was never analyzed says -1, and is not known to be large.
    return sum(leaf.estimated_rows for leaf in relation.leaves)


def _received(source: Connection) -> float:
    """Bytes in a second from the source, inside its snapshot's transaction."""

    def receive() -> None:
        with source.cursor() as cursor:
            row(cursor, "SELECT pg_catalog.repeat('x', %s)", (PROBE,))

    return _rate(receive)


def _sent(target: Connection) -> float:
    """Bytes in a second to the target."""

    def send() -> None:
        with target.cursor() as cursor:
            row(cursor, "SELECT pg_catalog.length(%s)", ("x" * PROBE,))

    return _rate(send)


def _rate(move: Callable[[], None]) -> float:
    move()
    began = time.monotonic()
    move()
    return PROBE / max(time.monotonic() - began, 1e-6)


def compared(
    run: Run, plan: Plan, source: Connection, target: Connection, staging: Staging
) -> Plan:
    """The plan with the buckets that differ; `source` holds the snapshot, the rows are staged."""
    from sync_assets.engine.comparison import Comparison
    from sync_assets.engine.scan import End

    key = plan.layout.key
    if key is None:
        raise AssertionError(f"{plan.table.target} is compared by a key that it does not have")
    condition = None if plan.table.where is None else written(plan.table.where)
    own = own_names(plan.table, plan.view.relation, plan.view.types)
    rows_ = _keys(plan.view.relation, key, condition)
    reading = End("source", rows_, source, plan.view.snapshot.in_recovery, own)
    comparison = Comparison(run, plan.table, reading)
    buckets = Buckets(digits_for(_estimate(plan.view.relation) / ROWS_PER_BUCKET))
    run.report.begin("compare")
    with comparison.target_end() as end:
        comparison.sum_up((comparison.source, end), buckets)
    _add_new(target, plan, key, staging, buckets)
    run.report.spent("compare")
    found = _differing(buckets)
    reason = f"{plan.reason}; keys of {len(found)} of {16**buckets.digits:,} buckets"
    differing = KeyBuckets(found, buckets.rows[1])
    return dataclasses.replace(plan, key_buckets=differing, reason=reason)


def _keys(relation: Relation, key: Key, condition: Composable | None) -> Rows:
    """Rows of which the key is all that is looked at."""
    columns = tuple((name, Identifier(name)) for name in key.columns)
    return Rows(relation, columns, (), condition)


def _add_new(target: Connection, plan: Plan, key: Key, staging: Staging, buckets: Buckets) -> None:
    """Count the staged rows that the target does not have yet among its own."""
    from sync_assets.engine.scan import copy

    lacking = SQL("NOT EXISTS (SELECT FROM {} AS t WHERE {} AND {})").format(
        sql.relation(plan.table.target),
        merge_sql.joined(key, Identifier(staging.name.name)),
        merge_sql.live(plan),
    )
    rows_ = _keys(plan.view.relation, key, lacking)
    statement = sums(rows_, Piece(staging.name), buckets.digits)
    with transaction(target, *PINNED) as cursor:
        copy(cursor.connection, statement, partial(buckets.add, -1), Piece(staging.name), ())


def _differing(buckets: Buckets) -> tuple[str, ...]:
    """What the hashes in the buckets that differ begin with, in hexadecimal."""
    parts = buckets.differing(EVERYTHING)
    return tuple(f"{bucket:0{buckets.digits}x}" for part in parts for bucket in part)
