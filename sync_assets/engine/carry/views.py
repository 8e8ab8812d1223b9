"""Views above tables, read on either end, and what is to be made and dropped of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

from sync_assets.engine.carry.calls import CALLED, Calls, Database
from sync_assets.engine.carry.decide import AT_INSERT, travelling
from sync_assets.engine.carry.described import described
from sync_assets.engine.carry.objects import TableFacts
from sync_assets.engine.names import RelationName, parts_of
from sync_assets.engine.postgres.session import Cursor, row, rows
from sync_assets.engine.state import carried
from sync_assets.engine.state.carried import Carried
from sync_assets.engine.table import Carry, Table, Trust


@dataclass(frozen=True, slots=True)
class View:
    """A view on one end.

    `definition` is what CREATE VIEW takes after the name, with every relation's schema. `reads` are the
    relations that it names, with their columns, but for the server's own `catalogs`; `above` those of the
    tables asked for that are below it, however far.
    """

    name: RelationName
    definition: str
    materialized: bool
    above: frozenset[RelationName]
    reads: Mapping[RelationName, frozenset[str]]
    catalogs: tuple[str, ...]
    calls: Calls


# What pg_get_viewdef() leaves out are a view's options, WITH CHECK OPTION among them.
_VIEWS = rf"""
WITH RECURSIVE above AS (
  SELECT c.oid AS below, c.oid
  FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS wanted (schema, name)
  JOIN pg_namespace n ON n.nspname = wanted.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
  UNION
  SELECT a.below, w.ev_class FROM above a
  JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.oid
    AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite w ON w.oid = d.objid AND w.ev_type = '1' AND w.ev_class <> a.oid
), view AS (
  SELECT a.oid, array_agg(format('%%I.%%I', n.nspname, c.relname)) AS above
  FROM above a JOIN pg_class c ON c.oid = a.below JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE a.oid <> a.below GROUP BY a.oid
), calls AS (
  SELECT d.objid AS rule, f.oid, e.extname::text AS extension
  FROM view v JOIN pg_rewrite w ON w.ev_class = v.oid
  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
  {CALLED}
  WHERE f.pronamespace <> 'information_schema'::regnamespace
)
SELECT n.nspname::text, c.relname::text,
  'WITH (' || array_to_string(c.reloptions, ', ') || ') ' AS options, pg_get_viewdef(c.oid),
  c.relkind = 'm', v.above,
  (SELECT json_object_agg(relation, columns) FROM (
     SELECT format('%%I.%%I', rn.nspname, r.relname) AS relation,
       array_remove(array_agg(a.attname::text), NULL) AS columns
     FROM pg_depend d JOIN pg_class r ON r.oid = d.refobjid
     JOIN pg_namespace rn ON rn.oid = r.relnamespace
     LEFT JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = d.refobjsubid AND a.attnum > 0
     WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
       AND d.refclassid = 'pg_class'::regclass AND r.oid <> c.oid
       AND rn.nspname <> 'information_schema'
     GROUP BY 1) AS read),
  -- Pinned, like functions of initdb's.
  ARRAY(SELECT DISTINCT r.relname::text
        FROM regexp_matches(w.ev_action::text, ':relid ([0-9]+)', 'g') AS found (id)
        JOIN pg_class r ON r.oid = found.id[1]::oid AND r.relnamespace = 'pg_catalog'::regnamespace
        ORDER BY 1),
  ARRAY(SELECT DISTINCT f.oid::regprocedure::text FROM calls f
        WHERE f.rule = w.oid AND f.extension IS NULL),
  ARRAY(SELECT DISTINCT f.extension FROM calls f WHERE f.rule = w.oid AND f.extension IS NOT NULL),
  ARRAY(SELECT DISTINCT f.proname::text
        FROM regexp_matches(w.ev_action::text,
          ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([0-9]+)', 'g') AS found (id)
        JOIN pg_proc f ON f.oid = found.id[1]::oid WHERE f.provolatile = 'v')
FROM view v JOIN pg_class c ON c.oid = v.oid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_rewrite w ON w.ev_class = c.oid AND w.ev_type = '1'
WHERE n.nspname NOT LIKE 'pg\_temp%%' AND NOT EXISTS (SELECT FROM pg_depend e
  WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
ORDER BY 1, 2
"""  # noqa: S608 - constants only


def read_views(cursor: Cursor, relations: Collection[RelationName]) -> dict[RelationName, View]:
    """The views above these relations, however far; raises SourceChanged."""
    schemas, names = parts_of(relations)
    found = described(cursor, _VIEWS, {"schemas": schemas, "names": names}, 3)
    views = (
        View(
            RelationName(schema, name),
            f"{options or ''}AS{text if text[:1].isspace() else ' ' + text}".rstrip().rstrip(";"),
            materialized,
            frozenset(map(RelationName.parse, above)),
            {RelationName.parse(each): frozenset(its) for each, its in (reads or {}).items()},
            tuple(catalogs),
            Calls(tuple(functions), frozenset(extensions), frozenset(unstable)),
        )
        for schema, name, options, text, materialized, above, reads, catalogs, functions, extensions, unstable in found
    )
    return {view.name: view for view in views}


@dataclass(frozen=True, slots=True)
class Known:
    """What a target knows of views.

    `there` are those above the tables, `made` what runs remember, and `synced` the targets that have the
    name of their source.
    """

    there: Mapping[RelationName, View]
    made: Mapping[RelationName, Carried]
    synced: frozenset[RelationName]
    database: Database

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
        """Whether the target has a view, though its server may write it in other words."""
        there = self.there.get(view.name)
        if there is None or there.definition == view.definition:
            return there is not None
        ours = self.is_ours(view.name) and self.made[view.name].problem is None
        return ours and self.is_of(view)

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
