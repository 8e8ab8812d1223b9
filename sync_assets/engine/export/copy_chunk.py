"""One COPY of one chunk, from a session of the source into batch files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from psycopg2.errors import CharacterNotInRepertoire, UntranslatableCharacter

from sync_assets.engine import errors
from sync_assets.engine.export import copy_statements
from sync_assets.engine.export.batches import Batch, BatchFile, Files
from sync_assets.engine.export.leaf_access import pages_of
from sync_assets.engine.plan.chunks import most_noted
from sync_assets.engine.plan.plan import Chunk, Plan
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import Connection


def copy_chunk(  # noqa: PLR0913 - whom to ask, what for, and whom to tell
    sessions: Sessions,
    connection: Connection,
    plan: Plan,
    chunk: Chunk,
    opening: Callable[[str], BatchFile],
    complete: Callable[[Batch], None],
    *,
    pages: set[int] | None = None,
) -> None:
    """Read a chunk; `opening` makes a file by the end of its name, `complete` gets each that is full.

    The pages of changed rows are added to `pages` where the chunk notes them. Raises what the server
    says, and what the two raise.
    """
    binary = plan.sends_binary(keys_only=chunk.keys_only)
    copied = 0

    def completed(file: BatchFile, rows: int) -> None:
        nonlocal copied
        copied += rows
        complete(Batch(file.path, rows, file.size, chunk.member, chunk.keys_only))

    files = Files(lambda: opening("copy" if binary else "csv"), completed, binary=binary)
    if pages is not None and chunk.notes and chunk.leaf is not None:
        files.note(pages, most_noted(chunk.leaf))
    failure = None
    with contextlib.closing(files), connection.cursor() as cursor:
        try:
            cursor.copy_expert(copy_statements.export_chunk(plan, chunk), files)
        except (CharacterNotInRepertoire, UntranslatableCharacter) as error:
            failure = sessions.explained(error, pages_of(chunk))
        else:
            files.finish()
            if copied != cursor.rowcount:
                raise errors.DatabaseError(f"{cursor.rowcount} rows were sent, {copied} came")
    # Out here, so that the driver's own error, whose text has values, is not chained to it.
    if failure:
        raise failure
