"""Recognise a copy of the source that keeps its identity and has gone another way since.

A clone made by storage has the same system identifier, timeline and, sooner or later, a later WAL
position. What it cannot have is the rows written after it was cloned. So each run remembers the
rows with the newest xids that it saw, and the next one looks for them by their keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine import errors
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.equality import given_keys, same_key
from sync_assets.engine.postgres.identifiers import relation
from sync_assets.engine.postgres.relation import Key
from sync_assets.engine.postgres.session import Cursor, rows
from sync_assets.engine.postgres.xid import widened
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.state.state import State

ENOUGH = 20
"""Fewer rows may well have been deleted, all of them, by somebody who cleans up."""


@dataclass(frozen=True, slots=True)
class _Search:
    """Rows that a run has left behind as witnesses, by a key that the source has.

    `places` are where the values of its columns stand in the keys that were left.
    """

    plan: Plan
    known: State
    key: Key
    places: tuple[int, ...]

    def told(self, found: int, older: int) -> str | None:
        """The reason to read everything, from how many witnesses are there, and in older versions."""
        many, name = len(self.known.samples), self.plan.view.relation.name
        if older and not self.plan.table.accept_source:
            raise errors.SourceIdentityChanged(
                f"{older} of {many} rows of {name} are older on the source than "
                "the last run saw them: it is a copy that went another way"
            )
        if older:
            return "full pass: another source was accepted"
        if not found and many >= ENOUGH:
            return f"full pass: none of the {many} newest rows is on the source"
        return None


def missed(cursor: Cursor, plans: Sequence[tuple[Plan, State | None]]) -> dict[int, str]:
    """The reasons to read everything where none of the rows remembered is there, by place in `plans`.

    Raises SourceIdentityChanged if one is there in a version from before the stored mark, unless
    that was accepted: every transaction below the mark had ended by then, so that version was
    replaced for good.
    """
    searches = {place: _search(*each) for place, each in enumerate(plans)}
    chosen = {place: search for place, search in searches.items() if search is not None}
    if not chosen:
        return {}
    # One statement for all tables: each is a round trip.
    statement = SQL(" UNION ALL ").join(_counts(*each) for each in chosen.items())
    reasons = {place: chosen[place].told(*found) for place, *found in rows(cursor, statement)}
    return {place: reason for place, reason in reasons.items() if reason is not None}


def _search(plan: Plan, known: State | None) -> _Search | None:
    if known is None or plan.full or not known.samples:
        return None
    view, key = plan.view, _source_key(plan)
    if key is None or not view.relation.has_versions or _were_replaced(view, known):
        return None
    places = tuple(plan.layout.key_columns.index(column) for column in key.columns)
    return _Search(plan, known, key, places)


def _source_key(plan: Plan) -> Key | None:
    """A key of the source among the target's columns, in the order that samples are kept in.

    Not a masked one: the source has no index by which to find its masked values.
    """
    order = plan.layout.key_columns
    plain = {column.name for column in plan.view.relation.columns if column.expression is None}
    for key in plan.view.relation.keys:
        if set(key.columns) <= plain.intersection(order):
            operators = dict(zip(key.columns, key.operators, strict=True))
            columns = tuple(column for column in order if column in operators)
            found = tuple(operators[column] for column in columns)
            return dataclasses.replace(key, columns=columns, operators=found)
    return None


def _were_replaced(view: SourceRelation, known: State) -> bool:
    """Whether rows may have come or gone with their partition or table."""
    now = {(leaf.oid, leaf.filenode) for leaf in view.relation.leaves}
    return now != {(leaf.oid, leaf.filenode) for leaf in known.leaves}


def _counts(place: int, search: _Search) -> Composable:
    """How many of the rows are there, and how many in a version from before the stored mark."""
    view, key = search.plan.view, search.key
    xids, keys = zip(*search.known.samples, strict=True)
    values = tuple(zip(*keys, strict=True))
    types = {column.name: column.type for column in view.columns}
    given, (then, *wanted) = given_keys(
        ("bigint", *(types[column] for column in key.columns)),
        (map(str, xids), *(values[place] for place in search.places)),
    )
    return SQL(
        "SELECT {}, pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE "
        "{now} OPERATOR(pg_catalog.<) LEAST({then}, {mark}::bigint)) FROM {} JOIN {} AS t ON {}"
    ).format(
        Literal(place),
        given,
        relation(view.relation.name),
        same_key(map(Identifier, key.columns), key.operators, wanted),
        now=SQL(widened(view.snapshot.xmax, "t.xmin")),
        then=then,
        mark=Literal(search.known.watermark),
    )
