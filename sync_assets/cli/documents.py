"""What the commands print with `--json`: one object each, whose schemas are in docs/schemas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sync_assets.engine.finding import Finding
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.status import TableStatus
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
class StatusDocument(Versioned):
    """`status --json`."""

    tables: list[TableStatus]


@dataclass(frozen=True)
class WorkersDocument(WorkerReport, Versioned):
    """`workers --json`."""


@dataclass(frozen=True)
class CheckedServer:
    """An end that answered."""

    side: Literal["source", "target"]
    version: str
    database: str
    role: str
    standby: bool


@dataclass(frozen=True)
class CheckDocument(Versioned):
    """`check --json`."""

    servers: list[CheckedServer]
    findings: list[Finding]


DOCUMENTS: dict[str, type[Versioned]] = {
    "check": CheckDocument,
    "run": RunDocument,
    "status": StatusDocument,
    "workers": WorkersDocument,
}
"""Every command that has `--json`, with what it prints."""
