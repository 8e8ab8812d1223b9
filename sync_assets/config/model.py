"""What a `sync_assets.TableSync` says in YAML: its keys, their types and what they become."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import Field

from sync_assets.config.automation import (
    Alerts,
    Automation,
    AutomationOptions,
    Interval,
    interval,
)
from sync_assets.config.chosen import engine_table, set_values
from sync_assets.config.strict import StrictModel, Word
from sync_assets.config.value_types import (
    Column,
    Connection,
    Expression,
    Group,
    Key,
    Lookback,
    Name,
    Names,
    Owners,
    Relation,
    Tags,
    Target,
    Workers,
)
from sync_assets.engine.names import RelationName
from sync_assets.engine.table import (
    ChangedBlocks,
    Deletes,
    LateCommits,
    OnSchemaChange,
    SyncMode,
    Table,
    WorkerConfig,
)

CURSOR_OPTIONS = {"cursor", "lookback", "late_commits"}


# Each field is a key in defs.yaml.
class TableOptions(AutomationOptions):
    """What `defaults` may say for every table, and a table for itself."""

    target: Target | None = Field(
        None,
        description="the table on the target; `{schema}` and `{table}` stand for the source's; else"
        " as `source`",
    )
    sync_mode: Word[SyncMode] | None = Field(
        None,
        description="`xmin_incremental` reads what changed; `incremental_sync` also reads from a"
        " `cursor` on; `full_sync` reads everything and removes what the source no longer has",
    )
    deletes: Word[Deletes] | None = Field(
        None,
        description="`ignore` leaves rows whose key is gone from the source; `hard` reads all keys"
        " in each run and deletes them; `soft` does too, and marks them in `deleted_column`",
    )
    cursor: Column | None = Field(
        None, description="the column that grows with every change; for `incremental_sync`"
    )
    lookback: Lookback | None = Field(
        None,
        description="how far before the last cursor to read again: `10 minutes` for a time, a"
        " number for a number",
    )
    late_commits: Word[LateCommits] | None = Field(
        None,
        description="`xid` also reads what newer transactions wrote, whatever the cursor says, and"
        " misses nothing; `lookback` trusts cursor and lookback, which reads less of the source",
    )
    on_schema_change: Word[OnSchemaChange] | None = Field(
        None,
        description="`evolve` follows the source's columns; `fail` stops when they change",
    )
    changed_blocks: Word[ChangedBlocks] | None = Field(
        None,
        description="`auto` asks the source's WAL which pages changed, where it can tell and that"
        " pays, and reads only those; `require` fails where it can't; `off` never asks",
    )
    blocks_wait: float | None = Field(
        None,
        ge=0,
        description="how many seconds `changed_blocks` may wait, the snapshot held, for a WAL"
        " summary that reaches it",
    )
    max_delete_ratio: float | None = Field(
        None, ge=0, le=1, description="the share of the target's rows that one run may delete"
    )
    min_deletes: int | None = Field(
        None, ge=0, description="below this many deletes, the ratio is not asked"
    )
    allow_empty: bool | None = Field(None, description="let an emptied source empty the target")
    xmin_column: Column | None = Field(
        None, description="the target's column for the source row's transaction id"
    )
    deleted_column: Column | None = Field(
        None, description="the target's column for the time a row was found to be gone"
    )
    trust_source_identity: bool | None = Field(
        None,
        description="sync by xid although the source's role may not call `pg_control_system()`,"
        " so that another server in its place would not be noticed",
    )
    group: Group | None = Field(None, description="Dagster's asset group")
    owners: Owners | None = Field(
        None, description="as Dagster shows them: e-mail addresses, or `team:` and a name"
    )
    tags: Tags | None = Field(
        None, description="as Dagster shows them; a table's own are added to those of `defaults`"
    )


class TableEntry(TableOptions):
    """One table to keep in step."""

    source: Relation = Field(
        description="`schema.table`, written as the catalog stores it; a part with a dot or a"
        " double quote goes in double quotes"
    )
    key: Key | None = Field(
        None,
        description="the columns that identify a row; they must contain those of a unique index"
        " and be NOT NULL; else the primary key, else the smallest such index",
    )
    columns: Names | None = Field(None, description="only these columns travel")
    exclude: Names | None = Field(None, description="all columns but these travel")
    expressions: dict[Column, Expression] | None = Field(
        None,
        description="SQL computed on the source in a column's place, or as a column of that name:"
        " `{email: md5(email)}`",
    )
    where: Expression | None = Field(
        None, description="an SQL condition on the source's rows; only those travel"
    )
    only: bool | None = Field(
        None, description="leave out the rows of tables that inherit from this one"
    )
    description: str | None = Field(
        None, description="as Dagster shows it; else what the source's comment on the table says"
    )
    snapshot_group: Group | None = Field(
        None,
        description="tables of the same name here are synced at once: one snapshot of the source,"
        " one transaction on the target, one op in Dagster",
    )


@dataclass(frozen=True, slots=True)
class SyncedTable:
    """A table as the engine takes it, with what Dagster shows about it.

    `snapshot_targets` are the targets of its snapshot group, itself among them, in their order;
    `defined_at` is the file and line it is written on; `key` that of its asset, where a translation
    has given it another than connection, schema and table.
    """

    table: Table
    source_connection: str
    target_connection: str
    group: str
    owners: tuple[str, ...]
    tags: Mapping[str, str]
    description: str | None
    automation: Automation = field(default_factory=Automation)
    snapshot_group: str | None = None
    snapshot_targets: tuple[RelationName, ...] = ()
    defined_at: tuple[str, int] | None = None
    key: tuple[str, ...] | None = None
    workers: WorkerConfig = field(default_factory=WorkerConfig)

    @property
    def address(self) -> tuple[str, str]:
        """Its target: the connection and the table, which alone may be there twice."""
        return self.target_connection, str(self.table.target)

    @property
    def between_sweeps(self) -> Table:
        """The table as a run treats it that leaves deleted rows to `delete_schedule`.

        A full_sync reads every row anyway, and would not stop deleting but stop marking.
        """
        if self.automation.delete_schedule is None or self.table.mode is SyncMode.FULL_SYNC:
            return self.table
        return dataclasses.replace(self.table, deletes=Deletes.IGNORE)


class TableSyncConfig(StrictModel):
    """The `attributes` of a `sync_assets.TableSync`."""

    tables: list[TableEntry] = Field(description="the tables, see below")
    defaults: TableOptions = Field(
        TableOptions(), description="options for every table that does not set its own"
    )
    workers: Workers = Field(
        Workers(), description="limits for the workers that export one table, see below"
    )
    source_connection: Connection = Field(
        "source",
        description="the Dagster resource for the source; `SYNC_<NAME>_URL` holds its URL",
    )
    target_connection: Connection = Field("target", description="the same for the target")
    max_source_connections: int | None = Field(
        None,
        ge=1,
        description="how many connections the source allows all syncs together; the limit of its"
        " pool times (`max_workers` + 2) must not be more",
    )
    group: Group | None = Field(
        None, description="Dagster's asset group, unless a table names its own; else the folder"
    )
    translation: dict[str, Any] | None = Field(
        None,
        description="what Dagster shows of the targets, as templates over `source`, `target`, `table`"
        " and `spec`; see docs/dagster.md",
    )
    name: Name | None = Field(
        None,
        description="what its sensors and schedules are called by, which stay switched on under it"
        " when the folder moves; else the folder",
    )
    sensor_interval: Interval = Field(
        "1 minute", description="how often the change sensor looks at the source"
    )
    alerts: Alerts = Field(Alerts(), description="where failures are told, see below; nowhere")

    def worker_config(self) -> WorkerConfig:
        """The limits as the engine takes them."""
        return WorkerConfig(**self.workers.model_dump())

    def sensor_seconds(self) -> int:
        """How often the sensor looks, in seconds."""
        return max(1, round(interval(self.sensor_interval).total_seconds()))

    def synced_tables(self, group: str) -> list[SyncedTable]:
        """Every table with the defaults filled in; `group` holds for those that name none.

        Raises ConfigurationError where the options of one contradict each other.
        """
        return [
            each if each.group else dataclasses.replace(each, group=group) for each in self._tables
        ]

    @cached_property
    def _tables(self) -> list[SyncedTable]:
        tables = [self.synced_table(entry) for entry in self.tables]
        members: dict[str | None, list[RelationName]] = {}
        for synced in tables:
            members.setdefault(synced.snapshot_group, []).append(synced.table.target)
        return [
            dataclasses.replace(synced, snapshot_targets=tuple(members[synced.snapshot_group]))
            if synced.snapshot_group
            else synced
            for synced in tables
        ]

    def synced_table(self, entry: TableEntry) -> SyncedTable:
        """One table, without a group if none is written; raises ConfigurationError where its options contradict each other."""
        chosen = set_values(self.defaults) | set_values(entry)
        if chosen.get("sync_mode") is not SyncMode.INCREMENTAL_SYNC:
            # As defaults these are for the tables that have a cursor.
            for name in CURSOR_OPTIONS - set_values(entry).keys():
                chosen.pop(name, None)
        if entry.delete_schedule is None and chosen.get("deletes") in (None, Deletes.IGNORE):
            # As a default it is for the tables that look for deletes.
            chosen.pop("delete_schedule", None)
        return SyncedTable(
            table=engine_table(chosen),
            source_connection=self.source_connection,
            target_connection=self.target_connection,
            group=chosen.get("group") or self.group or "",
            owners=tuple(chosen.get("owners", ())),
            tags=(self.defaults.tags or {}) | (entry.tags or {}),
            description=entry.description,
            automation=Automation.of(chosen, set_values(entry)),
            snapshot_group=entry.snapshot_group,
            workers=self.worker_config(),
        )


def url_variable(connection: str) -> str:
    """The environment variable that holds a connection's URL: SYNC_SOURCE_URL for `source`."""
    return f"SYNC_{connection.upper()}_URL"
