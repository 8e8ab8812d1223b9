"""Recognise a copy of the source that keeps its identity and has gone another way since.

A clone made by storage has the same system identifier, timeline and, sooner or later, a later WAL
position. What it cannot have is the rows written after it was cloned. So each run remembers the
rows with the newest xids that it saw, and the next one looks for them by their keys.
"""

from __future__ import annotations

import dataclasses

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine import errors
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.identifiers import relation
from sync_assets.engine.postgres.relation import Key
from sync_assets.engine.postgres.session import Cursor, rows
from sync_assets.engine.postgres.xid import widened
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.state.state import State, Witness

ENOUGH = 20
"""Fewer rows may well have been deleted, all of them, by somebody who cleans up."""


def missed(cursor: Cursor, plan: Plan, known: State) -> str | None:
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
    looked_for = tuple(Witness(each.xid, tuple(each.key[n] for n in places)) for each in samples)
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


def _were_replaced(view: SourceRelation, known: State) -> bool:
    """Whether rows may have come or gone with their partition or table."""
    now = {(leaf.oid, leaf.filenode) for leaf in view.relation.leaves}
    return now != {(leaf.oid, leaf.filenode) for leaf in known.leaves}


def _versions(view: SourceRelation, key: Key, samples: tuple[Witness, ...]) -> Composable:
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
