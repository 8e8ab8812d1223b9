"""What `check` looks at to tell whether the source can name the pages that changed."""

from __future__ import annotations

from dataclasses import dataclass

from sync_assets.engine.postgres.session import Cursor, row
from sync_assets.engine.snapshot.wal import Tools, read_tools


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
