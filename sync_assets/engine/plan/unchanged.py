"""Tell the tables in which nothing has changed by one question for all of them.

A table that is read by xid is read by a COPY of its own, which most of many tables answer with no
row. Where a few are small, asking all at once takes the time of one round trip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from psycopg2.sql import SQL, Composable, Literal

from sync_assets.engine.plan.plan import How, Plan
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.session import Cursor, rows
from sync_assets.engine.postgres.xid import XidWindow

SMALL = 16 << 20
"""Bytes of a table that is read twice, if it has changed, rather than by a statement of its own."""


SEVERAL = 2
"""So many tables are worth a question to a run, which reads one by itself just as soon."""


def without_unchanged(cursor: Cursor, plans: Sequence[Plan], least: int = SEVERAL) -> list[Plan]:
    """The plans, with an empty window where no row lies in it; `cursor` is on their snapshot.

    Fewer than `least` are not asked about.
    """
    asked = {place: plan for place, plan in enumerate(plans) if _can_be_asked(plan)}
    if len(asked) < max(least, 1):
        return list(plans)
    question = SQL(" UNION ALL ").join(_question(*each) for each in asked.items())
    changed = {place for (place,) in rows(cursor, question)}
    return [
        _nothing_in(plan) if place in asked and place not in changed else plan
        for place, plan in enumerate(plans)
    ]


def _can_be_asked(plan: Plan) -> bool:
    """Whether rows by their xid, of tables that are small, are all that is read."""
    leaves = plan.view.relation.leaves
    by_xid = not plan.full and all(read.how is How.XID for read in plan.reads)
    here = not plan.view.relation.through_parent and all(leaf.kind == "r" for leaf in leaves)
    small = sum(leaf.bytes for leaf in leaves) <= SMALL
    return by_xid and here and small and not plan.compares_keys and plan.finds_rows(How.XID)


def _question(place: int, plan: Plan) -> Composable:
    newer = SQL(plan.window.quick_predicate())
    any_newer = SQL(" OR ").join(
        SQL("EXISTS (SELECT FROM ONLY {} WHERE {})").format(identifiers.relation(leaf.name), newer)
        for leaf in plan.view.relation.leaves
    )
    return SQL("SELECT {} WHERE {}").format(Literal(place), any_newer)


def _nothing_in(plan: Plan) -> Plan:
    end = plan.window.end
    return dataclasses.replace(plan, window=XidWindow(end, end))
