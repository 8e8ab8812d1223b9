"""What the commands print with `--json`: one object each, from which docs/schemas is made.

`print_json` writes the version before their keys.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timezone
from typing import Any, Literal, TypeVar

from sync_assets.cli.reading.init import InitDocument, RefreshDocument
from sync_assets.config.model import SyncedTable
from sync_assets.engine.check.finding import Finding
from sync_assets.engine.check.server_facts import Server
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.status import TableStatus
from sync_assets.engine.inspection.why import Why
from sync_assets.engine.postgres.access.transport import Way
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.forecast import Forecast
from sync_assets.engine.state.forget import Remembered
from sync_assets.engine.verification import Verification
from sync_assets.engine.verify.copied_columns import Copy
from sync_assets.engine.verify.copies import CopyComparison
from sync_assets.engine.workers import WorkerReport
from sync_assets.hindrances.telling import Known, Place


@dataclass(frozen=True)
class Problem:
    """An error: `kind` is its class, `remedy` what to do about it."""

    kind: str
    message: str
    remedy: str

    @classmethod
    def of(cls, error: SyncError) -> Problem:
        """The error as machines read it."""
        return cls(error.kind, error.message, error.remedy)


@dataclass(frozen=True)
class FailedTable:
    """A table whose sync failed."""

    source: str
    target: str
    error: Problem
    target_connection: str

    @classmethod
    def of(cls, synced: SyncedTable, error: SyncError) -> FailedTable:
        """The table and what became of it."""
        table = synced.table
        told = Problem.of(error)
        return cls(str(table.source), str(table.target), told, synced.target_connection)


@dataclass(frozen=True, kw_only=True)
class OnConnection:
    """What the engine found, which knows no connection by its name, with that of the target."""

    target_connection: str


@dataclass(frozen=True)
class RunTable(OnConnection, Receipt):
    """The receipt of a table."""


@dataclass(frozen=True)
class PlanTable(OnConnection, Forecast):
    """A table's next run."""


@dataclass(frozen=True)
class StatusTable(OnConnection, TableStatus):
    """A table's status."""


@dataclass(frozen=True)
class VerifyTable(OnConnection, Verification):
    """A table's comparison."""


@dataclass(frozen=True)
class WhyDocument(OnConnection, Why):
    """`why --json`."""


Placed = TypeVar("Placed", bound=OnConnection)


def placed(kind: type[Placed], found: Any, target_connection: str) -> Placed:
    """What the engine found, with the connection of its target."""
    known = {field.name: getattr(found, field.name) for field in fields(found)}
    return kind(**known, target_connection=target_connection)


def table_or_error(
    kind: type[Placed], synced: SyncedTable, outcome: object
) -> Placed | FailedTable:
    """What a command found of a table, as machines read it."""
    if isinstance(outcome, SyncError):
        return FailedTable.of(synced, outcome)
    return placed(kind, outcome, synced.target_connection)


@dataclass(frozen=True)
class RunDocument:
    """`run --json`: the receipt of each table, or its error.

    `tried_again` are the targets that had failed by then and were synced once more at the end.
    """

    tables: list[RunTable | FailedTable]
    tried_again: list[str]


@dataclass(frozen=True)
class PlanDocument:
    """`plan --json`: what each table's next run would do, or why it would fail."""

    tables: list[PlanTable | FailedTable]


@dataclass(frozen=True)
class Hindrance(OnConnection):
    """What is in the way of a table's sync; `since` is when it was first seen.

    `command` does what the remedy says, where one for a shell does.
    """

    target: str
    kind: str
    what: str
    remedy: str
    since: datetime
    command: str

    @classmethod
    def of(cls, address: tuple[str, str], place: Place, known: Known) -> Hindrance:
        """One that stands, at the table of this address."""
        connection, target = address
        since = datetime.fromtimestamp(known.since, timezone.utc)
        words = known.what, known.remedy, since, known.command
        return cls(target, place[1], *words, target_connection=connection)


@dataclass(frozen=True)
class StatusDocument:
    """`status --json`."""

    tables: list[StatusTable]
    hindrances: list[Hindrance]


@dataclass(frozen=True)
class LeftBehind(OnConnection):
    """What lies on a target and hinders nothing; `command` removes it."""

    what: str
    command: str


@dataclass(frozen=True)
class DoctorDocument:
    """`doctor --json`: what hinders, what `--fix` has mended, and what is left behind."""

    hindrances: list[Hindrance]
    mended: list[Hindrance]
    left_behind: list[LeftBehind]


@dataclass(frozen=True)
class VerifyDocument:
    """`verify --json`: what was found of each table, or the error that kept it from being read."""

    tables: list[VerifyTable | FailedTable]


@dataclass(frozen=True)
class FailedComparison:
    """A table that could not be compared with its copy."""

    source: str
    target: str
    error: Problem

    @classmethod
    def of(cls, copy: Copy, error: SyncError) -> FailedComparison:
        """The table, its copy and the reason."""
        return cls(str(copy.source), str(copy.target), Problem.of(error))


@dataclass(frozen=True)
class CompareDocument:
    """`compare --json`: what was found of each table, or why it could not be compared."""

    tables: list[CopyComparison | FailedComparison]


@dataclass(frozen=True)
class CheckedServer:
    """An end that answered; `changed_pages` says by what a source names them, where it can.

    `encrypted_by` is a version of TLS, or GSSAPI; `verified` what the server's certificate was compared with.
    """

    side: Literal["source", "target"]
    version: str
    database: str
    role: str
    standby: bool
    changed_pages: str | None
    way: Way
    encrypted_by: str | None
    verified: Literal["authority", "name"] | None

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
            server.transport.way,
            server.transport.encrypted_by,
            server.transport.verified,
        )


@dataclass(frozen=True)
class CheckDocument:
    """`check --json`."""

    servers: list[CheckedServer]
    findings: list[Finding]


@dataclass(frozen=True)
class ForgetDocument:
    """`forget --json`."""

    forgotten: Remembered
    target_connection: str


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
    "compare": CompareDocument,
    "doctor": DoctorDocument,
    "forget": ForgetDocument,
    "init": InitDocument,
    "plan": PlanDocument,
    "refresh": RefreshDocument,
    "run": RunDocument,
    "state-export": StateExportDocument,
    "state-import": StateImportDocument,
    "status": StatusDocument,
    "verify": VerifyDocument,
    "why": WhyDocument,
    "workers": WorkerReport,
}
"""Every command that has `--json`, with what it prints."""
