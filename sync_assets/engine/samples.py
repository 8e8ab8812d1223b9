"""Recognise a copy of the source that keeps its identity and has gone another way since.

A clone made by storage has the same system identifier, timeline and, sooner or later, a later WAL
position. What it cannot have is the rows written after it was cloned. So each run remembers the
rows with the newest xids that it saw, and the next one looks for them by their keys.
"""

from __future__ import annotations

import dataclasses

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine import errors
from sync_assets.engine.catalog import Key
from sync_assets.engine.plan import Plan
from sync_assets.engine.session import Cursor, rows
from sync_assets.engine.snapshot import SourceView
from sync_assets.engine.sql import relation
from sync_assets.engine.state import Known, Sample
from sync_assets.engine.xid import widened

KEPT = 100
ENOUGH = 20
"""Fewer rows may well have been deleted, all of them, by somebody who cleans up."""


_NEWEST = """
WITH floor AS MATERIALIZED (
  SELECT coalesce((SELECT {xmin} FROM {staging} TABLESAMPLE SYSTEM (1) WHERE {xmin} IS NOT NULL
                   ORDER BY 1 DESC OFFSET {kept} - 1 LIMIT 1), 0) AS xid
), above AS MATERIALIZED (
  SELECT {xmin} AS xid, ARRAY[{key}]::text[] AS key FROM {staging}
  WHERE {xmin} > (SELECT xid FROM floor) ORDER BY 1 DESC LIMIT {kept}
)
SELECT xid, key FROM above
UNION ALL
(SELECT {xmin}, ARRAY[{key}]::text[] FROM {staging}
 WHERE {xmin} = (SELECT xid FROM floor) AND (SELECT count(*) FROM above) < {kept} LIMIT {kept})
ORDER BY 1 DESC LIMIT {kept}
"""
"""The rows a sample's {kept} newest bound from below, so that few have to be sorted: whatever the
sample, so many there are. All rows may have the floor's xid, those of a bulk load."""


def newest(cursor: Cursor, plan: Plan, staging: Composable) -> tuple[Sample, ...]:
    """The staged rows with the newest xids, newest first; the settings must be pinned."""
    # By the types' own output: the owner of a type may have given it a cast that is his own code.
    key = [
        SQL("pg_catalog.format('%s', {})").format(Identifier(name))
        for name in plan.layout.key_columns
    ]
    statement = SQL(_NEWEST).format(
        xmin=Identifier(plan.table.xmin_column),
        key=SQL(", ").join(key),
        staging=staging,
        kept=SQL(str(KEPT)),
    )
    return tuple(Sample(xid, tuple(values)) for xid, values in rows(cursor, statement))


def kept(before: tuple[Sample, ...], now: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """What the state remembers after a run: the newest of both, each key once."""
    by_key = {sample.key: sample for sample in (*before, *now)}
    return tuple(sorted(by_key.values(), key=lambda sample: -sample.xid)[:KEPT])


def missed(cursor: Cursor, plan: Plan, known: Known) -> str | None:
    """The reason to read everything, if none of the remembered rows is there.

    Raises SourceIdentityChanged if one is there in a version from before the stored mark: every
    transaction below the mark had ended by then, so that version was replaced for good.
    """
    view, samples = plan.view, known.samples
    comparable = view.relation.has_versions and not _were_replaced(view, known)
    key = _source_key(plan)
    if key is None or not samples or not comparable:
        return None
    places = [plan.layout.key_columns.index(column) for column in key.columns]
    looked_for = tuple(Sample(each.xid, tuple(each.key[n] for n in places)) for each in samples)
    found = rows(cursor, _versions(view, key, looked_for))
    older = sum(now < then and now < known.watermark for then, now in found)
    if older:
        raise errors.SourceIdentityChanged(
            f"{older} of {len(samples)} rows of {view.relation.name} are older on the source than "
            "the last run saw them: it is a copy that went another way"
        )
    if not found and len(samples) >= ENOUGH:
        return f"full pass: none of the {len(samples)} newest rows is on the source"
    return None


def _source_key(plan: Plan) -> Key | None:
    """A key of the source among the target's columns, in the order that samples are kept in."""
    order = plan.layout.key_columns
    for key in plan.view.relation.keys:
        if set(key.columns) <= set(order):
            operators = dict(zip(key.columns, key.operators, strict=True))
            columns = tuple(column for column in order if column in operators)
            found = tuple(operators[column] for column in columns)
            return dataclasses.replace(key, columns=columns, operators=found)
    return None


def _were_replaced(view: SourceView, known: Known) -> bool:
    """Whether rows may have come or gone with their partition or table."""
    now = {(leaf.oid, leaf.filenode) for leaf in view.relation.leaves}
    return now != {(leaf.oid, leaf.filenode) for leaf in known.leaves}


def _versions(view: SourceView, key: Key, samples: tuple[Sample, ...]) -> Composable:
    types = {column.name: column.type for column in view.columns}
    names = [Identifier(f"key {number}") for number in range(len(key.columns))]
    joined = SQL(" AND ").join(
        SQL("t.{} {} s.{}::{}").format(Identifier(column), SQL(operator), name, SQL(types[column]))
        for column, operator, name in zip(key.columns, key.operators, names, strict=True)
    )
    # Literals and no parameters: a column's name may hold a percent sign.
    xids = SQL("{}::bigint[]").format(Literal([sample.xid for sample in samples]))
    values = zip(*(sample.key for sample in samples), strict=True)
    arrays = [xids, *(SQL("{}::text[]").format(Literal(list(each))) for each in values)]
    return SQL(
        "SELECT s.xid, {xid} FROM unnest({arrays}) AS s (xid, {names}) JOIN {source} AS t ON {joined}"
    ).format(
        xid=SQL(widened(view.snapshot.xmax, "t.xmin")),
        arrays=SQL(", ").join(arrays),
        names=SQL(", ").join(names),
        source=relation(view.relation.name),
        joined=joined,
    )
