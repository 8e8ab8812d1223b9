"""Private PostgreSQL servers for measurements: a source and a target."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2

from sync_assets.private_server.server import PostgresServer, embedded_binaries


class Pair(NamedTuple):
    """Two servers that run."""

    source: PostgresServer
    target: PostgresServer


@contextmanager
def private_pair(
    settings: Mapping[str, str], folder: Path | None = None, *, tcp: bool = False
) -> Iterator[Pair]:
    """Run a source and a target; in `folder` their data is still there the next time."""
    with ExitStack() as stack:
        room = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        room.mkdir(parents=True, exist_ok=True)
        # The servers' own account goes through it where we are root.
        room.chmod(0o711)
        yield Pair(
            *(
                stack.enter_context(
                    PostgresServer(room / end, embedded_binaries(), settings, tcp=tcp)
                )
                for end in ("source", "target")
            )
        )


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Execute statements, each on its own; return the last one's rows."""
    with closing(psycopg2.connect(url)) as session, session.cursor() as at:
        session.autocommit = True
        for statement in statements:
            at.execute(statement)
        return at.fetchall() if at.description else []
