"""What runs have made on a target besides rows, object by object, and what could not be made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sync_assets.engine.names import RelationName, parts_of
from sync_assets.engine.postgres.session import Cursor, row, rows
from sync_assets.engine.table import Carry


@dataclass(frozen=True, slots=True)
class Carried:
    """An object of the source's, by kind and name: what it was, and its name on the target.

    A view has the same name there: `made_as` is its definition, as the target's server writes it.
    `problem` says why it is not there; `is_recent` that this was found less than a day ago.
    """

    kind: Carry
    name: str
    definition: str
    made_as: str
    problem: str | None = None
    is_recent: bool = True

    @property
    def place(self) -> tuple[Carry, str]:
        """What tells it from the source's other objects of the table."""
        return self.kind, self.name

    @property
    def place_there(self) -> tuple[Carry, str]:
        """What tells it from the target's."""
        return self.kind, self.made_as


_RECALL = """
SELECT target_schema, target_table, kind, name, definition, made_as, problem,
  tried_at > clock_timestamp() - interval '1 day'
FROM sync_assets.carried WHERE (target_schema, target_table) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""


def recall(
    cursor: Cursor, targets: Collection[RelationName]
) -> dict[RelationName, tuple[Carried, ...]]:
    """What was made for targets; nothing where the state has no such table."""
    found: dict[RelationName, list[Carried]] = {target: [] for target in targets}
    (there,) = row(cursor, "SELECT to_regclass('sync_assets.carried') IS NOT NULL")
    for schema, table, kind, *its in rows(cursor, _RECALL, parts_of(targets)) if there else ():
        found[RelationName(schema, table)].append(Carried(Carry(kind), *its))
    return {target: tuple(its) for target, its in found.items()}


_REMEMBER = """
INSERT INTO sync_assets.carried VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (target_schema, target_table, kind, name) DO UPDATE SET
  definition = excluded.definition, made_as = excluded.made_as, problem = excluded.problem,
  tried_at = clock_timestamp()
"""


def remember(cursor: Cursor, target: RelationName, made: Carried) -> None:
    """Remember an object in place of what was known of it."""
    its = (made.kind.value, made.name, made.definition, made.made_as, made.problem)
    cursor.execute(_REMEMBER, (target.schema, target.name, *its))


def let_go(cursor: Cursor, target: RelationName, made: Carried) -> None:
    """Remember an object no longer."""
    cursor.execute(
        "DELETE FROM sync_assets.carried"
        " WHERE (target_schema, target_table, kind, name) = (%s, %s, %s, %s)",
        (target.schema, target.name, made.kind.value, made.name),
    )
