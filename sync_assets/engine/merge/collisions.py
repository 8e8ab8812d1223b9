"""Rows that are in each other's way: values that one row takes over from another.

A unique index is looked at row by row, so that two rows cannot swap their values in one MERGE,
whatever its order. Only where one has failed for that, the rows that change are taken out and put
back in one statement, which deletes all of them before it inserts the first; foreign keys that
point to them are checked at its end, and find them again. A row whose value another one has
now makes way for it, if the source, asked for its key, no longer has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psycopg2
import psycopg2.errors
from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine import errors
from sync_assets.engine.load.staging import Staging
from sync_assets.engine.merge import merge_statements
from sync_assets.engine.merge.deletes import guard
from sync_assets.engine.merge.uniques import Unique, besides_key, read_uniques
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.relation import Key, Relation
from sync_assets.engine.postgres.session import Cursor, row, rows

StillThere = Callable[[Plan, Key, Sequence[Sequence[str]]], int]
"""How many rows with these keys the source has: asked only where rows collide."""

Merge = Callable[[], tuple[int, int]]

COLLIDED = (psycopg2.errors.UniqueViolation, psycopg2.errors.ExclusionViolation)


@dataclass(frozen=True, slots=True)
class Written:
    """Rows inserted and updated; `removed` live ones made way, and `events` say so."""

    inserted: int
    updated: int
    removed: int = 0
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """Staged rows and the target where they collide. `acts` says what a delete would set off, if anything.

    `referenced` are columns that foreign keys point to; `removes` says that rows are deleted anyway.
    """

    plan: Plan
    key: Key
    staging: Composable
    there: Relation
    others: tuple[Unique, ...]
    acts: str | None
    referenced: frozenset[str]
    removes: bool

    @property
    def staged(self) -> Composable:
        """The staged rows that belong on the target."""
        return merge_statements.staged(self.plan, self.staging)

    @property
    def target(self) -> Composable:
        """The target's name."""
        return identifiers.relation(self.plan.table.target)


def read_scene(cursor: Cursor, plan: Plan, key: Key, staging: Staging, *, removes: bool) -> Scene:
    """Look at a target where rows collide.

    A run that `removes` what the source no longer has may set off what a delete sets off.
    """
    there = read_relation(cursor, plan.table.target)
    if there is None:
        raise AssertionError(f"{plan.table.target} is locked and gone")
    others = besides_key(read_uniques(cursor, there.oid), key)
    acts = read_acting(cursor, there.oid)
    return Scene(plan, key, staging.identifier, there, others, *acts, removes)


def settle(cursor: Cursor, scene: Scene, still_there: StillThere, merge: Merge) -> Written:
    """Write what a MERGE could not, after it was rolled back.

    Raises SchemaConflict where the target's constraints do not allow what is sent, and DeleteGuard
    where too many rows make way.
    """
    plan = scene.plan
    made = [_make_way(cursor, scene, each, still_there) for each in scene.others]
    removed = sum(live for _, live in made)
    guard(cursor, plan, removed, left=1)
    events = (
        f"{rows_} rows that the source no longer has made way at {unique.name}"
        for unique, (rows_, _) in zip(scene.others, made, strict=True)
        if rows_
    )
    inserted, updated = _retried(cursor, scene, merge)
    enforced = plan.view.relation.has_versions
    if not enforced and any(
        row(cursor, merge_statements.count_changes(plan, scene.key, scene.staging))
    ):
        raise errors.SchemaConflict(f"{plan.table.source} has several rows of one key")
    return Written(inserted, updated, removed, tuple(events))


