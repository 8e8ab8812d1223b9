"""Make on the target what tables have besides rows, and follow it: before a run and after it.

What may refuse rows and is the source's no longer is dropped before the rows of a run come; all else
is made and dropped once they are published, so that nothing of it can fail a run.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sync_assets.engine import errors
from sync_assets.engine.carry.carrying import Carrying, seen
from sync_assets.engine.carry.decide import (
    REFUSING,
    Decision,
    Wanted,
    is_in_the_way,
    may_be_there,
)
from sync_assets.engine.carry.executing import attempt, drop
from sync_assets.engine.carry.objects import (
    SequenceValue,
    TableFacts,
    named,
    read_sequence_values,
)
from sync_assets.engine.carry.statements import dropping, making, set_sequence
from sync_assets.engine.carry.view_making import follow_views
from sync_assets.engine.context import Run
from sync_assets.engine.merge.merge import free_name
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.session import Connection, transaction
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.snapshot.identity import is_another
from sync_assets.engine.state import carried
from sync_assets.engine.state.advance import amend_receipt
from sync_assets.engine.state.carried import Carried
from sync_assets.engine.state.state import States
from sync_assets.engine.table import Carry, Table
from sync_assets.engine.threads import TaskGroup
from sync_assets.engine.workers import choose_workers


def begin(
    run: Run, target: Connection, tables: Sequence[Table], known: States, *, grouped: bool
) -> Carrying | None:
    """Look at the sources of tables that carry something, None if none does.

    What could refuse the rows that come now, and the sources no longer have, is dropped, unless the source
    is another one than that of the state, which the run will refuse. `grouped` says that the tables are
    published in one transaction. Raises SyncError.
    """
    carrying = seen(run, target, tables, grouped=grouped)
    if carrying is None:
        return None
    going = []
    for table, there, _, decision in carrying.look(where_made=True):
        before = known.get(table.target)
        other = before is not None and is_another(before, carrying.place)
        if there is None or (other and not table.accept_source):
            continue
        source = carrying.sources[table.source]
        going += [
            (table, there, each) for each in decision.drop if is_in_the_way(each, source, there)
        ]
    for kind in (*REFUSING, *(kind for kind in Carry if kind not in REFUSING)):
        for table, there, each in going:
            if each.kind is kind:
                drop(carrying, table.target, there, each)
    return carrying


def finish(carrying: Carrying, receipts: Sequence[Receipt]) -> tuple[Receipt, ...]:
    """Make what is to be there beside the rows; the receipts tell what was made, and what could not be.

    Raises SyncError only where the run as a whole must end: rows are published by now.
    """
    carrying.run.report.begin("carry")
    by_target = {receipt.target: receipt for receipt in receipts}
    told: dict[str, list[str]] = {name: [] for name in by_target}
    looked = [*carrying.look()]
    # A foreign key is made after what it refers to, whichever table that is of.
    for later in (False, True):
        for table, there, made, decision in looked:
            receipt = by_target.get(str(table.target))
            if receipt is None or there is None:
                continue
            work = _Making(carrying, table, there, made, receipt)
            told[receipt.target].extend(work.follow(decision, later=later))
    done = {name: table for name, table in carrying.tables.items() if str(name) in by_target}
    again = any(receipt.full for receipt in receipts)
    for name, said in follow_views(dataclasses.replace(carrying, tables=done), again=again):
        told[str(name)].append(said)
    values = _sequence_values(carrying)
    for table, there, _, decision in looked:
        if there is not None and str(table.target) in by_target:
            its = values.get(table.source, {})
            told[str(table.target)].extend(_set_sequences(carrying, table, there, decision, its))
    carrying.run.report.spent("carry")
    seconds = round(carrying.run.report.seconds["carry"], 3)
    return tuple(_told(carrying, each, told[each.target], seconds) for each in receipts)


def _told(carrying: Carrying, receipt: Receipt, said: Sequence[str], seconds: float) -> Receipt:
    if not said:
        return receipt
    receipt = dataclasses.replace(
        receipt,
        events=(*receipt.events, *said),
        seconds={**receipt.seconds, "carry": seconds},
    )
    with transaction(carrying.target) as cursor:
        amend_receipt(cursor, RelationName.parse(receipt.target), receipt)
    return receipt


@dataclass(frozen=True, slots=True)
class _Making:
    """One table whose rows are published."""

    carrying: Carrying
    table: Table
    there: TableFacts
    made: tuple[Carried, ...]
    receipt: Receipt

    def follow(self, decision: Decision, *, later: bool) -> Iterator[str]:
        """Do what is decided, and tell it; foreign keys `later`, and all else before."""
        for gone in decision.drop:
            if (gone.kind is Carry.FOREIGN_KEYS) is later:
                problem = drop(self.carrying, self.table.target, self.there, gone)
                # What is made again is told of as made, and what had gone already is no news.
                silent = any(each.object.place == gone.place for each in decision.make)
                silent = silent or not may_be_there(gone, self.there)
                if problem or not silent:
                    yield _said(named(gone.kind, gone.made_as), problem, "dropped")
        if not later:
            for refused, why in decision.refused:
                # Without words of it: tried as soon as nothing is against it.
                its = Carried(refused.kind, refused.name, "", refused.name, why)
                yield from self._refuse(its, str(refused))
            if self._is_first:
                self._take_comments()
        wanted = [
            each
            for each in decision.make + decision.tried * self.receipt.full
            if (each.kind is Carry.FOREIGN_KEYS) is later
        ]
        at_once = [each for each in wanted if each.kind is Carry.INDEXES and self._is_first]
        yield from self._build(at_once)
        for each in wanted:
            if each not in at_once:
                yield self._make(self.carrying.target, each)

    def _take_comments(self) -> None:
        """Take those that came with the table for made, so that they go with the source's."""
        came = [each for each in self.there.objects if each.kind is Carry.COMMENTS]
        with transaction(self.carrying.target) as cursor:
            for each in came if Carry.COMMENTS in self.table.carry else ():
                its = Carried(each.kind, each.name, each.definition, each.name)
                carried.remember(cursor, self.table.target, its)

    @property
    def _is_first(self) -> bool:
        """Whether nobody has written to the target yet, nor reads it in long transactions."""
        return self.receipt.watermark_before is None

    def _refuse(self, refused: Carried, what: str) -> Iterator[str]:
        """Tell of what cannot be made, the first time."""
        known = {each.place: each.problem for each in self.made}
        if known.get(refused.place) != refused.problem:
            with transaction(self.carrying.target) as cursor:
                carried.remember(cursor, self.table.target, refused)
            yield _said(what, refused.problem, "")

    def _build(self, wanted: Sequence[Wanted]) -> Iterator[str]:
        """Build indexes side by side, over several connections, and tell of each."""
        if not wanted:
            return
        run = self.carrying.run
        left, told = list(wanted), []

        def build() -> None:
            with run.sessions.connected("target") as connection:
                while left:
                    with contextlib.suppress(IndexError):
                        told.append(self._make(connection, left.pop(0)))

        workers = choose_workers(run.workers, run.workers.max_workers)
        with TaskGroup(partial(run.sessions.cancel_statements, "target")) as group:
            for _ in range(min(workers, len(wanted))):
                group.start(build)
        yield from told

    def _make(self, connection: Connection, wanted: Wanted) -> str:
        """Make one object, remembered before it is begun, so that no kill leaves one behind."""
        target, run = self.table.target, self.carrying.run
        with transaction(connection) as cursor:
            name = wanted.object.name
            if wanted.kind in (Carry.INDEXES, Carry.STATISTICS):
                statistics = wanted.kind is Carry.STATISTICS
                name = free_name(cursor, target.schema, name, statistics=statistics)
            begun = Carried(wanted.kind, wanted.object.name, wanted.remembered, name)
            carried.remember(cursor, target, begun)
        concurrently = not self._is_first and not self.there.partitioned
        steps = making(target, wanted, name, concurrently=concurrently)
        done, problem = attempt(run, connection, steps)
        if problem is None:
            return _said(str(wanted.object), None, "made")
        run.sessions.check()
        left = None
        # Where nothing was done, what has that name is somebody else's.
        if done or (concurrently and wanted.kind is Carry.INDEXES):
            _, left = attempt(run, connection, dropping(target, begun))
        if left is None:
            with transaction(connection) as cursor:
                if isinstance(problem, errors.TransientError | errors.OutOfSpace):
                    # Nothing of the object's: the next run tries again.
                    carried.let_go(cursor, target, begun)
                else:
                    failed = dataclasses.replace(begun, problem=problem.message)
                    carried.remember(cursor, target, failed)
        return _said(str(wanted.object), problem.message, "made")


def _sequence_values(carrying: Carrying) -> Mapping[RelationName, Mapping[str, SequenceValue]]:
    """What the sources' sequences have given by now, which no row that was read is beyond."""
    chosen = [each.source for each in carrying.tables.values() if Carry.SEQUENCES in each.carry]
    if not chosen:
        return {}
    with carrying.run.sessions.connected("source") as source, transaction(source) as cursor:
        return read_sequence_values(cursor, chosen)


def _set_sequences(
    carrying: Carrying,
    table: Table,
    there: TableFacts,
    decision: Decision,
    values: Mapping[str, SequenceValue],
) -> Iterator[str]:
    refused = {each.name for each, _ in decision.refused if each.kind is Carry.SEQUENCES}
    for column in values.keys() & there.columns.keys() - refused:
        set_ = set_sequence(table.target, column, values[column])
        _, problem = attempt(carrying.run, carrying.target, [set_])
        if problem is not None:
            yield _said(named(Carry.SEQUENCES, column), problem.message, "")


def _said(what: str, problem: str | None, done: str) -> str:
    return f"{what} not carried: {problem}" if problem else f"{what} {done}"
