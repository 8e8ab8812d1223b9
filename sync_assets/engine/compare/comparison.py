"""Compare two ends: checksums of all rows, then the rows of the buckets that differ.

No value leaves a server, and nothing is kept of what is the same.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence

from psycopg2.sql import SQL

from sync_assets.engine.compare.checksum import Buckets, digits_for, listing, sums
from sync_assets.engine.compare.difference import differences
from sync_assets.engine.compare.scan import End, Scan, streamed
from sync_assets.engine.compare.sides import rows_of_target
from sync_assets.engine.compare.tally import Tally
from sync_assets.engine.context import Run
from sync_assets.engine.plan.chunks import ROWS_PER_PAGE_GUESS
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.session import PINNED, READ_SNAPSHOT, transaction
from sync_assets.engine.progress import Progress
from sync_assets.engine.snapshot.give_way import giving_way, idling
from sync_assets.engine.snapshot.snapshot import IN_RECOVERY, is_in_recovery
from sync_assets.engine.table import Table
from sync_assets.engine.threads import TaskGroup
from sync_assets.engine.workers import choose_workers

LISTED_AT_ONCE = 5_000_000
"""Rows of both ends; the servers sort them, on disk where they must."""

SIGNS = {"source": 1, "target": -1}


class Comparison:
    """A table's rows under one snapshot of its source, against the target as it is each time."""

    def __init__(self, run: Run, table: Table, source: End) -> None:
        self._run, self._table, self.source = run, table, source
        self._parts: list[list[int]] = []
        self._digits = 0
        self.rows_source = self.rows_target = self._awaited = 0

    def compare(self, tally: Tally) -> None:
        """Read both ends, and give every difference to `tally`."""
        report = self._run.report
        with self.target_end() as target:
            ends = (self.source, target)
            buckets = Buckets(digits_for(max(_estimate(end.rows.relation) for end in ends)))
            report.begin("compare")
            self.sum_up(ends, buckets)
            report.spent("compare")
            self._digits, self._parts = buckets.digits, list(buckets.differing(LISTED_AT_ONCE))
            self.rows_source, self.rows_target = (buckets.rows[SIGNS[e.side]] for e in ends)
            self._awaited = buckets.awaited[SIGNS["source"]]
            self._list(ends, tally)

    def compare_again(self, tally: Tally) -> None:
        """Look again at what differed, on the target as it has become."""
        with self.target_end() as target:
            self._list((self.source, target), tally)

    def compare_as(self, earlier: Comparison, tally: Tally) -> None:
        """Look at what differed under the snapshot of an earlier comparison, on both ends anew."""
        self._digits, self._parts = earlier._digits, earlier._parts
        self.compare_again(tally)

    def settled(self) -> int | None:
        """The source's rows that are as the last run saw them; None where no version tells."""
        return None if self.source.rows.awaited is None else self.rows_source - self._awaited

    @contextlib.contextmanager
    def target_end(self) -> Iterator[End]:
        """The target's rows under a snapshot of their own; raises SchemaConflict."""
        table, source = self._table, self.source.rows
        with self._run.sessions.connected("target") as reader:
            with transaction(reader) as cursor:
                rows_of_target(table, source, read_relation(cursor, table.target))
            with transaction(reader, *PINNED, begin=READ_SNAPSHOT) as cursor:
                name = identifiers.relation(table.target)
                # Before the snapshot: TRUNCATE is not MVCC-safe.
                lock = SQL("LOCK TABLE {} IN ACCESS SHARE MODE; {}")
                cursor.execute(lock.format(name, SQL(IN_RECOVERY)))
                in_recovery = is_in_recovery(cursor)
                with giving_way(self._run.sessions, self._run.max_blocking, "target"):
                    idling(self._run.sessions, reader, "target")
                    rows = rows_of_target(table, source, read_relation(cursor, table.target))
                    yield End("target", rows, reader, in_recovery)

    def sum_up(self, ends: Sequence[End], buckets: Buckets) -> None:
        """Read both ends whole, at the same time."""
        run, name = self._run, str(self._table.target)
        workers = choose_workers(run.workers, run.workers.max_workers)
        read = itertools.count(1)

        def one_read() -> None:
            pieces = sum(scan.pieces for scan in scans)
            rows = buckets.rows[SIGNS["source"]]
            run.report.moved(Progress(name, "compare", rows, 0, next(read), pieces))

        scans = [
            Scan(
                run.sessions,
                end,
                workers,
                functools.partial(sums, digits=buckets.digits),
                functools.partial(buckets.add, SIGNS[end.side]),
                one_read,
            )
            for end in ends
        ]
        with TaskGroup(run.sessions.cancel_statements) as group:
            for scan in scans:
                scan.start(group)

    def _list(self, ends: Sequence[End], tally: Tally) -> None:
        """Compare the rows of the buckets that differ one by one."""
        for part in self._parts:
            self._run.report.begin("list")
            sessions = self._run.sessions
            with TaskGroup(sessions.cancel_statements) as group:
                source, target = (
                    streamed(group, sessions, end, listing(end.rows, self._digits, part))
                    for end in ends
                )
                for found in differences(source, target):
                    tally.add(found)
        self._run.report.spent("list")


def _estimate(relation: Relation) -> float:
    return sum(
        leaf.estimated_rows if leaf.estimated_rows >= 0 else leaf.pages * ROWS_PER_PAGE_GUESS
        for leaf in relation.leaves
    )
