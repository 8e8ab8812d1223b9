"""Whether rows that are in the way on the target are on the source all the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from psycopg2.sql import SQL, Composable

from sync_assets.engine.computed.masking import hand_over
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.equality import equality_of, given_keys, same_key
from sync_assets.engine.postgres.identifiers import relation
from sync_assets.engine.postgres.relation import Key
from sync_assets.engine.postgres.session import PINNED, Cursor, row, transaction
from sync_assets.engine.snapshot.scope import own_names, under, values_of, written


def still_there(sessions: Sessions, plan: Plan, key: Key, keys: Sequence[Sequence[str]]) -> int:
    """How many rows with these keys, each as text, the source has in scope now.

    Not under the run's snapshot, which may be gone: a row that went since is gone as well. In a
    session of its own, as it is seldom asked for.
    """
    view = plan.view
    names = own_names(plan.table, view.relation, view.types)
    with sessions.connected("source") as source, transaction(source, *PINNED) as cursor:
        hand_over(cursor, [plan.table.masking_key])
        statement = _count(cursor, plan, key, keys)
        with under(cursor, names):
            (count,) = row(cursor, statement)
    return int(count)


def _count(cursor: Cursor, plan: Plan, key: Key, keys: Sequence[Sequence[str]]) -> Composable:
    # The target's operators may be of another schema than the source's.
    operators = equality_of(cursor, plan.view.relation, dataclasses.replace(key, operators=()))
    types = {column.name: column.type for column in plan.view.relation.columns}
    columns = zip(*keys, strict=True)
    given, wanted = given_keys((types[name] for name in key.columns), columns)
    same = [same_key(values_of(plan.view.relation, key.columns), operators, wanted)]
    if plan.table.where is not None:
        same.append(SQL("{} IS TRUE").format(written(plan.table.where)))
    return SQL(
        "SELECT pg_catalog.count(*) FROM {} WHERE EXISTS (SELECT FROM {}{} WHERE {})"
    ).format(
        given,
        SQL("ONLY " if plan.table.only else ""),
        relation(plan.view.relation.name),
        SQL(" AND ").join(same),
    )
