"""One batch file into a table of the target."""

from __future__ import annotations

import io

from psycopg2.sql import Composable

from sync_assets.engine import errors
from sync_assets.engine.export.batches import BUFFER, Batch
from sync_assets.engine.load import staging_statements
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.session import Cursor


def copy_in(
    cursor: Cursor, plan: Plan, table: Composable, batch: Batch, before: bytes = b""
) -> None:
    """COPY a batch into a table for a plan's rows, or for their keys; settings must be pinned.

    `before` are rows that go first. Raises DatabaseError where the table got fewer than the file has.
    """
    statement = staging_statements.load_batch(plan, table, keys_only=batch.keys_only)
    first = [io.BytesIO(before)] if before else []
    with batch.path.open("rb", buffering=BUFFER) as file:
        for each in (*first, file):
            cursor.copy_expert(statement, each, BUFFER)
    if cursor.rowcount != batch.rows:
        raise errors.DatabaseError(
            f"{batch.rows} rows were exported to a batch file and {cursor.rowcount} loaded"
        )
