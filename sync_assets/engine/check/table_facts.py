"""What `check` looks at for each table: what it is on both ends, and this role's rights there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg2

from sync_assets.engine.errors import PrivilegeError, SyncError
from sync_assets.engine.layout.evolve import lay_out
from sync_assets.engine.merge.collisions import read_acting
from sync_assets.engine.merge.interference import Actor, read_actors
from sync_assets.engine.merge.uniques import Unique, besides_key, read_uniques
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.partitions import (
    Partitioned,
    read_partitioned,
    with_default,
)
from sync_assets.engine.postgres.relation import Key, Relation
from sync_assets.engine.postgres.session import Cursor, row, rows
from sync_assets.engine.postgres.types import read_types
from sync_assets.engine.snapshot.identity import reads
from sync_assets.engine.snapshot.readable import require_source
from sync_assets.engine.snapshot.scope import scoped
from sync_assets.engine.state import state
from sync_assets.engine.state.state import State
from sync_assets.engine.table import Table


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table on the source. `closed_schemas` are those this role may not look into.

    `filtered` are relations whose policies hide rows; `granted_columns` those it may read where it
    may not read the whole table; `unfilled` are materialized views without data. `large_objects`
    says whether its database holds some.
    """

    relation: Relation | None
    problem: SyncError | None
    closed_schemas: tuple[str, ...] = ()
    filtered: tuple[Filtered, ...] = ()
    granted_columns: tuple[str, ...] = ()
    uniques: tuple[Unique, ...] = ()
    unfilled: tuple[RelationName, ...] = ()
    large_objects: bool = False


@dataclass(frozen=True, slots=True)
class TargetTable:
    """A table on the target, there or to be made. `obstacle` is a type that has its name.

    `acts` says what the delete of a row would set off; `known` is what the last run left, where
    this role can read it; `history_lacks` are the rights that it lacks on the history that is there.
    """

    relation: Relation | None
    obstacle: str | None
    schema_exists: bool
    schema_usable: bool
    schema_writable: bool
    missing_rights: tuple[str, ...] = ()
    owned: bool = True
    rules: tuple[str, ...] = ()
    triggers: tuple[Actor, ...] = ()
    uniques: tuple[Unique, ...] = ()
    acts: str | None = None
    filtered: tuple[Filtered, ...] = ()
    known: State | None = None
    history_lacks: tuple[str, ...] = ()
    whole: Partitioned | None = None


@dataclass(frozen=True, slots=True)
class TablePair:
    """Both ends of a table, and what keeps one from fitting the other.

    `is_one` says that they are the same table, or that the source reads the target.
    """

    table: Table
    source: SourceTable
    target: TargetTable
    problem: SyncError | None
    alters_target: bool
    key: Key | None = None
    is_one: bool = False

    @property
    def fits(self) -> bool:
        """Whether both ends were read, and a run could begin."""
        return self.source.relation is not None and self.problem is None

    @property
    def others(self) -> tuple[Unique, ...]:
        """The target's constraints that its key does not keep anyway.

        None where it has no key, or where what the last run left is about to follow its source,
        which may rename their columns.
        """
        follows = self.alters_target and self.target.known is not None
        if self.key is None or follows:
            return ()
        others = besides_key(self.target.uniques, self.key)
        own = [each for each in self.target.uniques if each not in others]
        return tuple(o for o in others if not any(each.forbids_as_much_as(o) for each in own))


_CLOSED = """
SELECT nspname::text FROM pg_namespace
WHERE nspname = ANY (%s) AND NOT has_schema_privilege(oid, 'USAGE') ORDER BY 1
"""

_LARGE_OBJECTS = "SELECT EXISTS (SELECT FROM pg_largeobject_metadata)"

_COLUMNS = """
SELECT attname::text FROM pg_attribute
WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
  AND has_column_privilege(attrelid, attnum, 'SELECT') ORDER BY attnum
"""


def read_source(cursor: Cursor, table: Table) -> SourceTable:
    """The table as the source has it."""
    problem: SyncError | None = None
    try:
        relation: Relation | None = require_source(cursor, table)
    except SyncError as error:
        relation, problem = read_relation(cursor, table.source), error
    if relation is None:
        return SourceTable(None, problem)
    oids = [relation.oid, *(leaf.oid for leaf in relation.leaves)]
    schemas = {relation.name.schema, *(leaf.name.schema for leaf in relation.leaves)}
    granted = [] if relation.readable else rows(cursor, _COLUMNS, (relation.oid,))
    return SourceTable(
        relation,
        problem,
        tuple(name for (name,) in rows(cursor, _CLOSED, (sorted(schemas),))),
        read_filtered(cursor, oids),
        tuple(name for (name,) in granted),
        read_uniques(cursor, relation.oid),
        read_unfilled(cursor, oids),
        bool(row(cursor, _LARGE_OBJECTS)[0]),
    )


_SCHEMA = """
SELECT n.oid IS NOT NULL, coalesce(has_schema_privilege(n.oid, 'USAGE'), false),
       coalesce(has_schema_privilege(n.oid, 'CREATE'), false),
       (SELECT format_type(t.oid, NULL) FROM pg_type t
        WHERE t.typnamespace = n.oid AND t.typname = %(name)s
          AND NOT EXISTS (SELECT FROM pg_class c WHERE c.reltype = t.oid))
FROM (SELECT to_regnamespace(quote_ident(%(schema)s))::oid AS oid) AS n
"""

