"""The second half of a run: the transaction that changes the target.

merge → state
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from functools import partial

from sync_assets.engine.context import Run
from sync_assets.engine.load.staging import Staged
from sync_assets.engine.merge import merge
from sync_assets.engine.merge.publish import publish_rows
from sync_assets.engine.merge.still_there import still_there
from sync_assets.engine.merge.violations import explained
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.catalog import read_relations
from sync_assets.engine.postgres.lock import require_locks
from sync_assets.engine.postgres.session import Connection, transaction
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.outcome import make_receipt, state_after
from sync_assets.engine.snapshot.flush import Flush
from sync_assets.engine.state import advance
from sync_assets.engine.state.state import States


def publish(
    run: Run,
    target: Connection,
    group: Sequence[Staged],
    known: States,
    flush: Flush | None = None,
) -> tuple[Receipt, ...]:
    """The one transaction that changes the target: rows, state and receipts together.

    The marks in the states count on the source's WAL: `flush` is waited for.
    """
    targets = [staged.target for staged in group]
    work = partial(_publish, run, target, group, known, flush)
    return explained(run.sessions, target, targets, work)


def _publish(
    run: Run,
    target: Connection,
    group: Sequence[Staged],
    known: States,
    flush: Flush | None,
) -> tuple[Receipt, ...]:
    report = run.report
    run.sessions.check()
    if flush is not None and any(staged.plan.layout.alterations for staged in group):
        # To alter a table takes a lock that no reader shall wait for longer than need be.
        flush.ensure()
    report.begin("merge")
    with transaction(target, merge.INDEXED) as cursor:
        require_locks(cursor, [staged.target for staged in group])
        look = functools.partial(still_there, run.sessions)
        merged = publish_rows(cursor, group, _expected_storage(group, known), look)
        report.spent("merge")
        if flush is not None:
            flush.ensure()
        report.spent("flush")
        report.begin("state")
        receipts = []
        there = read_relations(cursor, (staged.target for staged in group))
        for staged in group:
            name, before = staged.target, known[staged.target]
            published = there.get(name)
            receipt = make_receipt(run, staged, merged[name], before, published)
            receipts.append(receipt)
            if published is not None and not staged.plan.table.dry_run:
                after = state_after(staged, before, receipt, published.storage)
                advance.advance(cursor, name, staged.plan.table.source, before, after, receipt)
        report.begin("commit")
        run.sessions.check()
        if any(staged.plan.table.dry_run for staged in group):
            cursor.execute("ROLLBACK")
    return tuple(receipts)


def _expected_storage(group: Sequence[Staged], known: States) -> dict[RelationName, str]:
    """What targets that are not read whole must still be, since rows below the mark are not read.

    Of a part they are, and the state says as before what all the others are worth.
    """
    marked = [each for each in group if not each.plan.full and each.plan.part is None]
    states = {staged.target: known[staged.target] for staged in marked}
    return {name: before.target_storage for name, before in states.items() if before}
