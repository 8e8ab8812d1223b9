"""What is to be made and dropped of the views above tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from sync_assets.engine.carry.calls import Database
from sync_assets.engine.carry.decide import AT_INSERT, travelling
from sync_assets.engine.carry.objects import TableFacts
from sync_assets.engine.carry.view_reading import View, columns_in_order, read_views
from sync_assets.engine.names import RelationName, parts_of
from sync_assets.engine.postgres.session import Cursor, row, rows
from sync_assets.engine.state import carried
from sync_assets.engine.state.carried import Carried
from sync_assets.engine.table import Carry, Table, Trust


@dataclass(frozen=True, slots=True)
class Known:
    """What a target knows of views.

    `there` are those above the tables, `made` what runs remember, and `synced` the targets that have the
    name of their source. `columns` are those in order of tables in which a view finds them by their places.
    """

    there: Mapping[RelationName, View]
    made: Mapping[RelationName, Carried]
    synced: frozenset[RelationName]
    database: Database
    columns: Mapping[RelationName, Sequence[str]]

    def in_order(self) -> list[RelationName]:
        """The views that are there, each after those that it reads."""
        return [*_in_order(self.there)]

    def is_ours(self, name: RelationName) -> bool:
        """Whether a view that is there was made by a run."""
        return name in self.there and name in self.made and bool(self.made[name].made_as)

    def is_of(self, view: View) -> bool:
        """Whether what is remembered of a view is of this very one."""
        return view.name in self.made and self.made[view.name].definition == view.definition

    def is_as(self, view: View) -> bool:
        """Whether the target has a view: its server may write it in other words, which no hand changed."""
        there = self.there.get(view.name)
        if there is None or there.definition == view.definition:
            return there is not None
        ours = self.is_ours(view.name) and self.made[view.name].problem is None
        return ours and self.is_of(view) and self.made[view.name].made_as == there.definition

    def was_in_vain(self, name: RelationName, view: View | None = None) -> bool:
        """Whether making a view as it is now, or dropping one that is gone, failed less than a day ago."""
        made = self.made.get(name)
        failed = made is not None and made.problem is not None and made.is_recent
        return failed and (view is None or self.is_of(view))


_SYNCED = """
SELECT target_schema, target_table FROM sync_assets.state
WHERE (target_schema, target_table) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
  AND (target_schema, target_table) = (source_schema, source_table)
"""


def read_known(
    cursor: Cursor,
    targets: Collection[RelationName],
    views: Mapping[RelationName, View],
    database: Database,
) -> Known:
    """What a target knows of `views` of its source, and what it has above `targets`."""
    there = read_views(cursor, targets)
    named = {*views, *(each for view in views.values() for each in view.reads)}
    (state,) = row(cursor, "SELECT to_regclass('sync_assets.state') IS NOT NULL")
    synced = rows(cursor, _SYNCED, parts_of(named)) if state and named else ()
    made = carried.recall(cursor, {*views, *there})
    return Known(
        there,
        {name: each for name, its in made.items() for each in its if each.kind is Carry.VIEWS},
        frozenset(RelationName(*each) for each in synced),
        database,
        columns_in_order(cursor, {each for view in views.values() for each in view.by_place}),
    )


@dataclass(frozen=True, slots=True)
class ViewDecision:
    """What is to be dropped and made, each in the order in which it can be, and what cannot be made, and why.

    What was `tried` in vain is tried again after a day, by a full pass, and once it changes.
    """

    drop: tuple[RelationName, ...]
    make: tuple[View, ...]
    tried: tuple[View, ...]
    refused: tuple[tuple[View, str], ...]


def decide_views(
    tables: Mapping[RelationName, Table],
    sources: Mapping[RelationName, TableFacts],
    views: Mapping[RelationName, View],
    known: Known,
    *,
    again: bool,
) -> ViewDecision:
    """Compare the views above tables, by source, with those of the target; `again`: try all that is due (pure)."""
    wanted: dict[RelationName, View] = {}
    refused: dict[RelationName, str] = {}
    for name in _in_order(views):
        if name in known.synced:
            # Its rows are: the target has a table of that name.
            continue
        against = _against(views[name], tables, sources, known, {*wanted, *known.synced})
        why = next(against, None)
        if why is None:
            wanted[name] = views[name]
        else:
            refused[name] = why
    changed = {name for name, view in wanted.items() if not known.is_as(view)}
    tried = set() if again else {name for name in changed if known.was_in_vain(name, wanted[name])}
    going = {name for name in known.there if known.is_ours(name)} & {
        *(changed - tried),
        *(
            name
            for name in known.there
            if name not in views and (again or not known.was_in_vain(name))
        ),
        # What it was is not what its source has now.
        *(name for name in refused if not known.is_of(views[name])),
    }
    # None goes before those that read it.
    order = known.in_order()
    for name in order:
        if known.is_ours(name) and known.there[name].reads.keys() & going:
            going.add(name)
    due = (changed - tried) | going
    return ViewDecision(
        tuple(name for name in reversed(order) if name in going),
        tuple(view for name, view in wanted.items() if name in due),
        tuple(wanted[name] for name in tried - due),
        tuple((views[name], why) for name, why in refused.items()),
    )


def _in_order(views: Mapping[RelationName, View]) -> Iterator[RelationName]:
    """Each after those that it reads."""
    yield from TopologicalSorter(
        {name: sorted(view.reads.keys() & views.keys()) for name, view in sorted(views.items())}
    ).static_order()


def _against(
    view: View,
    tables: Mapping[RelationName, Table],
    sources: Mapping[RelationName, TableFacts],
    known: Known,
    readable: Collection[RelationName],
) -> Iterator[str]:
    if view.materialized:
        yield "it is materialized, and no run would refresh it"
    below = [tables[name] for name in sorted(view.above & tables.keys())]
    trusted = below and all(table.trust is Trust.SOURCE for table in below)
    trust = Trust.SOURCE if trusted else Trust.NOBODY
    # With the rights of the role that syncs, which may see more there than who reads the view.
    if view.catalogs and not trusted:
        yield f"it reads {view.catalogs[0]}, a catalog of the server's"
    yield from view.calls.against(known.database, trust, AT_INSERT)
    for name, columns in sorted(view.reads.items()):
        table = tables.get(name)
        if name not in readable:
            other = table is not None and table.target != name
            where = f"is {table.target} on the target" if table and other else "is not synced"
            yield f"it reads {name}, which {where}"
        elif table is not None and name in sources:
            missing = sorted(columns - travelling(table, sources[name]))
            if missing:
                yield f"the column {missing[0]} of {name} does not travel"
    yield from view.differs
    for name, places in view.by_place.items():
        if known.columns.get(name, places)[: len(places)] != places:
            yield f"it names columns of {name} by their places, which are others on the target"
