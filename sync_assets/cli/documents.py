"""What the commands print with `--json`: one object each, whose schemas are in docs/schemas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sync_assets.engine.check.finding import Finding
from sync_assets.engine.inspection.status import TableStatus
from sync_assets.engine.inspection.why import Why
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.forecast import Forecast
from sync_assets.engine.state.forget import Remembered
from sync_assets.engine.verification import Verification
from sync_assets.engine.workers import WorkerReport


@dataclass(frozen=True)
class Versioned:
    """Keys may be added within a version; one that goes or changes its meaning raises it."""

    version: Literal[1]


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


@dataclass(frozen=True)
class RunDocument(Versioned):
    """`run --json`: the receipt of each table, or its error."""

    tables: list[Receipt | FailedTable]


@dataclass(frozen=True)
class PlanDocument(Versioned):
    """`plan --json`: what each table's next run would do, or why it would fail."""

    tables: list[Forecast | FailedTable]


@dataclass(frozen=True)
class StatusDocument(Versioned):
    """`status --json`."""

    tables: list[TableStatus]


@dataclass(frozen=True)
class VerifyDocument(Versioned):
    """`verify --json`: what was found of each table, or the error that kept it from being read."""

    tables: list[Verification | FailedTable]


@dataclass(frozen=True)
class WorkersDocument(WorkerReport, Versioned):
    """`workers --json`."""


@dataclass(frozen=True)
class CheckedServer:
    """An end that answered; `changed_pages` says by what a source names them, where it can."""

    side: Literal["source", "target"]
    version: str
    database: str
    role: str
    standby: bool
    changed_pages: str | None


@dataclass(frozen=True)
class CheckDocument(Versioned):
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


@dataclass(frozen=True)
class InitDocument(Versioned):
    """`init --json`."""

    tables: list[FoundRelation]


@dataclass(frozen=True)
class WhyDocument(Why, Versioned):
    """`why --json`."""


@dataclass(frozen=True)
class ForgetDocument(Versioned):
    """`forget --json`."""

    forgotten: Remembered


@dataclass(frozen=True)
class ExportedTable:
    """Rows of our own tables as they stand there; for `state import`, not for readers."""

    state: dict[str, Any]
    state_leaf: list[dict[str, Any]]
    receipt: list[dict[str, Any]]


@dataclass(frozen=True)
class StateExportDocument(Versioned):
    """`state export`."""

    state_version: int
    tables: list[ExportedTable]


@dataclass(frozen=True)
class StateImportDocument(Versioned):
    """`state import --json`: the tables by their targets."""

    tables: list[str]
    trusted: bool


DOCUMENTS: dict[str, type[Versioned]] = {
    "check": CheckDocument,
    "forget": ForgetDocument,
    "init": InitDocument,
    "plan": PlanDocument,
    "run": RunDocument,
    "state-export": StateExportDocument,
    "state-import": StateImportDocument,
    "status": StatusDocument,
    "verify": VerifyDocument,
    "why": WhyDocument,
    "workers": WorkersDocument,
}
"""Every command that has `--json`, with what it prints."""
