"""What can never be read by changed pages, whatever a later run finds (pure).

Where `changed_blocks: require` asks for it, that is told before anything is read: running again
would not help.
"""

from __future__ import annotations

from dataclasses import dataclass

from sync_assets.engine.names import quoted
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.snapshot.wal_tools import Tools
from sync_assets.engine.table import ChangedBlocks, LateCommits, SyncMode, Table

INSPECT_VERSION = 150000
"""The first version with something to ask: pg_walinspect. Summaries are there from 17 on."""

SCAN = "changed_blocks: auto"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why pages cannot be named, and what lets them be: a `statement` for the source, or a `setting`.

    Where there is neither, nothing is left but to let the table be scanned.
    """

    why: str
    statement: str | None = None
    setting: str | None = None

    @property
    def mend(self) -> str:
        """What to run or to write, ready to paste."""
        return f"{self.statement};" if self.statement else self.setting or SCAN

    @property
    def remedy(self) -> str:
        """What to do, as a sentence."""
        how = f"Run on the source: {self.statement}" if self.statement else f"Set: {self.mend}"
        scan = f" Or let it scan: {SCAN}." if self.statement or self.setting else ""
        return f"{how}.{scan} See also: sync-assets check."


def obstacle(
    table: Table, relation: Relation, tools: Tools, version: int, role: str
) -> Obstacle | None:
    """What keeps a table that requires changed pages from ever being read by them."""
    if table.changed_blocks is not ChangedBlocks.REQUIRE or table.mode is SyncMode.FULL_SYNC:
        return None
    return _of_relation(table, relation, role) or _of_server(tools, version)


def _of_relation(table: Table, relation: Relation, role: str) -> Obstacle | None:
    if not relation.has_versions:
        return Obstacle("its rows carry no version, and so no page of it is looked for")
    if table.mode is SyncMode.INCREMENTAL_SYNC and table.late_commits is LateCommits.LOOKBACK:
        return Obstacle(
            "late_commits: lookback reads by the cursor alone", setting="late_commits: xid"
        )
    if relation.through_parent:
        closed = ", ".join(leaf.name.as_sql for leaf in relation.leaves if not leaf.readable)
        return Obstacle(
            "this role may read partitions of it only through their parent",
            f"GRANT SELECT ON {closed} TO {quoted(role)}",
        )
    for leaf in relation.leaves:
        if leaf.unlogged:
            mend = f"ALTER TABLE {leaf.name.as_sql} SET LOGGED"
            return Obstacle(f"{leaf.name} is unlogged, so the WAL does not hold it", mend)
    return None


def _of_server(tools: Tools, version: int) -> Obstacle | None:
    if tools.any:
        return None
    if version < INSPECT_VERSION:
        return Obstacle(f"PostgreSQL {version // 10000} has nothing that names them")
    return Obstacle("the source has neither WAL summaries nor pg_walinspect for this role")
