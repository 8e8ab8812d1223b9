"""What a person, a schedule or a sensor may ask for in one run."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.table import SyncMode, Table
from sync_assets.engine.workers import WorkerConfig


class SyncConfig(dg.Config):
    """What a person may ask for in one run."""

    full_refresh: bool = Field(default=False, description="Read every row, whatever changed.")
    sync_mode: Literal["as configured", "xmin_incremental", "full_sync", "incremental_sync"] = (
        Field(default="as configured", description="The mode of this run alone.")
    )
    workers: int | None = Field(default=None, description="How many connections read the table.")
    batch_size: int | None = Field(default=None, description="Rows a batch file holds at least.")
    accept_source: bool = Field(
        default=False, description="Accept another source database than before, this once."
    )
    confirm_deletes: int | None = Field(
        default=None, description="Allow this run that many deletes, whatever the ratio."
    )
    sweep_deletes: bool = Field(
        default=False, description="Look for deleted rows, which delete_schedule else does."
    )
    rows: str | None = Field(
        default=None,
        description="An SQL condition on the source's rows: those are read again, compared and put"
        " right, whatever changed; the next run reads what it would have read anyway.",
    )
    approved_changes: list[str] = Field(
        default_factory=list,
        description="The changes of the source's columns that this run may take where on_schema_change"
        " is ask, as the error of the run that met them names them.",
    )
    dry_run: bool = Field(default=False, description="Do all of the work and publish nothing.")

    def applied_to(self, synced: SyncedTable) -> Table:
        """The table as this run treats it; raises ConfigurationError."""
        self._require_possible()
        options: dict[str, Any] = {}
        if self.sync_mode != "as configured":
            options["mode"] = SyncMode.parse(self.sync_mode)
        synced = dataclasses.replace(synced, table=dataclasses.replace(synced.table, **options))
        return dataclasses.replace(
            synced.table if self._sweeps else synced.between_sweeps,
            full_refresh=self.full_refresh,
            accept_source=self.accept_source,
            confirm_deletes=self.confirm_deletes,
            rows=self.rows,
            approved_changes=tuple(self.approved_changes),
            dry_run=self.dry_run,
        )

    @property
    def _sweeps(self) -> bool:
        # Who confirms deletes wants them done, and of a part that is put right they are.
        asked = self.confirm_deletes is not None or self.rows is not None
        return self.sweep_deletes or self.full_refresh or asked

    def _require_possible(self) -> None:
        contrary = {
            "sync_mode": self.sync_mode != "as configured",
            "sweep_deletes": self.sweep_deletes,
        }
        for name, asked in contrary.items():
            if asked and self.rows is not None:
                raise ConfigurationError(
                    f"rows and {name} contradict each other: {name} is about the whole table",
                    remedy="Ask for one of the two.",
                )

    def limits(self, workers: WorkerConfig) -> WorkerConfig:
        """The workers as this run may use them; raises ConfigurationError."""
        options: dict[str, Any] = {}
        if self.batch_size is not None:
            options["batch_size"] = self.batch_size
        if self.workers is not None:
            options |= dict.fromkeys(("default_workers", "min_workers"), self.workers)
            options["max_workers"] = max(self.workers, workers.max_workers)
        return dataclasses.replace(workers, **options)
