"""What the commands print with `--json`: one object each, from which docs/schemas is made.

`print_json` writes the version before their keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from typing import Any, Literal, TypeVar

from sync_assets.automation.telling import Known, Place
from sync_assets.config.model import SyncedTable
from sync_assets.engine.check.finding import Finding
from sync_assets.engine.check.server_facts import Server
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.inventory import Found
from sync_assets.engine.inspection.status import TableStatus
from sync_assets.engine.inspection.why import Why
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.forecast import Forecast
from sync_assets.engine.state.forget import Remembered
from sync_assets.engine.verification import Verification
from sync_assets.engine.workers import WorkerReport

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Problem:
    """An error: `kind` is its class, `remedy` what to do about it."""

    kind: str
    message: str
    remedy: str


@dataclass(frozen=True)
class FailedTable:
    """A table whose sync failed."""

    source: str
    target: str
    error: Problem

    @classmethod
    def of(cls, synced: SyncedTable, error: SyncError) -> FailedTable:
        """The table and what became of it."""
        table = synced.table
        told = Problem(error.kind, error.message, error.remedy)
        return cls(str(table.source), str(table.target), told)


def table_or_error(synced: SyncedTable, outcome: Outcome | SyncError) -> Outcome | FailedTable:
    """What a command found of a table, as machines read it."""
    return FailedTable.of(synced, outcome) if isinstance(outcome, SyncError) else outcome


@dataclass(frozen=True)
class RunDocument:
    """`run --json`: the receipt of each table, or its error."""

    tables: list[Receipt | FailedTable]


@dataclass(frozen=True)
class PlanDocument:
    """`plan --json`: what each table's next run would do, or why it would fail."""

    tables: list[Forecast | FailedTable]


@dataclass(frozen=True)
class Hindrance:
    """What is in the way of a table's sync; `since` is when it was first seen."""

    target: str
    kind: str
    what: str
    remedy: str
    since: datetime


@dataclass(frozen=True)
class StatusDocument:
    """`status --json`."""

    tables: list[TableStatus]
    hindrances: list[Hindrance]

    @classmethod
    def of(
        cls, tables: list[TableStatus], standing: Sequence[tuple[Place, Known]]
    ) -> StatusDocument:
        """The tables, and what is in their way."""
        hindrances = [
            Hindrance(
                target,
                kind,
                known.what,
                known.remedy,
                datetime.fromtimestamp(known.since, timezone.utc),
            )
            for (target, kind, _), known in standing
        ]
        return cls(tables, hindrances)


@dataclass(frozen=True)
class VerifyDocument:
    """`verify --json`: what was found of each table, or the error that kept it from being read."""

    tables: list[Verification | FailedTable]


@dataclass(frozen=True)
class CheckedServer:
    """An end that answered; `changed_pages` says by what a source names them, where it can."""

    side: Literal["source", "target"]
    version: str
    database: str
    role: str
    standby: bool
    changed_pages: str | None

    @classmethod
    def of(cls, server: Server, changed_pages: str | None) -> CheckedServer:
        """What machines need to know of it."""
        return cls(
            server.side,
            server.version_text,
            server.database,
            server.role,
            server.standby,
            changed_pages,
        )


@dataclass(frozen=True)
class CheckDocument:
    """`check --json`."""

    servers: list[CheckedServer]
    findings: list[Finding]


@dataclass(frozen=True)
class FoundRelation:
    """A relation of the source; `syncs` says whether it can be synced by row versions.

    `kind` is PostgreSQL's: r, a table; p, partitioned; v, a view; m, a materialized view; f, a
    foreign table. `whole` says that it can be synced by full_sync.
    """

    name: str
    kind: Literal["r", "p", "v", "m", "f"]
    rows: int | None
    bytes: int
    key: list[str]
    xmin_column: str | None
    problem: str | None
    remedy: str | None
    whole: bool
    syncs: bool

    @classmethod
    def of(cls, found: Found) -> FoundRelation:
        """As machines read it."""
        known = {field.name: getattr(found, field.name) for field in fields(found)}
        return cls(**known | {"name": str(found.name), "syncs": found.problem is None})


@dataclass(frozen=True)
class InitDocument:
    """`init --json`."""

    tables: list[FoundRelation]


@dataclass(frozen=True)
class ForgetDocument:
    """`forget --json`."""

    forgotten: Remembered


@dataclass(frozen=True)
class ExportedTable:
    """Rows of our own tables as they stand there; for `state import`, not for readers."""

    state: dict[str, Any]
    state_leaf: list[dict[str, Any]]
    receipt: list[dict[str, Any]]


@dataclass(frozen=True)
class StateExportDocument:
    """`state export`."""

    state_version: int
    tables: list[ExportedTable]


@dataclass(frozen=True)
class StateImportDocument:
    """`state import --json`: the tables by their targets."""

    tables: list[str]
    trusted: bool


DOCUMENTS: dict[str, type] = {
    "check": CheckDocument,
    "forget": ForgetDocument,
    "init": InitDocument,
    "plan": PlanDocument,
    "run": RunDocument,
    "state-export": StateExportDocument,
    "state-import": StateImportDocument,
    "status": StatusDocument,
    "verify": VerifyDocument,
    "why": Why,
    "workers": WorkerReport,
}
"""Every command that has `--json`, with what it prints."""
