"""What a source has to sync: every relation of its schemas, and whether it can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sync_assets.engine import errors
from sync_assets.engine.inspection.describe import described
from sync_assets.engine.layout.keys import choose_key
from sync_assets.engine.names import RelationName, listed, suggestion
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.catalog import read_relations
from sync_assets.engine.postgres.connection import Server, ask
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.session import Cursor, rows
from sync_assets.engine.snapshot.readable import required
from sync_assets.engine.table import SyncMode, Table


@dataclass(frozen=True, slots=True)
class Found:
    """One relation. `problem` says why it cannot be synced by row versions, `remedy` what to do.

    `whole` says that it can be synced by reading all of it. `rows` is the planner's estimate, None
    where there is none; `xmin_column` another name for our column where the relation has ours.
    `columns` are names and types, in their order; `comments` those that have one, and what it says.
    """

    name: RelationName
    kind: str
    rows: int | None
    bytes: int
    key: tuple[str, ...] = ()
    xmin_column: str | None = None
    problem: str | None = None
    remedy: str | None = None
    whole: bool = False
    columns: tuple[tuple[str, str], ...] = ()
    comment: str | None = None
    comments: tuple[tuple[str, str], ...] = ()


_RELATIONS = """
SELECT n.nspname::text, c.relname::text, c.relkind::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN ('information_schema', 'sync_assets')
  AND (%(schemas)s::text[] IS NULL OR n.nspname = ANY (%(schemas)s))
  AND NOT EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""

_SCHEMAS = """
SELECT nspname::text FROM pg_namespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1
"""


NAMED = 10
"""Schemas that an error names at most."""


def inventory(source_url: DatabaseOrUrl, schemas: Sequence[str] = ()) -> list[Found]:
    """Every relation in the schemas, of all of them by default; raises SyncError.

    A partitioned table counts once; what belongs to an extension does not.
    """
    return ask(source_url, lambda cursor: _inventory(cursor, schemas))


def relations_of(server: Server, kinds: str = "rpvmf") -> list[RelationName]:
    """The names of all of these kinds that `inventory` would look at, by one query; raises SyncError.

    `kinds` are letters of `pg_class.relkind`.
    """
    found = ask(server, lambda cursor: rows(cursor, _RELATIONS, {"schemas": None}))
    return [RelationName(schema, name) for schema, name, kind in found if kind in kinds]


def _inventory(cursor: Cursor, schemas: Sequence[str]) -> list[Found]:
    there = [name for (name,) in rows(cursor, _SCHEMAS)]
    for schema in schemas:
        if schema not in there:
            raise errors.NoSuchRelation(
                f"the source has no schema {schema}",
                remedy=f"{suggestion(schema, there)} It has {listed(there, NAMED)}.".lstrip(),
            )
    found = rows(cursor, _RELATIONS, {"schemas": list(schemas) or None})
    kinds = {RelationName(schema, name): kind for schema, name, kind in found}
    relations, said = read_relations(cursor, kinds), described(cursor, kinds)
    looks = (_look_at(cursor, name, kind, relations.get(name)) for name, kind in kinds.items())
    return [
        replace(each, comments=tuple(said[each.name].comments.items()) if each.name in said else ())
        for each in looks
    ]


def _look_at(cursor: Cursor, name: RelationName, kind: str, read: Relation | None) -> Found:
    try:
        relation = required(cursor, Table(name, name), read)
        key = choose_key(Table(name, name), relation)
    except errors.SyncError as error:
        return Found(
            name,
            kind,
            None,
            0,
            problem=error.message,
            remedy=error.remedy,
            whole=_can_be_read_whole(cursor, name, read),
        )
    return Found(
        name,
        kind,
        _estimated_rows(relation),
        sum(leaf.bytes for leaf in relation.leaves),
        key=key.columns if key else (),
        xmin_column=_other_name(relation),
        columns=tuple((column.name, column.type) for column in relation.columns),
        comment=relation.comment,
    )


def _can_be_read_whole(cursor: Cursor, name: RelationName, read: Relation | None) -> bool:
    try:
        required(cursor, Table(name, name, SyncMode.FULL_SYNC), read)
    except errors.SyncError:
        return False
    return True


def _estimated_rows(relation: Relation) -> int | None:
    counts = [leaf.estimated_rows for leaf in relation.leaves]
    return None if min(counts, default=0) < 0 else round(sum(counts))


def _other_name(relation: Relation) -> str | None:
    ours = Table(relation.name, relation.name).xmin_column
    if relation.column(ours) is None:
        return None
    numbered = (f"sync_xmin{number or ''}" for number in range(len(relation.columns) + 1))
    return next(name for name in numbered if relation.column(name) is None)
