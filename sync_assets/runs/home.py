"""Dagster's home: where it is, opened by one of our processes at a time, and how many runs it keeps.

Dagster makes the SQLite files of a new home as if nobody else were at it: of several that open it
at once most fail, and may leave a file that never opens again. In PostgreSQL it takes care itself.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from sync_assets.config.folder import locate
from sync_assets.engine.errors import ConfigurationError

LOCK = ".sync-assets.lock"
VARIABLE = "SYNC_RUNS_KEPT"

OWN_RUNS = 200
"""Runs that are kept in a home of our own, which nobody else looks after."""


def find_home(environment: Mapping[str, str]) -> Path:
    """What DAGSTER_HOME names, else a home of our own for these definitions and no others."""
    given = environment.get("DAGSTER_HOME")
    if given:
        return Path(given).expanduser().absolute()
    place = locate(environment).resolve()
    folder = place if place.is_dir() else place.parent
    mark = sha256(str(folder).encode()).hexdigest()[:8]
    return state_folder(environment) / f"{folder.parent.name}-{mark}"


def state_folder(environment: Mapping[str, str]) -> Path:
    """Where our own homes are: among the user's state files."""
    state = environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "sync-assets"


def has_home(environment: Mapping[str, str]) -> bool:
    """Whether there is a home to ask: one that is named, or one of our own that a run or the UI made."""
    return (
        bool(environment.get("DAGSTER_HOME")) or (find_home(environment) / "dagster.yaml").is_file()
    )


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