_RIGHTS = """
SELECT ARRAY(SELECT right_ FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS right_
             WHERE NOT has_table_privilege(c.oid, right_)),
       pg_has_role(c.relowner, 'USAGE'),
       ARRAY(SELECT rulename::text FROM pg_rewrite
             WHERE ev_class = c.oid AND rulename <> '_RETURN' ORDER BY 1)
FROM pg_class c WHERE c.oid = %s
"""


_RIGHTS_ON_HISTORY = """
SELECT ARRAY(SELECT right_ FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS right_
             WHERE NOT has_table_privilege(c.oid, right_))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (n.nspname, c.relname) = (%s, %s)
"""


def read_target(cursor: Cursor, table: Table) -> TargetTable:
    """The table as the target has it, or the place where it will be."""
    name, history = table.target, table.history_table
    found = rows(cursor, _RIGHTS_ON_HISTORY, (history.schema, history.name)) if history else []
    lacks = tuple(found[0][0]) if found else ()
    wholes = read_partitioned(cursor, [table.whole])
    whole = with_default(cursor, wholes, {name: table.partition_of}).get(table.whole)
    return dataclasses.replace(_read_target(cursor, name), history_lacks=lacks, whole=whole)


def _read_target(cursor: Cursor, name: RelationName) -> TargetTable:
    place = {"schema": name.schema, "name": name.name}
    exists, usable, writable, obstacle = row(cursor, _SCHEMA, place)
    relation = read_relation(cursor, name)
    if relation is None:
        return TargetTable(None, obstacle, exists, usable, writable)
    missing, owned, rules = row(cursor, _RIGHTS, (relation.oid,))
    triggers = tuple(each for each in read_actors(cursor, name) if each.kind == "trigger")
    filtered = read_filtered(cursor, [relation.oid])
    return TargetTable(
        relation,
        None,
        exists,
        usable,
        writable,
        tuple(missing),
        owned,
        tuple(rules),
        triggers,
        read_uniques(cursor, relation.oid),
        read_acting(cursor, relation.oid)[0],
        filtered,
        _known(cursor, name),
    )


def _known(cursor: Cursor, name: RelationName) -> State | None:
    """The state of a target; None where it is closed to this role, or an older version's."""
    cursor.execute("SAVEPOINT known")
    try:
        known = state.read(cursor, name)
    except (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.UndefinedColumn):
        known = None
        cursor.execute("ROLLBACK TO known")
    cursor.execute("RELEASE known")
    return known


def paired(cursor: Cursor, table: Table, source: SourceTable, target: TargetTable) -> TablePair:
    """Both ends together; `cursor` is on the source, which says what an expression's type is."""
    problem, alters, key = source.problem, False, None
    if source.relation is not None and isinstance(problem, PrivilegeError | None):
        try:
            # Without the right to read, the source cannot be asked about expressions.
            relation = source.relation if problem else scoped(cursor, table, source.relation)
            types = read_types(cursor, (column.type_oid for column in relation.columns))
            layout = lay_out(table, relation, types, target.relation, target.known, target.whole)
            alters, key = layout.alters, layout.key
        except SyncError as error:
            problem = error
    alters = alters and target.relation is not None
    return TablePair(table, source, target, problem, alters, key)


def with_oneness(cursor: Cursor, pair: TablePair) -> TablePair:
    """The pair, with `is_one` found out; `cursor` is on the database that both ends are in."""
    source, target = pair.source.relation, pair.target.relation
    is_one = source is not None and target is not None and reads(cursor, source, target)
    return dataclasses.replace(pair, is_one=is_one)


@dataclass(frozen=True, slots=True)
class Filtered:
    """A table whose policies hide rows from `role`: ours, or that of the view through which we read."""

    table: RelationName
    role: str


# A view reads as its owner, unless it says security_invoker (15).
_BELOW = """
WITH RECURSIVE below (oid, role) AS (
  SELECT oid, (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user)
  FROM unnest(%s::oid[]) AS oid
  UNION
  SELECT d.refobjid, CASE WHEN 'security_invoker=true' = ANY (v.reloptions)
                            OR 'security_invoker=on' = ANY (v.reloptions)
                          THEN below.role ELSE v.relowner END
  FROM below JOIN pg_class v ON v.oid = below.oid AND v.relkind = 'v'
  JOIN pg_rewrite r ON r.ev_class = v.oid
  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid
)
"""

_FILTERED = f"""{_BELOW}
SELECT DISTINCT n.nspname::text, c.relname::text, r.rolname::text
FROM below JOIN pg_class c ON c.oid = below.oid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles r ON r.oid = below.role
WHERE c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
  AND (c.relforcerowsecurity OR NOT pg_has_role(below.role, c.relowner, 'USAGE'))
ORDER BY 1, 2, 3
"""  # noqa: S608 - constants only

_EMPTY = f"""{_BELOW}
SELECT DISTINCT n.nspname::text, c.relname::text
FROM below JOIN pg_class c ON c.oid = below.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND NOT c.relispopulated ORDER BY 1, 2
"""  # noqa: S608 - constants only


def read_filtered(cursor: Cursor, oids: Sequence[int]) -> tuple[Filtered, ...]:
    """The tables among these relations, and below the views among them, that hide rows."""
    found = rows(cursor, _FILTERED, (list(oids),))
    return tuple(Filtered(RelationName(*name), role) for *name, role in found)


def read_unfilled(cursor: Cursor, oids: Sequence[int]) -> tuple[RelationName, ...]:
    """The materialized views among them, and below them, that were never filled."""
    return tuple(RelationName(*name) for name in rows(cursor, _EMPTY, (list(oids),)))
