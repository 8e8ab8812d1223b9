"""Ask the source's WAL which pages of its tables were written between two positions.

WAL summaries (PostgreSQL 17, `summarize_wal = on`) answer for everything up to a checkpoint, to
everybody. For the rest, up to the snapshot, there is pg_walinspect where this role may call it, a
checkpoint where it may ask for one, or patience. A window with a gap is never used: the answer
covers all of it, or says why it can't.

https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-WAL-SUMMARY
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

import psycopg2
from psycopg2 import sql
from psycopg2.sql import SQL

from sync_assets.engine.postgres.session import Cursor, rows
from sync_assets.engine.snapshot.pages import PageRange, ranges_of
from sync_assets.engine.snapshot.wal_tools import BLOCK_INFO, ChangedPages, Storage, Tools, Window

TAIL = 256 << 20
"""Bytes of WAL that pg_walinspect reads at most: 3 ms for each megabyte."""

SUMMARIES = 1000
"""Summary files that are read at most."""

TIDYING = [
    "FPI_FOR_HINT",
    "FREEZE_PAGE",
    "PRUNE",
    "PRUNE_ON_ACCESS",
    "PRUNE_VACUUM_SCAN",
    "PRUNE_VACUUM_CLEANUP",
    "VACUUM",
    "VISIBLE",
]
"""Records of a heap page (xlogdesc.c, heapdesc.c of 15 to 19) by which no row comes, goes or gets another xid:
they note, free and freeze what records before them have done, and VACUUM, any read, and from 19 on our own
first one, writes them. A summary does not tell them apart."""

RELISTS = 5
CHECKPOINT_SECONDS = 10.0
"""How long the summary of a checkpoint that was asked for may take."""


_Block = tuple[int, int, int, bool]
"""Tablespace, filenode, block, and whether it is a length that the relation was cut to."""


@dataclass(slots=True)
class _Found:
    pages: dict[Storage, set[int]] = field(default_factory=lambda: defaultdict(set))
    limits: dict[Storage, int] = field(default_factory=dict)

    def runs(self, wanted: Collection[Storage]) -> dict[Storage, tuple[PageRange, ...]]:
        return {each: ranges_of(self.pages[each], self.limits.get(each)) for each in wanted}


def changed_pages(  # noqa: PLR0913 - the question, and three limits that go by their names
    cursor: Cursor,
    window: Window,
    wanted: Collection[Storage],
    tools: Tools,
    *,
    wait: float = 0.0,
    most: int = TAIL,
    check: Callable[[], None] = lambda: None,
) -> ChangedPages:
    """The pages of `wanted` that were written in the window; `cursor` is in a transaction.

    The source's WAL must be flushed past the window's end: what is not on disk is not read, and
    nothing says so. `wait` is how many seconds a summary may take, `most` how many bytes of WAL
    are read where summaries end; `check` raises to end it.
    """
    if window.start >= window.end or not wanted:
        return ChangedPages(dict.fromkeys(wanted, ()), "no WAL was written")
    return _Search(cursor, window, wanted, tools, wait, most, check).run()


@dataclass(slots=True)
class _Search:
    """One window on its way from start to end: `position` is as far as it was read."""

    cursor: Cursor
    window: Window
    wanted: Collection[Storage]
    tools: Tools
    wait: float
    most: int
    check: Callable[[], None]
    found: _Found = field(default_factory=_Found)
    position: int = 0

    def run(self) -> ChangedPages:
        self.position = self.window.start
        if not self.tools.any:
            return ChangedPages(None, "the source has neither WAL summaries nor pg_walinspect")
        summarized = self._read_summaries()
        left = self.window.end - self.position
        if self.position < self.window.end and not self._read_tail():
            # Without summaries there is nothing that a checkpoint would bring.
            asked = self.tools.summaries and self.tools.checkpoint and self._checkpoint()
            if not self._await_summary(max(self.wait, CHECKPOINT_SECONDS) if asked else self.wait):
                return ChangedPages(None, self._why_not())
            left = 0
        names = ["WAL summaries"] * summarized + [f"{left >> 10} kB of WAL"] * (left > 0)
        return ChangedPages(self.found.runs(self.wanted), " and ".join(names) or "WAL summaries")

    def _why_not(self) -> str:
        missing = f"{(self.window.end - self.position) >> 10} kB of WAL before the snapshot"
        if self.tools.reader is None:
            return f"no summary covers the last {missing}, and this role may not read it"
        return f"the last {missing} cannot be read, or are more than {self.most >> 10} kB"

    def _read_summaries(self) -> bool:
        """Read the summaries that follow each other from the position on."""
        if not self.tools.summaries:
            return False
        files: list[tuple[int, int]] = []
        reached = self.position
        for start, end in rows(self.cursor, _AVAILABLE, self._parameters()):
            if start > reached or reached >= self.window.end:
                break
            files.append((start, end))
            reached = max(reached, end)
        if not files or len(files) > SUMMARIES:
            return False
        with _undoing(self.cursor) as outcome:
            listed = {"starts": [start for start, _ in files], "ends": [end for _, end in files]}
            summarized = rows(self.cursor, _SUMMARIZED, {**self._parameters(), **listed})
            self._take(summarized)
            self.position = reached
        return outcome.succeeded

    def _read_tail(self) -> bool:
        """Read the WAL itself from the position on; a segment that has gone was summarized."""
        for _ in range(RELISTS):
            if self.tools.reader is None or self.window.end - self.position > self.most:
                return False
            with _undoing(self.cursor) as outcome:
                self._take(self._written(self.tools.reader))
                self.position = self.window.end
            if outcome.succeeded:
                return True
            if not (outcome.recycled and self._read_summaries()):
                return False
            if self.position >= self.window.end:
                return True
        return False

    def _written(self, reader: tuple[str, str]) -> Iterable[_Block]:
        """The blocks that the WAL's records name from the position on."""
        modern = reader[1] == BLOCK_INFO
        statement = SQL(_FROM_BLOCKS if modern else _FROM_RECORDS).format(
            reader=sql.Identifier(*reader)
        )
        filenodes = "|".join(str(each.filenode) for each in self.wanted)
        pattern = {"pattern": f"/({filenodes}) fork main "}
        found = rows(self.cursor, statement, self._parameters() | pattern)
        return found if modern else _from_records(found, self.window)

    def _checkpoint(self) -> bool:
        with _undoing(self.cursor) as outcome:
            self.cursor.execute("CHECKPOINT")
        return outcome.succeeded

    def _await_summary(self, seconds: float) -> bool:
        """Wait for summaries that reach the end of the window."""
        if not self.tools.summaries:
            return False
        deadline, pause = time.monotonic() + seconds, threading.Event()
        while True:
            self._read_summaries()
            if self.position >= self.window.end:
                return True
            if time.monotonic() >= deadline:
                return False
            self.check()
            pause.wait(0.05)

    def _parameters(self) -> dict[str, object]:
        return {
            "timeline": self.window.timeline,
            "database": self.window.database,
            "position": self.position,
            "end": self.window.end,
            "filenodes": [each.filenode for each in self.wanted],
            "tidying": TIDYING,
        }

    def _take(self, found: Iterable[_Block]) -> None:
        for tablespace, filenode, block, is_limit in found:
            storage = Storage(tablespace, filenode)
            if storage not in self.wanted:
                continue
            if not is_limit:
                self.found.pages[storage].add(block)
            else:
                limits = self.found.limits
                limits[storage] = min(block, limits.get(storage, block))


