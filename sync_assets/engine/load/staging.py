"""Batch files into a staging table on the target.

For a target that exists the staging table is temporary, and made when there is something to hold:
a run that finds nothing leaves no trace in the target's catalog. Keys of the source that are few go
along in the statement that compares them, and take none. For a first load it is an ordinary
table in the target's own schema, which the publishing transaction renames into the target, so that
each row is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.sql import SQL, Composable

from sync_assets.engine import errors
from sync_assets.engine.export.batches import Batch, Exported
from sync_assets.engine.load import staging_statements
from sync_assets.engine.load.copy_in import copy_in
from sync_assets.engine.load.few_keys import are_few, as_rows
from sync_assets.engine.load.newest import newest
from sync_assets.engine.load.preconditions import (
    require_collations,
    require_followed,
    require_types,
)
from sync_assets.engine.load.types import distinct, following
from sync_assets.engine.names import RelationName, object_name, staging_name
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
    transaction,
)
from sync_assets.engine.snapshot.scope import texts
from sync_assets.engine.state.state import Witness


@dataclass(slots=True)
class StagingTable:
    """One table for a run's rows, or for keys; `columns` are its definitions.

    `few` are the rows that it has without being made, as a batch file has them.
    """

    name: RelationName
    columns: Composable
    names: tuple[str, ...]
    made: bool = False
    few: bytes = b""

    @property
    def identifier(self) -> Composable:
        """Its name in SQL; while it is not made, what has its columns and those few rows."""
        if self.made:
            return identifiers.relation(self.name)
        if not self.few:
            return staging_statements.no_rows(self.columns)
        return staging_statements.few_rows(self.columns, as_rows(self.names, self.few))


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
    name = staging_name(plan.table.target, temporary=temporary)
    columns = staging_statements.staging_columns(plan)
    rows_ = StagingTable(name, columns, staging_statements.staged_columns(plan))
    if not plan.compares_keys:
        return Staging(rows_, temporary)
    of_keys = RelationName(name.schema, f"{name.name}_keys")
    names = staging_statements.staged_keys(plan)
    keys = StagingTable(of_keys, staging_statements.key_columns(plan), names)
    return Staging(rows_, temporary, keys)


def prepare_staging(connection: Connection, plans: Sequence[Plan]) -> list[Staging]:
    """Make room for the rows of plans: the types they need, and for a first load the table.

    Needs the targets' locks, and what killed first loads have left to be dropped.
    Raises SchemaConflict, PrivilegeError, or ConfigurationError for a filter or an expression
    that an incremental mode cannot follow.
    """
    prepared = [staging_for(plan) for plan in plans]
    if not any(map(_needs_room, plans)):
        return prepared
    with transaction(connection, UNFLUSHED) as cursor:
        schemas = Schemas(cursor)
        if any(plan.layout.creates or plan.view.types for plan in plans):
            lock_ddl(cursor)
        for plan, staging in zip(plans, prepared, strict=True):
            with errors.about(plan.table.target):
                _make_room(cursor, plan, staging, schemas)
    for plan, staging in zip(plans, prepared, strict=True):
        staging.rows.made = plan.loads and not staging.temporary
    return prepared


def _needs_room(plan: Plan) -> bool:
    """Whether there is anything to be made or to be proven before the first row comes."""
    collated = any(field.collation for field in plan.layout.fields)
    return plan.layout.creates or plan.full or bool(plan.view.types) or collated


def _make_room(cursor: Cursor, plan: Plan, staging: Staging, schemas: Schemas) -> None:
    if plan.full:
        require_followed(cursor, plan)
    if not plan.loads:
        return
    if plan.table.dry_run:
        require_types(cursor, plan)
        return
    for statement in preparations(cursor, plan, schemas):
        cursor.execute(statement)
    if not staging.temporary:
        cursor.execute(staging_statements.create_table(plan, identifiers.relation(staging.name)))


def preparations(cursor: Cursor, plan: Plan, schemas: Schemas) -> list[Composable]:
    """What gives the target the schema and the types that a table needs; reads its catalog alone.

    Raises SchemaConflict or UnsupportedRelation.
    """
    layout = plan.layout
    require_collations(cursor, (field.collation for field in layout.fields))
    schema = schemas.needed(plan.table.target.schema) if layout.creates else []
    types = following(cursor, layout.known_types, plan.view.types) if plan.view.types else []
    return distinct([*schema, *types])


def load_batch(connection: Connection, staging: Staging, plan: Plan, batch: Batch) -> None:
    """COPY one batch file into the staging table, or its keys into theirs; the first makes it.

    As long as keys are few they are only kept, for the statement that needs them.

    Raises ConfigurationError as `prepare_staging` does.
    """
    table = staging.keys if batch.keys_only and staging.keys else staging.rows
    if table is staging.keys and not table.made and are_few(plan, table.few, batch):
        table.few += batch.path.read_bytes()
        return
    name = identifiers.relation(table.name)
    if not staging.made and not plan.full and any(texts(plan.table)):
        # Proven when all rows were read under that text, and again before any row follows.
        with transaction(connection, UNFLUSHED) as cursor:
            require_followed(cursor, plan)
    kept = b"" if table.made else table.few
    making = [] if table.made else [staging_statements.create_temporary(name, table.columns)]
    with transaction(connection, UNFLUSHED, *making, *PINNED) as cursor:
        copy_in(cursor, plan, name, batch, kept)
    table.made = True


def finish(
    connection: Connection, staged: Sequence[Staging], plans: Sequence[Plan]
) -> list[tuple[Witness, ...]]:
    """Give first loads their keys, let the planner know the rows; return the newest of each plan."""
    if not any(staging.made for staging in staged):
        return [() for _ in staged]
    with transaction(connection, UNFLUSHED, *PINNED) as cursor:
        newest_ = []
        for staging, plan in zip(staged, plans, strict=True):
            with errors.about(plan.table.target):
                newest_.append(_finish(cursor, staging, plan))
    return newest_


def _finish(cursor: Cursor, staging: Staging, plan: Plan) -> tuple[Witness, ...]:
    key = plan.layout.key
    if staging.rows.made and key and not staging.temporary:
        name = constraint_name(staging.name.name)
        cursor.execute(staging_statements.add_key(key, staging.identifier, name))
    if staging.temporary and staging.rows.made:
        cursor.execute(staging_statements.analyze_briefly(staging.identifier, key))
    elif staging.rows.made and not _analyzes_itself(cursor):
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
