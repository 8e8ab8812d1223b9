"""How a source's WAL can be asked, and for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sync_assets.engine.postgres.session import Cursor, row
from sync_assets.engine.postgres.xid import RING
from sync_assets.engine.snapshot.pages import PageRange, Position

BLOCK_INFO, RECORDS_INFO = "pg_get_wal_block_info", "pg_get_wal_records_info"
BLOCK_INFO_VERSION = 160000


class Storage(NamedTuple):
    """Where a relation's main fork lies, as the WAL names it."""

    tablespace: int
    filenode: int


@dataclass(frozen=True, slots=True)
class Tools:
    """What the source has, and this role may use, to tell changed pages.

    `reader` is the schema and name of the pg_walinspect function that reads the WAL itself.
    """

    summaries: bool
    reader: tuple[str, str] | None
    checkpoint: bool

    @property
    def any(self) -> bool:
        """Whether there is anything to ask."""
        return self.summaries or self.reader is not None


@dataclass(frozen=True, slots=True)
class Window:
    """WAL positions in bytes, from `start` up to `end`, on one timeline of one database."""

    timeline: int
    database: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ChangedPages:
    """The pages written in a window, by storage, or None; `how` says where from, or why not."""

    pages: Mapping[Storage, tuple[PageRange, ...]] | None
    how: str


# The position is read first, below the fence, and then the id. age() measures from the next id to be
# assigned, in a transaction that has none of its own and has not asked before. A snapshot's xmax
# would not do: it is the id after the last one that has ended.
_POSITION = """
SELECT lsn, pg_snapshot_xmax(pg_current_snapshot())::text::bigint, age('3'::xid)::bigint + 3
FROM (SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                   ELSE pg_current_wal_insert_lsn() END - '0/0'::pg_lsn)::bigint AS lsn
      OFFSET 0) AS before
"""


def read_position(cursor: Cursor) -> Position:
    """A position to start a later window from; read it before the snapshot, in a transaction."""
    lsn, xmax, following = row(cursor, _POSITION)
    return Position(xmax + (following - xmax) % RING, lsn)


_TOOLS = """
SELECT coalesce(current_setting('summarize_wal', true) = 'on', false),
       (SELECT ARRAY[n.nspname, p.proname]
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
        WHERE e.extname = 'pg_walinspect' AND p.proname = %s
          AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')),
       -- Not for a superuser, who may do everything: it takes somebody's consent.
       EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'pg_checkpoint'
               AND pg_has_role(r.oid, 'USAGE') AND NOT pg_is_in_recovery()
               AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))
"""


def read_tools(cursor: Cursor) -> Tools:
    """What there is to tell changed pages with."""
    modern = cursor.connection.server_version >= BLOCK_INFO_VERSION
    summaries, reader, checkpoint = row(cursor, _TOOLS, (BLOCK_INFO if modern else RECORDS_INFO,))
    return Tools(summaries, tuple(reader) if reader else None, checkpoint)
