"""Batch files into a staging table on the target.

For a target that exists the staging table is temporary, and made when there is something to hold:
a run that finds nothing leaves no trace in the target's catalog. For a first load it is an ordinary
table in the target's own schema, which the publishing transaction renames into the target, so that
each row is written once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from psycopg2.sql import SQL, Composable

from sync_assets.engine import errors
from sync_assets.engine.export.batches import BUFFER, Batch, Exported
from sync_assets.engine.layout.layout import object_name
from sync_assets.engine.load import staging_statements
from sync_assets.engine.load.immutable import require_immutable
from sync_assets.engine.load.newest import newest
from sync_assets.engine.load.types import distinct, following
from sync_assets.engine.names import RelationName
from sync_assets.engine.plan.plan import KeyBuckets, Plan
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
from sync_assets.engine.snapshot.scope import own_names, texts
from sync_assets.engine.state.state import Witness
from sync_assets.engine.table import SyncMode, Table


@dataclass(slots=True)
class StagingTable:
    """One table for a run's rows, or for keys; `columns` are its definitions."""

    name: RelationName
    columns: Composable
    made: bool = False

    @property
    def identifier(self) -> Composable:
        """Its name in SQL; while it is not made, what has its columns and no row."""
        if self.made:
            return identifiers.relation(self.name)
        return staging_statements.no_rows(self.columns)


@dataclass(frozen=True, slots=True)
class Staging:
    """What holds a run's rows before they are published.

    `keys` holds the keys of the source, where the rows are not all of them, or those of `buckets`.
    """

    rows: StagingTable
    temporary: bool
    keys: StagingTable | None = None
    buckets: KeyBuckets | None = None

    @property
    def name(self) -> RelationName:
        """What the table of the rows is called, made or not."""
        return self.rows.name

    @property
    def identifier(self) -> Composable:
        """The rows, in SQL."""
        return self.rows.identifier

    @property
    def all_keys(self) -> Composable:
        """Every key of the source, in SQL."""
        return (self.keys or self.rows).identifier

    @property
    def made(self) -> tuple[StagingTable, ...]:
        """The tables that are there."""
        return tuple(each for each in (self.rows, self.keys) if each is not None and each.made)


def staging_for(plan: Plan) -> Staging:
    """The staging table of a plan."""
    temporary = not plan.layout.creates
    name = _staging_name(plan.table.target, temporary=temporary)
    rows_ = StagingTable(name, staging_statements.staging_columns(plan))
    if not plan.compares_keys:
        return Staging(rows_, temporary)
    of_keys = RelationName(name.schema, f"{name.name}_keys")
    return Staging(rows_, temporary, StagingTable(of_keys, staging_statements.key_columns(plan)))


def _staging_name(target: RelationName, *, temporary: bool) -> RelationName:
    """Named after the target, so that the next run finds what a killed one left."""
    text = f"{target.schema}\0{target.name}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    schema = "pg_temp" if temporary else target.schema
    return RelationName(schema, f"sync_assets_staging_{digest}")


def prepare_staging(connection: Connection, plan: Plan) -> Staging:
    """Make room for a plan's rows: the types they need, and for a first load the table.

    Drops what a killed first load has left. Needs the target's lock.
    Raises SchemaConflict, PrivilegeError, or ConfigurationError for a filter or an expression
    that an incremental mode cannot follow.
    """
    table, staging = plan.table, staging_for(plan)
    with transaction(connection, UNFLUSHED, *_dropped_leftover(table)) as cursor:
        if plan.layout.creates or plan.view.types:
            lock_ddl(cursor)
        if plan.full:
            _require_followed(cursor, plan)
        if not plan.loads:
            return staging
        if table.dry_run:
            _require_types(cursor, plan)
        for statement in () if table.dry_run else preparations(cursor, plan):
            cursor.execute(statement)
        if not staging.temporary:
            cursor.execute(
                staging_statements.create_table(plan, identifiers.relation(staging.name))
            )
            staging.rows.made = True
    return staging


def _dropped_leftover(table: Table) -> tuple[Composable, ...]:
    if table.dry_run:
        return ()
    left = identifiers.relation(_staging_name(table.target, temporary=False))
    quiet = SQL("SET LOCAL client_min_messages = warning; DROP TABLE IF EXISTS {}")
    return (quiet.format(left),)


def _require_followed(cursor: Cursor, plan: Plan) -> None:
    table, view = plan.table, plan.view
    if table.mode is not SyncMode.FULL_SYNC:
        if view.probe_types:
            lock_ddl(cursor)
        own = own_names(table, view.relation, view.types) != ()
        require_immutable(cursor, table, view.columns, view.probe_types, own_names=own)


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
    """COPY one batch file into the staging table, or its keys into theirs; the first makes it.

    Raises ConfigurationError as `prepare_staging` does.
    """
    table = staging.keys if batch.keys_only and staging.keys else staging.rows
    name = identifiers.relation(table.name)
    if not staging.made and not plan.full and any(texts(plan.table)):
        # Proven when all rows were read under that text, and again before any row follows.
        with transaction(connection, UNFLUSHED) as cursor:
            _require_followed(cursor, plan)
    making = [] if table.made else [staging_statements.create_temporary(name, table.columns)]
    with (
        transaction(connection, UNFLUSHED, *making, *PINNED) as cursor,
        batch.path.open("rb", buffering=BUFFER) as file,
    ):
        statement = staging_statements.load_batch(plan, name, keys_only=batch.keys_only)
        cursor.copy_expert(statement, file, BUFFER)
        if cursor.rowcount != batch.rows:
            raise errors.DatabaseError(
                f"{batch.rows} rows were exported to a batch file and {cursor.rowcount} loaded"
            )
    table.made = True


_BRIEFLY = SQL("SET LOCAL default_statistics_target = 10")
"""What the planner has to know of staged rows is how many there are, and a little of their keys."""


def finish(connection: Connection, staging: Staging, plan: Plan) -> tuple[Witness, ...]:
    """Give a first load its key, let the planner know the rows; return the newest of them."""
    if not staging.made:
        return ()
    with transaction(connection, UNFLUSHED, *PINNED) as cursor:
        key = plan.layout.key
        if key and not staging.temporary:
            name = constraint_name(staging.name.name)
            cursor.execute(staging_statements.add_key(key, staging.identifier, name))
        if staging.temporary and staging.rows.made:
            keys = SQL(" ({})").format(identifiers.names(key.columns)) if key else SQL("")
            cursor.execute(SQL("{}; ANALYZE {}{}").format(_BRIEFLY, staging.identifier, keys))
        elif not staging.temporary and not _analyzes_itself(cursor):
            cursor.execute(SQL("ANALYZE {}").format(staging.identifier))
        if staging.keys and staging.keys.made:
            cursor.execute(SQL("ANALYZE {}").format(staging.all_keys))
        return newest(cursor, plan, staging.identifier) if staging.rows.made else ()


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
        for table in staging.made:
            cursor.execute(SQL("DROP TABLE IF EXISTS {}").format(table.identifier))


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
