"""What on the target may change what is written there, and the proof that nothing did.

A trigger may leave a row out, or change it, and every count of the statement still looks right. So
where there is one, what had to be written is looked for once all is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.sql import SQL, Composable

from sync_assets.engine import errors
from sync_assets.engine.export.batches import Exported
from sync_assets.engine.load.staging import Staging
from sync_assets.engine.merge import keys_by_page, merge_statements
from sync_assets.engine.names import RelationName, quoted
from sync_assets.engine.plan.plan import KeysByPage, Plan, Removal
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.session import PINNED, UNPINNED, Cursor, row, rows

NAMED = 3
ACTORS = ("trigger", "rule")


@dataclass(frozen=True, slots=True)
class Actor:
    """A trigger or a rule that acts in a session like this one; `on` is the table or a partition."""

    kind: str
    name: str
    on: RelationName

    def __str__(self) -> str:
        return f"the {self.kind} {self.name} on {self.on}"

    @property
    def disabled(self) -> str:
        """What switches it off for everybody."""
        return f"ALTER TABLE {self.on.as_sql} DISABLE {self.kind.upper()} {quoted(self.name)};"


# tgtype: INSERT 4, DELETE 8, UPDATE 16; what only TRUNCATE starts is not meant.
_SURROUNDINGS = """
WITH RECURSIVE tree AS (
  SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE (n.nspname, c.relname) IN %s
  UNION
  SELECT i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid
)
SELECT kind, actor.name, n.nspname, c.relname
FROM tree CROSS JOIN LATERAL (
  SELECT 'trigger', tgname, tgenabled FROM pg_catalog.pg_trigger
  WHERE tgrelid = tree.oid AND NOT tgisinternal AND tgtype & 28 <> 0
  UNION ALL
  SELECT 'rule', rulename, ev_enabled FROM pg_catalog.pg_rewrite
  WHERE ev_class = tree.oid AND rulename <> '_RETURN'
  UNION ALL
  SELECT 'constraint', conname, 'A' FROM pg_catalog.pg_constraint
  WHERE conrelid = tree.oid AND contype IN ('u', 'x') AND condeferrable
) AS actor (kind, name, enabled)
JOIN pg_catalog.pg_class c ON c.oid = tree.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE enabled IN ('A', CASE pg_catalog.current_setting('session_replication_role')
                       WHEN 'replica' THEN 'R' ELSE 'O' END)
ORDER BY c.relispartition, n.nspname, c.relname, actor.name
"""


def read_surroundings(
    cursor: Cursor, targets: Sequence[RelationName]
) -> tuple[tuple[Actor, ...], tuple[RelationName, ...]]:
    """What acts in this session on these tables and their partitions, and deferrable constraints."""
    names = tuple((target.schema, target.name) for target in targets)
    found = rows(cursor, _SURROUNDINGS, (names,))
    return (
        tuple(Actor(kind, name, RelationName(*on)) for kind, name, *on in found if kind in ACTORS),
        tuple(RelationName(on, name) for kind, name, on, _ in found if kind not in ACTORS),
    )


def read_actors(cursor: Cursor, target: RelationName) -> tuple[Actor, ...]:
    """The triggers and rules on a table and its partitions that act in this session."""
    return read_surroundings(cursor, [target])[0]


def check_each_statement(cursor: Cursor, constraints: Sequence[RelationName]) -> None:
    """Have deferrable constraints checked by each statement, which is late enough, and not later."""
    if constraints:
        names = SQL(", ").join(map(identifiers.relation, constraints))
        cursor.execute(SQL("SET CONSTRAINTS {} IMMEDIATE").format(names))


def require_written(
    cursor: Cursor, plan: Plan, unlike: Composable | None, left: Composable | None
) -> None:
    """Look for what had to be written and is not there as it was sent; raises SchemaConflict.

    `unlike` counts the staged rows that the target does not have like that, `left` rows that had
    to go.
    """
    cursor.execute("; ".join(("SET CONSTRAINTS ALL IMMEDIATE", *PINNED)))
    wrong, staying = (sum(row(cursor, each)) if each else 0 for each in (unlike, left))
    cursor.execute("; ".join(UNPINNED))
    if wrong or staying:
        raise conflict(cursor, plan, wrong, staying)


def unlike(plan: Plan, staging: Staging, done: Exported) -> Composable | None:
    """Count the staged rows that the target lacks or has otherwise."""
    if plan.layout.key is None:
        return merge_statements.count_unlike(plan, staging.identifier)
    if not done.rows:
        return None
    return merge_statements.count_changes(plan, plan.layout.key, staging.identifier)


def left(plan: Plan, staging: Staging) -> Composable | None:
    """Count the rows that had to go, or to be marked, and were not."""
    key, buckets = plan.layout.key, staging.buckets
    if key is None or plan.removal is Removal.NONE:
        return None
    if plan.keys.by_page is KeysByPage.USE:
        gone = keys_by_page.gone_of(staging)
        return (
            merge_statements.count_there(plan, key, gone)
            if keys_by_page.reads_pages(plan)
            else None
        )
    if buckets is not None and not buckets.prefixes:
        return None
    within = merge_statements.within(plan, key, buckets)
    return merge_statements.count_missing(plan, key, staging.all_keys, within)


def conflict(cursor: Cursor, plan: Plan, wrong: int, staying: int = 0) -> errors.SchemaConflict:
    """The error for so many rows that are not as they were sent, and so many that had to go."""
    target = plan.table.target
    found = read_actors(cursor, target)
    named = ", ".join(map(str, found[:NAMED])) or "a trigger or rule"
    which = [f"{wrong} rows are not there as they were sent"] if wrong else []
    which += [f"{staying} rows that had to go are there"] if staying else []
    return errors.SchemaConflict(
        f"{target}: {' and '.join(which)}: {named} changes what is written",
        remedy=f"{remedy(found)} Nothing was published.",
    )


def remedy(found: Sequence[Actor]) -> str:
    """The ways to write in spite of them."""
    statements = " ".join(actor.disabled for actor in found[:NAMED])
    return (
        f"On the target: {statements} Or, where the role may, for our sessions alone: "
        "options=-csession_replication_role=replica in the target's URL."
    )
