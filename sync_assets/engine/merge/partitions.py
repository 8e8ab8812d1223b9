"""Make a target the partition of a table of many sources, whose other runs go on meanwhile.

Whoever reads that table locks it first and its partitions then; so does every run, and none waits for
another in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable

from psycopg2.sql import SQL

from sync_assets.engine.layout.partition import fields_of, joining
from sync_assets.engine.merge import alter
from sync_assets.engine.names import RelationName
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.lock import advisory_key
from sync_assets.engine.postgres.partitions import read_partitioned
from sync_assets.engine.postgres.session import Cursor, row
from sync_assets.engine.table import Table


def lock_wholes(cursor: Cursor, plans: Iterable[Plan]) -> None:
    """Lock the tables of many sources, before any of their partitions: for us alone where one alters it."""
    altered: dict[RelationName, bool] = {}
    for plan in plans:
        whole = plan.table.whole
        if whole is not None:
            altered[whole] = altered.get(whole, False) or plan.layout.alters
    for whole in sorted(altered):
        if altered[whole]:
            # It may have to be made, and there is nothing to lock yet.
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (advisory_key(whole),))
        mode = "ACCESS EXCLUSIVE" if altered[whole] else "ACCESS SHARE"
        if row(cursor, "SELECT to_regclass(%s) IS NOT NULL", (whole.as_sql,))[0]:
            statement = SQL(f"LOCK TABLE ONLY {{}} IN {mode} MODE")
            cursor.execute(statement.format(identifiers.relation(whole)))


def join(cursor: Cursor, table: Table) -> None:
    """Make the target a partition, by what both are now; raises SchemaConflict.

    The run of another source may have made or extended the table of all since the plan.
    """
    part, target = table.partition_of, read_relation(cursor, table.target)
    if part is None or target is None:
        return
    whole = read_partitioned(cursor, [part.table])[part.table]
    for alteration in joining(part, table.target, fields_of(target), whole):
        alter.apply(cursor, table.target, alteration)