_ACTING = """
WITH tree AS (SELECT %(oid)s::oid AS oid UNION SELECT relid FROM pg_partition_tree(%(oid)s::oid))
SELECT (SELECT min(what) FROM (
    SELECT format('the foreign key %%I on %%s acts when a row is deleted', conname, conrelid::regclass)
    FROM pg_constraint WHERE contype = 'f' AND confrelid IN (SELECT oid FROM tree)
      AND confdeltype <> 'a' AND current_setting('session_replication_role') <> 'replica'
    UNION ALL
    SELECT format('the trigger %%I acts when a row is deleted', tgname)
    FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM tree) AND NOT tgisinternal
      AND tgtype & 8 <> 0 AND tgenabled IN (
        'A', CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END)
    UNION ALL
    SELECT format('the table %%s inherits from it', inhrelid::regclass) FROM pg_inherits
    JOIN pg_class parent ON parent.oid = inhparent
    WHERE inhparent = %(oid)s AND parent.relkind = 'r') AS acting (what)),
  ARRAY(SELECT attname::text FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.confrelid
        AND a.attnum = ANY (k.confkey) WHERE k.contype = 'f' AND k.confrelid = %(oid)s)
"""


def read_acting(cursor: Cursor, oid: int) -> tuple[str | None, frozenset[str]]:
    """What else happens when a row of a table is deleted, and columns that foreign keys point to."""
    acts, referenced = row(cursor, _ACTING, {"oid": oid})
    return acts, frozenset(referenced)


def _make_way(
    cursor: Cursor, scene: Scene, unique: Unique, still_there: StillThere
) -> tuple[int, int]:
    """Delete the rows whose values others have now; count them, and the live ones among them."""
    if not set(unique.columns) <= set(scene.plan.layout.names):
        return 0, 0
    removed = rows(cursor, _remove_held(scene, unique))
    if removed:
        left = still_there(scene.plan, scene.key, [keys for _, keys in removed])
        _require_gone(scene, unique, left)
    return len(removed), sum(live for live, _ in removed)


def _require_gone(scene: Scene, unique: Unique, left: int) -> None:
    """Nothing but a look at the source proves that: the target may be stricter, or changed by hand."""
    held = "rows of {} have values that other rows of the source have now, which {} does not allow"
    said = held.format(scene.plan.table.target, unique.name)
    if left:
        raise errors.SchemaConflict(
            f"{left} {said}, and the source still has them",
            remedy="If somebody changed them on the target, run once with --full-refresh. Else its "
            f"constraint is stricter than the source's. {_drop(unique)}",
        )
    if scene.acts and not scene.removes:
        raise errors.SchemaConflict(
            f"{said}, and they cannot make way, though the source no longer has them: {scene.acts}",
            remedy=f"Set deletes: hard, which removes such rows. {_drop(unique)}",
        )


def _remove_held(scene: Scene, unique: Unique) -> Composable:
    parts = SQL(", ").join(
        SQL("({}) AS {}").format(SQL(part), Identifier(f"e{number}"))
        for number, part in enumerate(unique.parts)
    )
    return SQL(
        "WITH removed AS (DELETE FROM {target} AS t USING "
        "(SELECT ctid AS place, tableoid AS leaf, {parts} FROM {target}{where}) AS held, "
        "(SELECT {parts} FROM (SELECT s.* FROM {staged} AS s WHERE NOT EXISTS "
        "(SELECT FROM {target} AS t WHERE {joined} AND NOT {differs})) AS s{where}) AS wanted "
        "WHERE t.ctid = held.place AND t.tableoid = held.leaf AND {collide} "
        "AND NOT EXISTS (SELECT FROM {staged} AS s WHERE {joined}) RETURNING {live} AS live, ARRAY[{texts}] AS keys) "
        "SELECT live, keys FROM removed"
    ).format(
        target=scene.target,
        staged=scene.staged,
        parts=parts,
        where=SQL(f" WHERE {unique.condition}" if unique.condition else ""),
        joined=merge_statements.joined(scene.key),
        differs=merge_statements.differs(scene.plan),
        collide=SQL(" AND ").join(_collide(unique)),
        live=merge_statements.live(scene.plan),
        # By the types' own output: a cast may be somebody's own code.
        texts=SQL(", ").join(
            SQL("pg_catalog.format('%s', t.{})").format(Identifier(name))
            for name in scene.key.columns
        ),
    )


