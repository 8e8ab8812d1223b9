"""What tables carry, seen on both ends before anything is done about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sync_assets.engine.carry.calls import Database, read_database
from sync_assets.engine.carry.decide import Decision, decide, may_be_there
from sync_assets.engine.carry.objects import TableFacts, TableObject, read_objects
from sync_assets.engine.carry.statements import create_view, drop_view, dropping, making
from sync_assets.engine.carry.view_reading import View, read_views
from sync_assets.engine.carry.views import Known, ViewDecision, decide_views, read_known
from sync_assets.engine.context import Run
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.session import Connection, Cursor, transaction
from sync_assets.engine.snapshot.identity import Place, place_of
from sync_assets.engine.state import carried
from sync_assets.engine.state.carried import Carried
from sync_assets.engine.table import Carry, Table


@dataclass(frozen=True, slots=True)
class Carrying:
    """The tables of a run that carry something, by target, with what their sources have.

    `together` are the tables that are published in one transaction with each, by source; `views` those
    above the sources that carry them, and `place` is the source.
    """

    run: Run
    target: Connection
    tables: Mapping[RelationName, Table]
    sources: Mapping[RelationName, TableFacts]
    together: Mapping[RelationName, Mapping[RelationName, Table]]
    views: Mapping[RelationName, View]
    place: Place

    def decide(
        self, table: Table, there: TableFacts | None, database: Database, made: Sequence[Carried]
    ) -> Decision | None:
        """What is to be done about a table; None where the source is no table."""
        source = self.sources.get(table.source)
        if source is None:
            return None
        return decide(table, source, there, database, made, self.together[table.target])

    def look(
        self, *, where_made: bool = False
    ) -> Iterator[tuple[Table, TableFacts | None, tuple[Carried, ...], Decision]]:
        """Each table with what its target has, what was made there, and what is to be done.

        `where_made`: only those for which runs have made something.
        """
        with transaction(self.target) as cursor:
            made = carried.recall(cursor, self.tables)
            chosen = [name for name in self.tables if made[name] or not where_made]
            there = read_objects(cursor, chosen) if chosen else {}
            tables = [self.tables[name] for name in chosen]
            database = read_database(cursor, tables) if chosen else Database()
        for name in chosen:
            table = self.tables[name]
            decision = self.decide(table, there.get(name), database, made[name])
            if decision is not None:
                yield table, there.get(name), made[name], decision

    def look_at_views(self, cursor: Cursor, *, again: bool) -> tuple[Known, ViewDecision]:
        """What the target has of views, and what is to be done; `again` about what failed, too."""
        tables = [*self.tables.values()]
        return _look_at_views(cursor, tables, self.sources, self.views, again=again)


def not_carried(
    source: Cursor, target: Cursor, tables: Sequence[Table], groups: Mapping[RelationName, str]
) -> Iterator[tuple[RelationName, str, str]]:
    """What tables shall carry and cannot, or could not in a run: target, object, and why.

    `groups` says by their targets which are published in one transaction.
    """
    chosen = {table.target: table for table in tables if table.carry}
    sources = read_objects(source, [each.source for each in chosen.values()])
    database = read_database(target, chosen.values())
    there, made = read_objects(target, chosen), carried.recall(target, chosen)
    if above(chosen.values()):
        yield from _views_not_carried(source, target, [*chosen.values()], sources)
    for name, table in chosen.items():
        found, before = sources.get(table.source), (there.get(name), database, made[name])
        group = groups.get(name, name)
        together = {
            each.source: each for each in tables if groups.get(each.target, each.target) == group
        }
        decision = decide(table, found, *before, together) if found else None
        refused = {each.place: why for each, why in decision.refused} if decision else {}
        due = (*decision.make, *decision.tried) if decision else ()
        left = {each.object.place for each in due}
        tried = {
            each.place: each.problem
            for each in made[name]
            if each.problem is not None and each.place in left
        }
        for (kind, its), why in {**tried, **refused}.items():
            yield name, f"{kind.value}: {its or 'the table'}", why


def _views_not_carried(
    source: Cursor,
    target: Cursor,
    tables: Sequence[Table],
    sources: Mapping[RelationName, TableFacts],
) -> Iterator[tuple[RelationName, str, str]]:
    views = read_views(source, above(tables))
    coming = _under_their_names(tables)
    known, decision = _look_at_views(target, tables, sources, views, coming, again=False)
    problems = ((view, known.made[view.name].problem or "") for view in decision.tried)
    for view, why in (*decision.refused, *problems):
        yield first_below(view, tables), f"{Carry.VIEWS.value}: {view.name}", why


def _look_at_views(
    cursor: Cursor,
    tables: Sequence[Table],
    sources: Mapping[RelationName, TableFacts],
    views: Mapping[RelationName, View],
    coming: frozenset[RelationName] = frozenset(),
    *,
    again: bool,
) -> tuple[Known, ViewDecision]:
    """`coming` are targets that there will be."""
    targets = [table.target for table in tables if Carry.VIEWS in table.carry]
    roots = {*above(tables)}
    views = {name: view for name, view in views.items() if view.above & roots}
    known = read_known(cursor, targets, views, read_database(cursor, tables))
    known = dataclasses.replace(known, synced=known.synced | coming)
    by_source = {table.source: table for table in tables}
    return known, decide_views(by_source, sources, views, known, again=again)


def above(tables: Collection[Table]) -> list[RelationName]:
    """The sources whose views are carried."""
    return [table.source for table in tables if Carry.VIEWS in table.carry]


def _under_their_names(tables: Collection[Table]) -> frozenset[RelationName]:
    return frozenset(table.target for table in tables if table.target == table.source)


def first_below(view: View, tables: Collection[Table]) -> RelationName:
    """The target that a view is told of with."""
    return min(each.target for each in tables if view.above & {each.source, each.target})


def with_work(run: Run, target: Connection, tables: Sequence[Table]) -> set[RelationName]:
    """The targets on which a run would make or drop something besides rows.

    Not foreign keys: which tables go together is not known here.
    """
    carrying = seen(run, target, tables, grouped=True)
    looked = carrying.look() if carrying else ()
    kinds = {
        table.target: {each.kind for each in decision.make} | {each.kind for each in decision.drop}
        for table, _, _, decision in looked
    }
    busy = {target for target, its in kinds.items() if its - {Carry.FOREIGN_KEYS}}
    if carrying is None or not above(carrying.tables.values()):
        return busy
    with transaction(target) as cursor:
        known, decision = carrying.look_at_views(cursor, again=False)
    due = (*decision.make, *(known.there[name] for name in decision.drop))
    return busy | {first_below(view, carrying.tables.values()) for view in due}


def statements_of(
    run: Run, target: Connection, table: Table, key: Collection[str], *, first: bool
) -> list[str]:
    """What a run would execute for a table, and what it could not make; changes nothing.

    `key` are the columns that its rows are told apart by. Foreign keys to other tables are for runs of
    their group, of which nothing is known here.
    """
    carrying = seen(run, target, [dataclasses.replace(table, dry_run=False)], grouped=False)
    said = []
    for its, there, _, decision in carrying.look() if carrying else ():
        concurrently = not first and there is not None and not there.partitioned
        steps = [
            step
            for each in decision.drop
            if each.kind is not Carry.FOREIGN_KEYS and there and may_be_there(each, there)
            for step in dropping(its.target, each)
        ]
        for each in decision.make:
            if there is None and _comes_with_the_table(each.object, key):
                continue
            steps += making(its.target, each, each.object.name, concurrently=concurrently)
        said += [step.sql.as_string(target) for step in steps]
        for refused, why in decision.refused:
            if refused.kind is Carry.FOREIGN_KEYS and refused.refers_to != its.source:
                said.append(f"-- {refused} is for a run of its snapshot_group")
            else:
                said.append(f"-- {refused} not carried: {why}")
    if carrying is None or not above(carrying.tables.values()):
        return said
    return said + _views_of(carrying, target)


def _views_of(carrying: Carrying, target: Connection) -> list[str]:
    with transaction(target) as cursor:
        tables = [*carrying.tables.values()]
        coming = _under_their_names(tables)
        known, decision = _look_at_views(
            cursor, tables, carrying.sources, carrying.views, coming, again=True
        )
        steps = [drop_view(name) for name in decision.drop]
        schemas = {*known.database.schemas}
        for view in decision.make:
            steps += create_view(view, schemas)
            schemas.add(view.name.schema)
        said = [step.as_string(cursor) for step in steps]
    refused = (f"-- view {view.name} not carried: {why}" for view, why in decision.refused)
    return [*said, *refused]


def _comes_with_the_table(each: TableObject, key: Collection[str]) -> bool:
    """Whether a first run makes it with the table itself."""
    if each.kind is Carry.INDEXES:
        return each.unique and each.plain and each.columns == frozenset(key)
    return each.kind in (Carry.NOT_NULL, Carry.COMMENTS)


def seen(
    run: Run, target: Connection, tables: Sequence[Table], *, grouped: bool
) -> Carrying | None:
    """The tables that carry something, with what their sources have now; None if none does."""
    chosen = {
        table.target: table
        for table in tables
        if table.carry and table.rows is None and not table.dry_run
    }
    if not chosen:
        return None
    names = [table.source for table in chosen.values()]
    with run.sessions.connected("source") as source, transaction(source) as cursor:
        sources, place = read_objects(cursor, names), place_of(cursor)
        wanted = above(chosen.values())
        views = read_views(cursor, wanted) if wanted else {}
    # Of a group those count, too, that carry nothing themselves.
    everyone = {table.source: table for table in tables}
    together = {
        name: everyone if grouped else {table.source: table} for name, table in chosen.items()
    }
    return Carrying(run, target, chosen, sources, together, views, place)
