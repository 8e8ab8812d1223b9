"""All that the checks look at: read once, for all of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from sync_assets.engine.check.server_facts import Server
from sync_assets.engine.check.table_facts import TablePair
from sync_assets.engine.check.type_facts import MissingTypes
from sync_assets.engine.limits import Limits
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.session import Cursor, row
from sync_assets.engine.snapshot.wal_tools import Tools, read_tools


@dataclass(frozen=True, slots=True)
class Room:
    """What runs will need: `connections` each, and so many bytes for batch files in `folder`."""

    connections: int
    runs: int
    folder: Path
    batch_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the checks look at. An end that cannot be reached is None; then no table is known.

    `types` is what the target lacks of those that columns need; `limits` are those of the runs,
    `not_carried` objects that targets are to be given and cannot, and why.
    """

    source: Server | None
    target: Server | None
    tables: tuple[TablePair, ...]
    room: Room
    types: MissingTypes = field(default_factory=MissingTypes)
    wal: WalFacts | None = None
    limits: Collection[Limits] = ()
    not_carried: tuple[tuple[RelationName, str, str], ...] = ()

    @property
    def servers(self) -> tuple[Server, ...]:
        """The ends that answer."""
        return tuple(server for server in (self.source, self.target) if server is not None)


@dataclass(frozen=True, slots=True)
class WalFacts:
    """What there is. `inspected_from` is the schema of pg_walinspect, None where it is not installed.

    `opened` says whether this role may look into that schema, `installable` whether the server has
    the extension's files; `keeps_wal` whether some WAL stays for who reads it later.
    """

    tools: Tools
    inspected_from: str | None
    opened: bool
    installable: bool
    keeps_wal: bool

    def __str__(self) -> str:
        ways = {
            "WAL summaries": self.tools.summaries,
            "pg_walinspect": self.tools.reader is not None,
            "checkpoints": self.tools.summaries and self.tools.checkpoint,
        }
        return " and ".join([name for name, there in ways.items() if there][:2])


_WAL = """
SELECT (SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_walinspect'),
       coalesce((SELECT has_schema_privilege(e.extnamespace, 'USAGE') FROM pg_extension e
                 WHERE e.extname = 'pg_walinspect'), false),
       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_walinspect'),
       EXISTS (SELECT FROM pg_settings WHERE name = 'wal_keep_size' AND setting <> '0')
"""


def read_wal_facts(cursor: Cursor) -> WalFacts:
    """What this role can tell changed pages with, and what more there could be."""
    return WalFacts(read_tools(cursor), *row(cursor, _WAL))
