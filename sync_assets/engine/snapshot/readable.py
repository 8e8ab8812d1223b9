"""Which relations can be read as a source, and the errors for those that cannot."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sync_assets.engine import errors
from sync_assets.engine.names import RelationName, quoted, suggestion
from sync_assets.engine.postgres.catalog import read_relations
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.session import Cursor, rows
from sync_assets.engine.table import SyncMode, Table

_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
    "I": "an index",
    "c": "a composite type",
    "t": "a TOAST table",
}

_SIMILAR = """
SELECT n.nspname::text, c.relname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema'
ORDER BY lower(c.relname) <> lower(%s), n.nspname <> %s, 1, 2 LIMIT %s
"""

OF_SO_MANY = 1000
"""Names among which that of a mistyped table is looked for."""


def require_sources(cursor: Cursor, tables: Sequence[Table]) -> list[Relation]:
    """The source relation of each table, checked to be one that can be read the way its mode reads.

    Raises NoSuchRelation, UnsupportedRelation or PrivilegeError.
    """
    found = read_relations(cursor, (table.source for table in tables))
    relations = []
    for table in tables:
        with errors.about(table.target):
            relations.append(required(cursor, table, found.get(table.source)))
    return relations


def require_source(cursor: Cursor, table: Table) -> Relation:
    """The one source relation of `require_sources`; raises what that raises."""
    (relation,) = require_sources(cursor, [table])
    return relation


def required(cursor: Cursor, table: Table, relation: Relation | None) -> Relation:
    """The relation that was read for a table, if there is one; raises what `require_sources` raises."""
    name = table.source
    if relation is None:
        similar = rows(cursor, _SIMILAR, (name.name, name.schema, OF_SO_MANY))
        hint = suggestion(str(name), (str(RelationName(*each)) for each in similar))
        raise errors.NoSuchRelation(
            f"the source has no table {name}",
            remedy=f"{errors.NoSuchRelation('').remedy} {hint}".rstrip(),
        )
    if table.only:
        relation = dataclasses.replace(relation, has_children=False)
    _require_kind(relation, table.mode)
    role = cursor.connection.info.user
    if not relation.readable and not _reads_by_leaf(relation):
        raise may_not_read(relation.name, role)
    for leaf in relation.leaves:
        if leaf.kind not in "rf" and relation.kind == "p":
            raise errors.UnsupportedRelation(f"{leaf.name} is {_KINDS.get(leaf.kind, 'no table')}")
        if leaf.kind == "r" and leaf.access_method != "heap":
            raise errors.UnsupportedRelation(
                f"{leaf.name} is stored by the access method {leaf.access_method!r}; "
                "only heap tables keep a row version"
            )
        if not leaf.readable and not relation.readable:
            raise may_not_read(leaf.name, role)
    return relation


def _reads_by_leaf(relation: Relation) -> bool:
    return relation.kind == "p" and all(leaf.readable for leaf in relation.leaves)


def _require_kind(relation: Relation, mode: SyncMode) -> None:
    if relation.kind not in "rpvmf":
        raise errors.UnsupportedRelation(
            f"{relation.name} is {_KINDS.get(relation.kind, 'no table')}, which holds no rows to sync"
        )
    if relation.has_versions:
        return
    if relation.reads_children and mode is not SyncMode.FULL_SYNC:
        raise errors.UnsupportedRelation(
            f"{relation.name} has tables that inherit from it, whose rows it would show as its own",
            remedy="Set only: true to leave them out, or sync_mode: full_sync to read all of them; "
            "or sync the tables that inherit, each by its own name.",
        )
    if mode is SyncMode.XMIN_INCREMENTAL:
        raise errors.UnsupportedRelation(
            f"{relation.name} is {_KINDS[relation.kind]}; its rows carry no version to sync by",
            remedy="Set sync_mode: full_sync, or incremental_sync with a cursor.",
        )


def may_not_read(name: RelationName, role: str) -> errors.PrivilegeError:
    """The error for a relation of the source that a role has no right to."""
    return errors.PrivilegeError(
        f"the role {role} may not read {name} on the source",
        remedy=f"Run on the source: GRANT SELECT ON {name.as_sql} TO {quoted(role)}.",
    )