_AVAILABLE = """
SELECT (start_lsn - '0/0'::pg_lsn)::bigint, (end_lsn - '0/0'::pg_lsn)::bigint
FROM pg_available_wal_summaries()
WHERE tli = %(timeline)s AND end_lsn > '0/0'::pg_lsn + %(position)s
  AND start_lsn < '0/0'::pg_lsn + %(end)s
ORDER BY start_lsn
"""

_SUMMARIZED = """
SELECT DISTINCT reltablespace::bigint, relfilenode::bigint, relblocknumber, is_limit_block
FROM unnest(%(starts)s::bigint[], %(ends)s::bigint[]) AS file (start, "end")
CROSS JOIN LATERAL pg_wal_summary_contents(
  %(timeline)s, '0/0'::pg_lsn + start, '0/0'::pg_lsn + "end")
WHERE reldatabase = %(database)s AND relforknumber = 0
  AND relfilenode = ANY (%(filenodes)s::bigint[]::oid[])
"""

_FROM_BLOCKS = """
SELECT DISTINCT reltablespace::bigint, relfilenode::bigint, relblocknumber, false
FROM {reader}('0/0'::pg_lsn + %(position)s, '0/0'::pg_lsn + %(end)s, false)
WHERE reldatabase = %(database)s AND relforknumber = 0
  AND relfilenode = ANY (%(filenodes)s::bigint[]::oid[]) AND record_type <> ALL (%(tidying)s)
"""

# PostgreSQL 15 gives a record's blocks as text: "blkref #0: rel 1663/5/16395 fork main blk 7 …".
# Taking it apart in SQL would take twenty times as long as reading the WAL does.
_FROM_RECORDS = """
SELECT DISTINCT block_ref
FROM {reader}('0/0'::pg_lsn + %(position)s, '0/0'::pg_lsn + %(end)s)
WHERE block_ref ~ %(pattern)s AND record_type <> ALL (%(tidying)s)
"""
_BLOCK_REF = re.compile(r"rel (\d+)/(\d+)/(\d+) fork main blk (\d+)")


def _from_records(found: list[tuple[str]], window: Window) -> Iterator[_Block]:
    for (text,) in found:
        for tablespace, database, filenode, block in _BLOCK_REF.findall(text):
            if int(database) == window.database:
                yield int(tablespace), int(filenode), int(block), False


@dataclass(slots=True)
class _Outcome:
    succeeded: bool = True
    recycled: bool = False


@contextlib.contextmanager
def _undoing(cursor: Cursor) -> Iterator[_Outcome]:
    """Survive a statement's failure inside the snapshot's transaction, but no lost connection."""
    outcome = _Outcome()
    cursor.execute("SAVEPOINT wal")
    try:
        yield outcome
    except psycopg2.Error as error:
        # Not what ends a session or a statement from outside.
        if cursor.connection.closed or (error.pgcode or "57").startswith("57"):
            raise
        cursor.execute("ROLLBACK TO wal")
        outcome.succeeded = False
        outcome.recycled = isinstance(error, psycopg2.errors.UndefinedFile)
    cursor.execute("RELEASE wal")
