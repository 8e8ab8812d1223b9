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

from sync_assets.engine.plan.plan import KeysByPage, Plan
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.session import Connection, row, transaction

LEAST = 200_000
"""Rows of a table below which all keys are listed in any case."""


HASHING = 2e-6
"""Seconds that a row costs both servers more to be hashed than to be listed (`benchmarks/`)."""


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
    rows_ = estimated_rows(relation)
    if not plan.reads_all_keys or plan.keys.by_page is not KeysByPage.NONE or rows_ < LEAST:
        return plan
    width = key_width(plan)
    if width is None or not hash_alike(target, plan):
        return plan
    listed = rows_ * width / min(_received(source), _sent(target))
    later = listed > rows_ * HASHING
    return dataclasses.replace(plan, keys=dataclasses.replace(plan.keys, later=later))


def hash_alike(target: Connection, plan: Plan) -> bool:
    """Whether a plan's keys have the same text, and so the same hashes, at both ends."""
    relation = plan.view.relation
    if relation.through_parent or any(leaf.kind != "r" for leaf in relation.leaves):
        return False
    told = key_width(plan) is not None and not plan.layout.alterations
    return told and _same_types(target, plan)


def key_width(plan: Plan) -> int | None:
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


def estimated_rows(relation: Relation) -> float:
    """How many rows the catalog says a relation has.

    A leaf that was never analyzed counts as -1: it is not known to be large.
    """
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
