"""What a `sync_assets.TableSync` says in YAML: its keys, their types and what they become."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, PrivateAttr

from sync_assets.config import patterns
from sync_assets.config.automation import Alerts, Automation, Interval, interval
from sync_assets.config.catalog import Catalog, Discovered
from sync_assets.config.entries import TableEntry, TableOptions, engine_table, set_values
from sync_assets.config.strict import StrictModel
from sync_assets.config.value_types import (
    Connection,
    Connections,
    Group,
    Name,
    SourceLimits,
    Workers,
)
from sync_assets.engine.limits import Limits
from sync_assets.engine.names import RelationName
from sync_assets.engine.table import Deletes, SyncMode, Table
from sync_assets.engine.workers import WorkerConfig

CURSOR_OPTIONS = {"cursor", "lookback", "late_commits"}


# What Dagster shows of a table, and what its run is given: each field is read alone.
@dataclass(frozen=True, slots=True)
class SyncedTable:
    """A table as the engine takes it, with what Dagster shows about it.

    `snapshot_targets` are the targets of its snapshot group, itself among them, in their order;
    `defined_at` is the file and line it is written on; `key` that of its asset, where a translation
    has given it another than connection, schema and table; `discovered` what its source was when it
    was looked at last.
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
    discovered: Discovered | None = None
    op_tags: Mapping[str, Any] = field(default_factory=dict)
    workers: WorkerConfig = field(default_factory=WorkerConfig)
    limits: Limits = field(default_factory=Limits)

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


class DefsState(StrictModel):
    """Where the state of definitions is kept, as all components of Dagster say it."""

    key: str | None = Field(None, description="the name it is kept under; else the component's")
    management_type: Literal["LOCAL_FILESYSTEM", "VERSIONED_STATE_STORAGE"] = Field(
        "LOCAL_FILESYSTEM",
        description="`LOCAL_FILESYSTEM`: a file below the folder of definitions;"
        " `VERSIONED_STATE_STORAGE`: the `defs_state_storage` of dagster.yaml",
    )


class TableSyncConfig(StrictModel):
    """The `attributes` of a `sync_assets.TableSync`."""

    _catalog: Catalog | None = PrivateAttr(None)

    tables: list[TableEntry] = Field(description="the tables, see below")
    defaults: TableOptions = Field(
        TableOptions(), description="options for every table that does not set its own"
    )
    workers: Workers = Field(
        Workers(), description="limits for the workers that export one table, see below"
    )
    limits: SourceLimits = Field(
        SourceLimits(), description="what a run may take from the source, see below; no limit"
    )
    source_connection: Connections = Field(
        ["source"],
        description="the Dagster resource for the source; `SYNC_<NAME>_URL` holds its URL; for sources of"
        " one shape a list, `[eu, us]`, see [many sources](many-sources.md)",
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
    on_new_table: Literal["add", "ask", "ignore"] = Field(
        "add",
        description="what becomes of a table that the source has only now and that a pattern matches:"
        " `add` syncs it, `ask` tells of it, `ignore` does neither",
    )
    defs_state: DefsState = Field(
        DefsState(), description="where Dagster keeps what the source was found to have, see below"
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

    @property
    def has_patterns(self) -> bool:
        """Whether what its tables are depends on what the source has."""
        return any(patterns.is_pattern(entry.source) for entry in self.tables)

    def with_catalog(self, catalog: Catalog | None) -> TableSyncConfig:
        """The configuration over a source that has these relations."""
        copy = TableSyncConfig.model_construct(**dict(self))
        copy._catalog = catalog  # noqa: SLF001 (its own)
        return copy

    @property
    def catalog(self) -> Catalog | None:
        """What the source was found to have, None where nobody has looked."""
        return self._catalog

    @cached_property
    def placed(self) -> list[patterns.Placed]:
        """The tables in the order of `synced_tables`, each with the entry that speaks of it."""
        found = list(patterns.placed(self.tables, self.defaults, self._catalog))
        return [
            dataclasses.replace(each, connection=connection)
            for connection in self.source_connection
            for each in found
        ]

    def left_out(self) -> list[patterns.LeftOut]:
        """What patterns match and is no table of ours, and why."""
        return list(patterns.left_out(self.tables, self.defaults, self._catalog))

    @cached_property
    def _tables(self) -> list[SyncedTable]:
        tables = [
            dataclasses.replace(
                self.synced_table(each.entry, each.connection), discovered=each.discovered
            )
            for each in self.placed
        ]
        members: dict[tuple[str, str | None], list[RelationName]] = {}
        for synced in tables:
            members.setdefault(_group(synced), []).append(synced.table.target)
        return [
            dataclasses.replace(synced, snapshot_targets=tuple(members[_group(synced)]))
            if synced.snapshot_group
            else synced
            for synced in tables
        ]

    def synced_table(self, entry: TableEntry, connection: str) -> SyncedTable:
        """One table of a source, without a group if none is written; raises ConfigurationError where its options contradict each other."""
        own = set_values(entry)
        chosen = set_values(self.defaults) | own
        if chosen.get("sync_mode") is not SyncMode.INCREMENTAL_SYNC:
            # As defaults these are for the tables that have a cursor.
            for name in CURSOR_OPTIONS - own.keys():
                chosen.pop(name, None)
        if entry.delete_schedule is None and chosen.get("deletes") in (None, Deletes.IGNORE):
            # As a default it is for the tables that look for deletes.
            chosen.pop("delete_schedule", None)
        return SyncedTable(
            table=engine_table(chosen, connection),
            source_connection=connection,
            target_connection=self.target_connection,
            group=chosen.get("group") or self.group or "",
            owners=tuple(chosen.get("owners", ())),
            tags=(self.defaults.tags or {}) | (entry.tags or {}),
            op_tags=chosen.get("op_tags", {}),
            description=entry.description,
            automation=Automation.of(chosen, own),
            snapshot_group=entry.snapshot_group,
            workers=self.worker_config(),
            limits=self.limits.as_engine(),
        )


def _group(synced: SyncedTable) -> tuple[str, str | None]:
    """What is read on one snapshot: of one source."""
    return synced.source_connection, synced.snapshot_group
