"""Views above tables, read on either end."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sync_assets.engine.carry.calls import CALLED, Calls
from sync_assets.engine.carry.described import described
from sync_assets.engine.names import RelationName, parts_of
from sync_assets.engine.postgres.session import Cursor, rows


@dataclass(frozen=True, slots=True)
class View:
    """A view on one end.

    `definition` is what CREATE VIEW takes after the name, with every relation's schema. `reads` are the
    relations that it names, with their columns, but for the server's own `catalogs`; `above` those of the
    tables asked for that are below it, however far.

    `by_place` are relations in which it finds columns by where they stand, with those up to the last that it
    reads, in order; `differs` is what would make it say something else wherever it is made.
    """

    name: RelationName
    definition: str
    materialized: bool
    above: frozenset[RelationName]
    reads: Mapping[RelationName, frozenset[str]]
    catalogs: tuple[str, ...]
    calls: Calls
    by_place: Mapping[RelationName, Sequence[str]]
    differs: tuple[str, ...]


_ALIAS = r"\{ALIAS :aliasname (?:\\.|[^ \\])+ :colnames "
_NAMED = r"\((?:\\.|[^)\\])*\)\}"
# A join whose columns get other names, as WriteRangeTblEntry (outfuncs.c) has it; of a table's, the text tells.
_JOIN = f"':alias {_ALIAS}{_NAMED} :eref {_ALIAS}(?:<>\\}}|{_NAMED}) :rtekind 2'"

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
  (SELECT json_object_agg(relation, json_build_array(columns, up_to)) FROM (
     SELECT format('%%I.%%I', rn.nspname, r.relname) AS relation,
       array_remove(array_agg(a.attname::text), NULL) AS columns,
       ARRAY(SELECT o.attname::text FROM pg_attribute o WHERE o.attrelid = r.oid
             AND o.attnum BETWEEN 1 AND max(a.attnum) AND NOT o.attisdropped ORDER BY o.attnum) AS up_to
     FROM pg_depend d JOIN pg_class r ON r.oid = d.refobjid
     JOIN pg_namespace rn ON rn.oid = r.relnamespace
     LEFT JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = d.refobjsubid AND a.attnum > 0
     WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
       AND d.refclassid = 'pg_class'::regclass AND r.oid <> c.oid
       AND rn.nspname <> 'information_schema'
     GROUP BY r.oid, 1) AS read),
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
        JOIN pg_proc f ON f.oid = found.id[1]::oid WHERE f.provolatile = 'v'),
  ARRAY(SELECT DISTINCT format('%%I.%%I', rn.nspname, r.relname)
        FROM regexp_matches(w.ev_action::text, ':\w*type(?:id)? ([0-9]+)', 'g') AS found (id)
        JOIN pg_class r ON r.reltype = found.id[1]::oid AND r.relkind IN ('r', 'p')
        JOIN pg_namespace rn ON rn.oid = r.relnamespace ORDER BY 1),
  w.ev_action::text ~ {_JOIN}
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
            {RelationName.parse(each): frozenset(its) for each, (its, _) in (reads or {}).items()},
            tuple(catalogs),
            Calls(tuple(functions), frozenset(extensions), frozenset(unstable)),
            {
                RelationName.parse(each): up_to
                for each, (_, up_to) in (reads or {}).items()
                if re.search(rf"{re.escape(each)} {_LIST}", text)
            },
            tuple(_differing(text, reads or (), whole, joins_by_place=joins_by_place)),
        )
        for schema, name, options, text, materialized, above, reads, catalogs, functions, extensions, unstable, whole, joins_by_place in found
    )
    return {view.name: view for view in views}


_LIST = r'(?:"(?:[^"]|"")+"|\w+)\('
"""An alias that brings names for columns, after a table's name."""


def _differing(
    text: str, reads: Iterable[str], whole: Iterable[str], *, joins_by_place: bool
) -> Iterator[str]:
    # There a table has a column besides, and those that came later stand behind it.
    for each in whole:
        yield f"it takes whole rows of {RelationName.parse(each)}, which have other columns on the target"
    if joins_by_place:
        yield "it names the columns of a join by their places, which are others on the target"
    for each in reads:
        if re.search(rf"ONLY {re.escape(each)}(?!\w)", text):
            yield f"it reads ONLY {RelationName.parse(each)}, which may have partitions on one end alone"


_COLUMNS = """
SELECT w.schema, w.name, ARRAY(SELECT attname::text FROM pg_attribute
  WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum)
FROM unnest(%s::text[], %s::text[]) AS w (schema, name) JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
"""


def columns_in_order(
    cursor: Cursor, relations: Collection[RelationName]
) -> dict[RelationName, Sequence[str]]:
    """The columns of these relations, as far as they are there, as they stand."""
    found = rows(cursor, _COLUMNS, parts_of(relations)) if relations else ()
    return {RelationName(schema, name): columns for schema, name, columns in found}
