"""Batch files into a staging table on the target.

For a target that exists the staging table is temporary. For a first load it is an ordinary table
in the target's own schema, which the publishing transaction renames into the target, so that each
row is written once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine import errors
from sync_assets.engine.export.batches import BUFFER, Batch, Exported
from sync_assets.engine.layout.layout import object_name
from sync_assets.engine.load import staging_statements
from sync_assets.engine.load.immutable import require_immutable
from sync_assets.engine.load.types import distinct, following
from sync_assets.engine.names import RelationName
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.catalog import Schemas
from sync_assets.engine.postgres.lock import lock_ddl
from sync_assets.engine.postgres.session import (
    PINNED,
    UNFLUSHED,
    Connection,
    Cursor,
    row,
    rows,
    transaction,
)
from sync_assets.engine.postgres.types import missing_types
from sync_assets.engine.snapshot.scope import own_names
from sync_assets.engine.state.state import KEPT, Witness
from sync_assets.engine.table import SyncMode


@dataclass(frozen=True, slots=True)
class Staging:
    """The table that holds a run's rows before they are published.

    `keys` is a second one with the keys of the source, where the rows are not all of them.
    """

    name: RelationName
    temporary: bool
    keys: RelationName | None = None

    @property
    def identifier(self) -> Composable:
        """Its name in SQL."""
        return identifiers.relation(self.name)

    @property
    def all_keys(self) -> Composable:
        """The name in SQL of the table that holds every key of the source."""
        return identifiers.relation(self.keys or self.name)


def staging_for(plan: Plan) -> Staging:
    """The staging table of a plan."""
    temporary = not plan.layout.creates
    name = _staging_name(plan.table.target, temporary=temporary)
    keys = RelationName(name.schema, f"{name.name}_keys") if plan.compares_keys else None
    return Staging(name, temporary, keys)


def _staging_name(target: RelationName, *, temporary: bool) -> RelationName:
    """Named after the target, so that the next run finds what a killed one left."""
    text = f"{target.schema}\0{target.name}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    schema = "pg_temp" if temporary else target.schema
    return RelationName(schema, f"sync_assets_staging_{digest}")


def create_staging(connection: Connection, plan: Plan) -> Staging:
    """Create the staging table, and the types it needs; drop what a killed first load has left.

    Needs the target's lock.
    Raises SchemaConflict, PrivilegeError, or ConfigurationError for a filter or an expression
    that an incremental mode cannot follow.
    """
    target, layout = plan.table.target, plan.layout
    staging = staging_for(plan)
    with transaction(connection, UNFLUSHED) as cursor:
        if not plan.table.dry_run:
            left = identifiers.relation(_staging_name(target, temporary=False))
            quiet = SQL("SET LOCAL client_min_messages = warning; DROP TABLE IF EXISTS {}")
            cursor.execute(quiet.format(left))
        if layout.creates or plan.view.types or plan.view.probe_types:
            lock_ddl(cursor)
        if plan.table.mode is not SyncMode.FULL_SYNC:
            view = plan.view
            own = own_names(plan.table, view.relation, view.types) != ()
            require_immutable(cursor, plan.table, view.columns, view.probe_types, own_names=own)
        if not plan.loads:
            return staging
        if plan.table.dry_run:
            _require_types(cursor, plan)
        for statement in () if plan.table.dry_run else preparations(cursor, plan):
            cursor.execute(statement)
        create = (
            staging_statements.create_temporary
            if staging.temporary
            else staging_statements.create_table
        )
        cursor.execute(create(plan, staging.identifier))
        if staging.keys:
            cursor.execute(
                SQL("CREATE TEMP TABLE {} ({})").format(
                    staging.all_keys, staging_statements.key_columns(plan)
                )
            )
    return staging


def preparations(cursor: Cursor, plan: Plan) -> list[Composable]:
    """What gives the target the schema and the types that a table needs; reads its catalog alone.

    Raises SchemaConflict or UnsupportedRelation.
    """
    layout = plan.layout
    _require_collations(cursor, (field.collation for field in layout.fields))
    schema = Schemas(cursor).needed(plan.table.target.schema) if layout.creates else []
    types = following(cursor, layout.known_types, plan.view.types) if plan.view.types else []
    return distinct([*schema, *types])


def _require_collations(cursor: Cursor, names: Iterable[str | None]) -> None:
    """See that the target has these collations, written as SQL; raises SchemaConflict."""
    wanted = sorted({each for each in names if each})
    if not wanted:
        return
    missing = rows(
        cursor,
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regcollation(name) IS NULL",
        (wanted,),
    )
    if missing:
        raise errors.SchemaConflict(
            f"the target has no collation {', '.join(found for (found,) in missing)}",
            remedy="Make it on the target as it is on the source, where psql's \\dO+ shows it.",
        )


def _require_types(cursor: Cursor, plan: Plan) -> None:
    _require_collations(cursor, (field.collation for field in plan.layout.fields))
    missing = missing_types(cursor, plan.view.types)
    if missing:
        raise errors.ConfigurationError(
            f"a dry run does not create the type {missing[0].schema}.{missing[0].name}, "
            "which the target lacks",
            remedy="See what would be done with: sync-assets plan.",
        )


def load_batch(connection: Connection, staging: Staging, plan: Plan, batch: Batch) -> None:
    """COPY one batch file into the staging table, or its keys into theirs."""
    into = staging.all_keys if batch.keys_only else staging.identifier
    statement = staging_statements.load_batch(plan, into, keys_only=batch.keys_only)
    with (
        transaction(connection, UNFLUSHED, *PINNED) as cursor,
        batch.path.open("rb", buffering=BUFFER) as file,
    ):
        cursor.copy_expert(statement, file, BUFFER)
        if cursor.rowcount != batch.rows:
            raise errors.DatabaseError(
                f"{batch.rows} rows were exported to a batch file and {cursor.rowcount} loaded"
            )


_BRIEFLY = SQL("SET LOCAL default_statistics_target = 10")
"""What the planner has to know of staged rows is how many there are, and a little of their keys."""


def finish(
    connection: Connection, staging: Staging, plan: Plan, done: Exported
) -> tuple[Witness, ...]:
    """Give a first load its key, let the planner know the rows; return the newest of them."""
    if not plan.loads or (staging.temporary and not done.rows + done.keys):
        return ()
    with transaction(connection, UNFLUSHED, *PINNED) as cursor:
        key = plan.layout.key
        if key and not staging.temporary:
            name = constraint_name(staging.name.name)
            cursor.execute(staging_statements.add_key(key, staging.identifier, name))
        if staging.temporary:
            keys = SQL(" ({})").format(identifiers.names(key.columns)) if key else SQL("")
            cursor.execute(SQL("{}; ANALYZE {}{}").format(_BRIEFLY, staging.identifier, keys))
        elif not _analyzes_itself(cursor):
            cursor.execute(SQL("ANALYZE {}").format(staging.identifier))
        if staging.keys:
            cursor.execute(SQL("ANALYZE {}").format(staging.all_keys))
        return newest(cursor, plan, staging.identifier)


def _analyzes_itself(cursor: Cursor) -> bool:
    """Whether autovacuum will analyze a new table, so that a first load need not wait for it."""
    settings = "current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean"
    return bool(row(cursor, f"SELECT {settings}")[0])


def constraint_name(table: str) -> str:
    """What the key of a table that we create is called."""
    return object_name(table, "pkey")


def drop_staging(connection: Connection, staging: Staging) -> None:
    """Drop the staging table, and that of the keys."""
    with transaction(connection) as cursor:
        if staging.keys:
            cursor.execute(SQL("DROP TABLE IF EXISTS {}").format(staging.all_keys))
        cursor.execute(SQL("DROP TABLE IF EXISTS {}").format(staging.identifier))


@dataclass(frozen=True, slots=True)
class Staged:
    """One table's rows on the target, not yet published.

    `workers` are the connections that read, `snapshot_seconds` how long the source's snapshot was
    held; both belong to the whole group.
    """

    plan: Plan
    staging: Staging
    done: Exported
    newest: tuple[Witness, ...]
    workers: int
    snapshot_seconds: float

    @property
    def target(self) -> RelationName:
        """The target table."""
        return self.plan.table.target

    @property
    def highest_xid(self) -> int | None:
        """The newest xid among the rows."""
        return self.newest[0].xid if self.newest else None


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
    return tuple(Witness(xid, tuple(values)) for xid, values in rows(cursor, statement))
