"""Dagster's home, opened by one of our processes at a time, and how many runs it keeps.

Dagster makes the SQLite files of a new home as if nobody else were at it: of several that open it
at once most fail, and may leave a file that never opens again. In PostgreSQL it takes care itself.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sync_assets.engine.errors import ConfigurationError

LOCK = ".sync-assets.lock"
VARIABLE = "SYNC_RUNS_KEPT"


@contextmanager
def alone_in(home: Path) -> Iterator[None]:
    """Wait until no other process of ours is opening this home."""
    with ExitStack() as held:
        # A folder without locks, or that nobody may write to, is no place for SQLite either.
        with suppress(OSError):
            fcntl.flock(held.enter_context((home / LOCK).open("a")), fcntl.LOCK_EX)
        yield


def runs_kept(environment: Mapping[str, str]) -> int | None:
    """What SYNC_RUNS_KEPT says, None where it is not set; raises ConfigurationError."""
    text = environment.get(VARIABLE, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ConfigurationError(
            f"{VARIABLE} is {text!r}", remedy="It must be a whole number from 1 up."
        )
    return int(text)
