"""Dagster's home, opened by one of our processes at a time.

Dagster makes the SQLite files of a new home as if nobody else were at it: of several that open it
at once most fail, and may leave a file that never opens again. In PostgreSQL it takes care itself.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

LOCK = ".sync-assets.lock"


@contextmanager
def alone_in(home: Path) -> Iterator[None]:
    """Wait until no other process of ours is opening this home."""
    with ExitStack() as held:
        # A folder without locks, or that nobody may write to, is no place for SQLite either.
        with suppress(OSError):
            fcntl.flock(held.enter_context((home / LOCK).open("a")), fcntl.LOCK_EX)
        yield
