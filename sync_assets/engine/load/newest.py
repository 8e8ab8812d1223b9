"""The newest of the staged rows: what the state remembers a source by."""

from __future__ import annotations

from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.session import Cursor, rows
from sync_assets.engine.state.state import KEPT, Witness

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
"""Finds the {kept} newest rows without sorting all: a sample gives a lower bound of their xid, and only
the rows above it are sorted. The rest is filled up with rows of that very xid, which a bulk load gives
to every row."""


def newest(cursor: Cursor, plan: Plan, staging: Composable) -> tuple[Witness, ...]:
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
    return tuple(map(Witness._make, rows(cursor, statement)))
