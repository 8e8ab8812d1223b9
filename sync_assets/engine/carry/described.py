"""Read what the server says of objects that somebody may replace meanwhile."""

from __future__ import annotations

from typing import Any

import psycopg2

from sync_assets.engine.errors import SourceChanged
from sync_assets.engine.postgres.session import Cursor, rows

READS = 5


def described(
    cursor: Cursor, statement: str, values: dict[str, Any], place: int
) -> list[tuple[Any, ...]]:
    """The rows of a statement, all with the description that pg_get_indexdef() or its like puts at `place`.

    Those look into the newest catalog (ruleutils.c), and give NULL for what was dropped or replaced since
    the statement's snapshot, which still shows it, or for a view fail with an internal error. NULL is read
    again. Raises SourceChanged.
    """
    for _ in range(READS):
        try:
            found = rows(cursor, statement, values)
        except psycopg2.errors.InternalError_ as error:
            said = error.diag.message_primary
            raise SourceChanged(f"something was dropped while it was read: {said}") from None
        if all(its[place] is not None for its in found):
            return found
    raise SourceChanged(
        f"indexes, constraints or views were replaced {READS} times while they were read"
    )
