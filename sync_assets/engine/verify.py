"""Compare both ends of a table exactly, on one snapshot of its source.

Each end is read once, and answers with checksums alone; the rows of the buckets that differ are
then listed, by hashes and keys, and compared as they come. No value leaves a server.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence

from psycopg2.sql import SQL, Identifier

from sync_assets.engine import snapshot, state
from sync_assets.engine.batches import batch_folder
from sync_assets.engine.catalog import Relation, read_relation
from sync_assets.engine.checksum import Buckets, digits_for, listing, sums, whole
from sync_assets.engine.compared import awaited_by, rows_of_source, rows_of_target
from sync_assets.engine.difference import Kind, differences
from sync_assets.engine.lock import locked
from sync_assets.engine.progress import Progress
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run import Run
from sync_assets.engine.scan import End, Scan, concurrently, streamed
from sync_assets.engine.session import (
    CATALOG_NAMES,
    OWN_NAMES,
    PINNED,
    READ_SNAPSHOT,
    Connection,
    transaction,
)
from sync_assets.engine.snapshot import SourceView
from sync_assets.engine.sync import KnownStates, fill, plan_tables, publish
from sync_assets.engine.table import RelationName, Table
from sync_assets.engine.verdict import Tally, after_sync, since_last_run
from sync_assets.engine.verification import Verification
from sync_assets.engine.workers import choose_workers

LISTED_AT_ONCE = 5_000_000
"""Rows of both ends; the servers sort them, on disk where they must."""

ROWS_PER_PAGE_GUESS = 50
EXAMPLES = 20
SIGNS = {"source": 1, "target": -1}


def verify_tables(
    run: Run, tables: Sequence[Table], *, sync: bool, repair: bool, examples: int
) -> tuple[Verification, ...]:
    """Sync, unless told not to, and compare on the same snapshot; raises SyncError."""
    targets = [table.target for table in tables]
    with (
        run.sessions.connected("target") as target,
        locked(target, targets),
        run.sessions.connected("source") as source,
        snapshot.taken(source, tables, run.report.begin) as views,
    ):
        receipts = _synced(run, tables, views, source, target) if sync else {}
        return tuple(
            _verify(run, table, view, source, target, receipts.get(table.target), examples)
            for table, view in zip(tables, views, strict=True)
        )


def _synced(
    run: Run,
    tables: Sequence[Table],
    views: Sequence[SourceView],
    source: Connection,
    target: Connection,
) -> dict[RelationName, Receipt]:
    """One run on a snapshot that outlives it."""
    known = known_states(target, tables)
    with contextlib.ExitStack() as cleanup:
        folder = cleanup.enter_context(batch_folder(run.batch_dir))
        plans = plan_tables(run, tables, views, source, target, known)
        group = fill(run, plans, source, target, folder, cleanup, hold=True)
        lsn = views[0].snapshot.lsn
        snapshot.ensure_flushed(source, run.sessions.connected("source"), lsn)
        receipts = publish(run, target, group, known)
    return dict(zip((table.target for table in tables), receipts, strict=True))


def _verify(
    run: Run,
    table: Table,
    view: SourceView,
    source: Connection,
    target: Connection,
    receipt: Receipt | None,
    examples: int,
) -> Verification:
    judge, rows = after_sync(table), rows_of_source(table, view)
    if receipt is None:
        known = known_states(target, [table])[table.target]
        judge = since_last_run(table, known, view.snapshot)
        rows = rows_of_source(table, view, awaited_by(view, known))
    tally = Tally(judge, rows.key, examples)
    # What an operator wrote finds its functions where the role would.
    own = (OWN_NAMES,) if table.where is not None or table.expressions else ()
    buckets = _compare(run, table, End("source", rows, source, own), tally)
    return _verification(run, table, view, buckets, tally, receipt)


def known_states(target: Connection, tables: Sequence[Table]) -> KnownStates:
    """What the target remembers of the tables."""
    with transaction(target, CATALOG_NAMES) as cursor:
        return {table.target: state.read(cursor, table.target) for table in tables}


def _compare(run: Run, table: Table, source: End, tally: Tally) -> Buckets:
    with _target_end(run, table, source) as target:
        ends = (source, target)
        buckets = Buckets(digits_for(max(_estimate(end.rows.relation) for end in ends)))
        run.report.begin("compare")
        _sum_up(run, str(table.target), ends, buckets)
        run.report.spent("compare")
        for part in buckets.differing(LISTED_AT_ONCE):
            run.report.begin("list")
            _list(run, ends, buckets.digits, part, tally)
        run.report.spent("list")
    return buckets


@contextlib.contextmanager
def _target_end(run: Run, table: Table, source: End) -> Iterator[End]:
    """The target's rows under a snapshot of their own."""
    with run.sessions.connected("target") as reader:
        with transaction(reader, CATALOG_NAMES) as cursor:
            rows_of_target(table, source.rows, read_relation(cursor, table.target))
        with transaction(reader, CATALOG_NAMES, *PINNED, begin=READ_SNAPSHOT) as cursor:
            name = Identifier(table.target.schema, table.target.name)
            # Before the snapshot: TRUNCATE is not MVCC-safe.
            cursor.execute(SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(name))
            there = read_relation(cursor, table.target)
            yield End("target", rows_of_target(table, source.rows, there), reader)


def _estimate(relation: Relation) -> float:
    return sum(
        leaf.estimated_rows if leaf.estimated_rows >= 0 else leaf.pages * ROWS_PER_PAGE_GUESS
        for leaf in relation.leaves
    )


def _sum_up(run: Run, table: str, ends: Sequence[End], buckets: Buckets) -> None:
    """Read both ends whole, at the same time."""
    workers = choose_workers(run.workers, run.workers.max_workers)
    read = itertools.count(1)

    def one_read() -> None:
        rows = buckets.rows[SIGNS["source"]]
        all_pieces = sum(scan.pieces for scan in scans)
        run.report.moved(Progress(table, "compare", rows, 0, next(read), all_pieces))

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
    concurrently(run.sessions, [work for scan in scans for work in scan.works()])


def _list(run: Run, ends: Sequence[End], digits: int, part: Sequence[int], tally: Tally) -> None:
    """Compare the rows of some buckets one by one, without keeping them."""
    with contextlib.ExitStack() as stack:
        source, target = (
            stack.enter_context(
                streamed(
                    run.sessions, end, listing(end.rows, digits, part), whole(end.rows.relation)
                )
            )
            for end in ends
        )
        for found in differences(source, target):
            tally.add(found)


def _verification(
    run: Run,
    table: Table,
    view: SourceView,
    buckets: Buckets,
    tally: Tally,
    receipt: Receipt | None,
) -> Verification:
    return Verification(
        source=str(table.source),
        target=str(table.target),
        synced=receipt is not None,
        rows_source=buckets.rows[SIGNS["source"]],
        rows_target=buckets.rows[SIGNS["target"]],
        rows_differing=tally.kinds[Kind.DIFFERS],
        rows_only_in_source=tally.kinds[Kind.ONLY_IN_SOURCE],
        rows_only_in_target=tally.kinds[Kind.ONLY_IN_TARGET],
        rows_pending=tally.verdicts["pending"],
        rows_unexplained=tally.verdicts["unexplained"],
        rows_wrong=tally.verdicts["wrong"],
        examples=tally.examples,
        snapshot_at=view.snapshot.taken_at.isoformat(),
        seconds=run.report.total(),
        receipt=receipt,
    )
