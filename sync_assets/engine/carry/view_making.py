"""Make and drop views on the target, once what they read is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg2
from psycopg2.sql import Composable

from sync_assets.engine import errors
from sync_assets.engine.carry.calls import Database
from sync_assets.engine.carry.carrying import Carrying, above, first_below
from sync_assets.engine.carry.statements import create_view, drop_view
from sync_assets.engine.carry.view_reading import View, read_views
from sync_assets.engine.carry.views import Known, ViewDecision, read_known
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.lock import lock_ddl
from sync_assets.engine.postgres.session import Cursor, transaction
from sync_assets.engine.state import carried
from sync_assets.engine.state.carried import Carried
from sync_assets.engine.table import Carry


def follow_views(carrying: Carrying, *, again: bool) -> Iterator[tuple[RelationName, str]]:
    """Make what is to be made, and tell it: target, and what; `again` what failed lately, too."""
    if not above(carrying.tables.values()):
        return
    with transaction(carrying.target) as cursor:
        known, decision = carrying.look_at_views(cursor, again=again)
        told = [each for each in decision.refused if _is_news(known, *each)]
        if not (decision.drop or decision.make or told):
            return
        # The runs of two tables may be about to make the same view.
        lock_ddl(cursor)
        known, decision = carrying.look_at_views(cursor, again=again)
        yield from _Making(carrying, cursor, known).follow(decision)


def drop_views(carrying: Carrying) -> bool:
    """Drop the views that runs made above the tables, which go before a column changes; say if any was."""
    targets = [*carrying.tables]
    with transaction(carrying.target) as cursor:
        known = read_known(cursor, targets, {}, Database())
        ours = [name for name in known.in_order() if known.is_ours(name)]
        making = _Making(carrying, cursor, known)
        gone = [name for name in reversed(ours) if making.drop(name) is None]
    return bool(gone)


def _is_news(known: Known, view: View, why: str) -> bool:
    made = known.made.get(view.name)
    return made is None or made.problem != why


@dataclass(frozen=True, slots=True)
class _Making:
    """Views of one target, under `cursor`, in a transaction in which each may fail by itself."""

    carrying: Carrying
    cursor: Cursor
    known: Known

    def follow(self, decision: ViewDecision) -> Iterator[tuple[RelationName, str]]:
        """Drop and make what is decided, and tell of each: target, and what."""
        tables = [*self.carrying.tables.values()]
        made_again = {view.name: view.definition for view in decision.make}
        stays = set()
        for name in decision.drop:
            problem = self.drop(name)
            if problem is not None:
                stays.add(name)
                as_before = self.known.made[name].made_as
                self._remember(name, made_again.get(name, ""), problem, as_before)
            if problem is not None or name not in made_again:
                told = f"not carried: {problem}" if problem else "dropped"
                yield first_below(self.known.there[name], tables), f"view {name} {told}"
        schemas, made = {*self.known.database.schemas}, []
        for view in decision.make:
            if view.name in stays:
                continue
            problem = self._make(view, schemas)
            if problem is None:
                made.append(view)
            told = f"not carried: {problem}" if problem else "made"
            yield first_below(view, tables), f"view {view.name} {told}"
        there = read_views(self.cursor, [*self.carrying.tables]) if made else {}
        for view in made:
            self._remember(view.name, view.definition, None, there[view.name].definition)
        yield from self._refuse(decision)

    def _refuse(self, decision: ViewDecision) -> Iterator[tuple[RelationName, str]]:
        """Tell of what cannot be made, the first time."""
        tables = [*self.carrying.tables.values()]
        for view, why in decision.refused:
            if _is_news(self.known, view, why):
                before = self.known.made.get(view.name)
                if view.name in decision.drop or not self.known.is_ours(view.name):
                    before = None
                its = (before.definition, before.made_as) if before else ("", "")
                self._remember(view.name, its[0], why, its[1])
                yield first_below(view, tables), f"view {view.name} not carried: {why}"

    def drop(self, name: RelationName) -> str | None:
        """Drop a view; return what was against it."""
        problem = self._attempt(drop_view(name))
        if problem is None:
            carried.let_go(self.cursor, name, self.known.made[name])
        return problem.message if problem else None

    def _make(self, view: View, schemas: set[str]) -> str | None:
        """Make a view, and its schema where that is not among `schemas`; return what was against it."""
        problem = None
        for step in create_view(view, schemas):
            problem = self._attempt(step)
            if problem is not None:
                break
        else:
            schemas.add(view.name.schema)
        # What has nothing to do with the view is tried again by the next run.
        if problem and not isinstance(problem, errors.TransientError | errors.OutOfSpace):
            self._remember(view.name, view.definition, problem.message)
        return problem.message if problem else None

    def _remember(
        self, name: RelationName, definition: str, problem: str | None, made_as: str = ""
    ) -> None:
        carried.remember(self.cursor, name, Carried(Carry.VIEWS, "", definition, made_as, problem))

    def _attempt(self, statement: Composable) -> errors.SyncError | None:
        self.cursor.execute("SAVEPOINT view")
        try:
            self.cursor.execute(statement)
        except psycopg2.Error as error:
            if self.carrying.target.closed:
                raise
            self.cursor.execute("ROLLBACK TO view")
            return self.carrying.run.sessions.explained(error)
        return None
