"""All that the checks look at: read once, for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sync_assets.engine.extension_facts import MissingTypes
from sync_assets.engine.server_facts import Server
from sync_assets.engine.table_facts import TablePair
from sync_assets.engine.wal_facts import WalFacts


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

    `types` is what the target lacks of those that columns need.
    """

    source: Server | None
    target: Server | None
    tables: tuple[TablePair, ...]
    room: Room
    types: MissingTypes = field(default_factory=MissingTypes)
    wal: WalFacts | None = None

    @property
    def servers(self) -> tuple[Server, ...]:
        """The ends that answer."""
        return tuple(server for server in (self.source, self.target) if server is not None)
