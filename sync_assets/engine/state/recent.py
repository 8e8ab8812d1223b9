"""What runs have done to tables since somebody asked last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sync_assets.engine.names import RelationName, parts_of
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.connection import ask
from sync_assets.engine.postgres.session import Cursor, row, rows
from sync_assets.engine.state import tables


@dataclass(frozen=True, slots=True)
class Done:
    """What is told of a run's receipt, which bears this number on the target."""

    number: int
    target: RelationName
    mode: str
    full: bool
    reason: str
    schema_changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recent:
    """Receipts, and the number after which the next question begins.

    They get their numbers before they are committed: so it lies some minutes back, and a receipt
    may be found again.
    """

    done: tuple[Done, ...]
    since: int


_SETTLED = """
SELECT coalesce(max(id), 0) FROM sync_assets.receipt
WHERE finished_at < clock_timestamp() - interval '10 minutes'
"""

_RECENT = """
SELECT id, target_schema, target_table, receipt->>'mode', (receipt->>'full')::bool,
  receipt->>'reason', coalesce(receipt->'schema_changes', '[]')
FROM sync_assets.receipt
JOIN unnest(%s::text[], %s::text[]) AS wanted (schema, name)
  ON (target_schema, target_table) = (wanted.schema, wanted.name)
WHERE id > %s ORDER BY id
"""


def recent(url: DatabaseOrUrl, targets: Sequence[RelationName], since: int | None) -> Recent:
    """The receipts of these tables after a number, or of the last minutes; raises SyncError."""

    def look(cursor: Cursor) -> Recent:
        if not tables.are_there(cursor):
            return Recent((), 0)
        (settled,) = row(cursor, _SETTLED)
        first = settled if since is None else min(since, settled)
        found = rows(cursor, _RECENT, (*parts_of(targets), first))
        return Recent(
            tuple(
                Done(number, RelationName(schema, name), mode, full, reason, tuple(changes))
                for number, schema, name, mode, full, reason, changes in found
            ),
            settled,
        )

    return ask(url, look, "target")
