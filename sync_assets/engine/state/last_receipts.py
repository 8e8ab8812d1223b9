"""The last receipt of each table, which says what its last runs did, and how many runs there were."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sync_assets.engine.names import RelationName, parts_of
from sync_assets.engine.postgres.connection import Server, ask
from sync_assets.engine.postgres.session import Cursor, rows
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.state import tables


@dataclass(frozen=True, slots=True)
class LastReceipt:
    """The newest receipt of a table, without its columns, and when it was written.

    `published` counts the table's runs since its state was made, those too whose receipts are gone, and
    those that found nothing and left none.
    """

    receipt: Receipt
    finished_at: datetime
    published: int


# By the time and not by the id: of a table that has long been idle, the index on the id would be read
# through all receipts of the others.
_LAST = """
SELECT wanted.schema, wanted.name, last.receipt - 'columns', last.finished_at, s.version
FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
JOIN sync_assets.state AS s
  ON (s.target_schema, s.target_table) = (wanted.schema, wanted.name)
CROSS JOIN LATERAL (
  SELECT receipt, finished_at FROM sync_assets.receipt AS r
  WHERE (r.target_schema, r.target_table) = (wanted.schema, wanted.name)
  ORDER BY finished_at DESC, id DESC LIMIT 1) AS last
"""


def last_receipts(
    server: Server, targets: Collection[RelationName]
) -> dict[RelationName, LastReceipt]:
    """The last receipts of those targets that have one, by a target server; raises SyncError."""

    def look(cursor: Cursor) -> dict[RelationName, LastReceipt]:
        if not tables.are_there(cursor):
            return {}
        return {
            RelationName(schema, name): LastReceipt(Receipt.from_dict(receipt), *rest)
            for schema, name, receipt, *rest in rows(cursor, _LAST, parts_of(targets))
        }

    return ask(server, look, "target")