def _collide(unique: Unique) -> Iterator[Composable]:
    for number, operator in enumerate(unique.operators):
        held, wanted = f"held.e{number}", f"wanted.e{number}"
        same = f"{held} {operator} {wanted}"
        if unique.nulls_equal:
            same = f"({same} OR {held} IS NULL AND {wanted} IS NULL)"
        yield SQL(same)


def _retried(cursor: Cursor, scene: Scene, merge: Merge) -> tuple[int, int]:
    refused: tuple[type[psycopg2.Error], ...] = COLLIDED
    updated = 0
    try:
        if scene.acts is None:
            cursor.execute(_put_back(scene))
            updated = cursor.rowcount
        else:
            refused = (psycopg2.IntegrityError,)
            _park(cursor, scene)
        inserted, also = merge()
    except refused as error:
        cursor.execute("ROLLBACK TO collision")
        unique = next((e for e in scene.others if e.name == error.diag.constraint_name), None)
        if unique is None:
            raise
        raise _refusal(scene, unique) from None
    return inserted, updated + also


def _put_back(scene: Scene) -> Composable:
    """Take the rows that change out and put them back changed, new values where they are synced."""
    plan = scene.plan
    sent = (*plan.layout.names, plan.table.xmin_column)
    marks = [name for name in (plan.layout.deleted_column,) if name is not None]
    kept = [
        column.name
        for column in scene.there.columns
        if not column.generated and column.name not in (*sent, *marks)
    ]
    values = [
        identifiers.names(sent, merge_statements.STAGED),
        *(SQL("NULL::pg_catalog.timestamptz") for _ in marks),
        *(SQL("t.{}").format(Identifier(name)) for name in kept),
    ]
    return SQL(
        "WITH gone ({columns}) AS (DELETE FROM {target} AS t USING {staged} AS s "
        "WHERE {joined} AND {differs} RETURNING {values}) "
        "INSERT INTO {target} ({columns}) OVERRIDING SYSTEM VALUE "
        # To count them first is to delete all of them first.
        "SELECT {columns} FROM gone WHERE (SELECT pg_catalog.count(*) FROM gone) > 0"
    ).format(
        columns=identifiers.names((*sent, *marks, *kept)),
        target=scene.target,
        staged=scene.staged,
        joined=merge_statements.joined(scene.key),
        differs=merge_statements.differs(scene.plan),
        values=SQL(", ").join(values),
    )


def _park(cursor: Cursor, scene: Scene) -> None:
    """Let the rows that change be NULL where a constraint looks, until they are written."""
    may_be = {field.name for field in scene.plan.layout.fields if field.settable}
    may_be -= {column.name for column in scene.there.columns if column.not_null}
    may_be -= scene.referenced | set(scene.key.columns)
    found = (next((n for n in each.plain if n in may_be), None) for each in scene.others)
    columns = sorted({name for name in found if name is not None})
    if columns:
        cursor.execute(
            SQL("UPDATE {} AS t SET {} FROM {} AS s WHERE {} AND {}").format(
                scene.target,
                SQL(", ").join(SQL("{} = NULL").format(Identifier(name)) for name in columns),
                scene.staged,
                merge_statements.joined(scene.key),
                merge_statements.differs(scene.plan),
            )
        )


def _refusal(scene: Scene, unique: Unique) -> errors.SyncError:
    """What to do about values that are in each other's way even so."""
    table = scene.plan.table
    if scene.acts is None or unique.deferrable:
        return errors.SchemaConflict(
            f"rows of {table.source} have values that {unique.name} of {table.target} "
            "does not allow beside each other",
            remedy=_drop(unique),
        )
    return errors.SchemaConflict(
        f"rows of {table.source} have taken over each other's values, which {unique.name} of "
        f"{table.target} does not allow row by row, and they cannot be taken out and put "
        f"back: {scene.acts}",
        remedy="Have it checked at the end of each statement, on the target: "
        f"{unique.checked_later}",
    )


def _drop(unique: Unique) -> str:
    return f"Drop it, on the target: {unique.dropped}"
