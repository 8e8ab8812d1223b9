"""The second half of a run: the transaction that changes the target.

merge → history → state
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sync_assets.engine.context import Run
from sync_assets.engine.history.follow import Followed, follow
from sync_assets.engine.load.staging import Staged
from sync_assets.engine.merge import merge
from sync_assets.engine.merge.collisions import StillThere
from sync_assets.engine.merge.merge import Merged
from sync_assets.engine.merge.publish import publish_rows
from sync_assets.engine.merge.still_there import still_there
from sync_assets.engine.merge.violations import explained
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.catalog import read_relations
from sync_assets.engine.postgres.lock import require_locks
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.session import Connection, Cursor, transaction
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.run.outcome import make_receipt, state_after
from sync_assets.engine.snapshot.flush import Flush
from sync_assets.engine.state import advance
from sync_assets.engine.state.state import State, States


@dataclass(frozen=True, slots=True)
class Written:
    """What a transaction has written of one table; `before` is the state that it found."""

    staged: Staged
    merged: Merged
    before: State | None


def _receipt(run: Run, written: Written, now: Relation | None) -> Receipt:
    return make_receipt(run, written.staged, written.merged, written.before, now)


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
    if flush is not None and any(staged.plan.layout.alters for staged in group):
        # To alter a table takes a lock that no reader shall wait for longer than need be.
        flush.ensure()

    def write(cursor: Cursor, there: StillThere) -> Iterator[Written]:
        merged = publish_rows(cursor, group, _expected_storage(group, known), there)
        for staged in group:
            yield Written(staged, merged[staged.target], known[staged.target])

    return published(run, target, [staged.target for staged in group], write, flush)


def published(
    run: Run,
    target: Connection,
    targets: Sequence[RelationName],
    write: Callable[[Cursor, StillThere], Iterable[Written]],
    flush: Flush | None,
    receipt_of: Callable[[Run, Written, Relation | None], Receipt] = _receipt,
) -> tuple[Receipt, ...]:
    """Write rows, states and receipts in one transaction; `write` does what there is to do of rows.

    It is given what asks the source for rows that are in the way. `receipt_of` makes the receipts,
    unless they are those of any run.
    """
    work = partial(_published, run, target, targets, write, flush, receipt_of)
    return explained(run.sessions, target, targets, work)


def _published(
    run: Run,
    target: Connection,
    targets: Sequence[RelationName],
    write: Callable[[Cursor, StillThere], Iterable[Written]],
    flush: Flush | None,
    receipt_of: Callable[[Run, Written, Relation | None], Receipt],
) -> tuple[Receipt, ...]:
    report = run.report
    run.sessions.check()
    report.begin("merge")
    with transaction(target, merge.INDEXED) as cursor:
        require_locks(cursor, targets)
        done = [*write(cursor, partial(still_there, run.sessions))]
        report.spent("merge")
        there = read_relations(cursor, [*targets, *_histories(done)])
        followed = _followed(cursor, run, done, there)
        if followed:
            report.spent("history")
        if flush is not None:
            flush.ensure()
        report.spent("flush")
        report.begin("state")
        receipts = []
        for each in done:
            name, before = each.staged.target, each.before
            now = there.get(name)
            receipt, history = _with_versions(receipt_of(run, each, now), followed.get(name))
            receipts.append(receipt)
            if now is not None and not each.staged.plan.table.dry_run:
                after = state_after(each.staged, before, receipt, now.storage)
                after = dataclasses.replace(after, history=history)
                source = each.staged.plan.table.source
                advance.advance(cursor, name, source, before, after, receipt)
        report.begin("commit")
        run.sessions.check()
        if any(each.staged.plan.table.dry_run for each in done):
            cursor.execute("ROLLBACK")
    return tuple(receipts)


def _histories(done: Sequence[Written]) -> Iterator[RelationName]:
    names = (each.staged.plan.table.history_table for each in done)
    return (name for name in names if name is not None)


def _followed(
    cursor: Cursor, run: Run, done: Sequence[Written], there: Mapping[RelationName, Relation]
) -> dict[RelationName, Followed]:
    """What the histories have followed, of those tables that keep one."""
    found = {
        each.staged.target: follow(
            cursor, run.sessions, each.staged, each.merged, each.before, there
        )
        for each in done
    }
    return {name: followed for name, followed in found.items() if followed is not None}


def _with_versions(receipt: Receipt, followed: Followed | None) -> tuple[Receipt, str | None]:
    """The receipt with the counts of versions, and what the state remembers of their table."""
    if followed is None:
        return receipt, None
    counted = dataclasses.replace(
        receipt, versions_opened=followed.opened, versions_closed=followed.closed
    )
    return counted, followed.remembered


def _expected_storage(group: Sequence[Staged], known: States) -> dict[RelationName, str]:
    """What targets that are not read whole must still be, since rows below the mark are not read.

    Of a part they are, and the state says as before what all the others are worth.
    """
    marked = [each for each in group if not each.plan.full and each.plan.part is None]
    states = {staged.target: known[staged.target] for staged in marked}
    return {name: before.target_storage for name, before in states.items() if before}
