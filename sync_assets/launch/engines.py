"""Let what Dagster opens in the files of its home stay open while it is used.

Dagster makes an engine for each event that it writes there, which compiles its statements anew and
opens the file anew: more than half of what an event costs.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from sqlalchemy import Engine, QueuePool, create_engine

SECONDS = 5.0
"""How long a file that somebody else writes to is waited for, where Dagster does not say: SQLite's own."""

FILES = 16
"""Files that stay open: each run has one of its own, and few runs are written to at once."""


@contextmanager
def kept_engines() -> Iterator[None]:
    """Do so in this process for as long as the block lasts; then every file is closed.

    A home may be moved away after it, and another one made in its place.
    """
    modules = [vars(module) for module in (sqlite_event_log, sqlite_run_storage)]
    kept, before = _Kept(), [module["create_engine"] for module in modules]
    for module in modules:
        module["create_engine"] = kept.engine
    try:
        yield
    finally:
        for module, made in zip(modules, before, strict=True):
            module["create_engine"] = made
        kept.close()


class _Kept:
    """The engines of the files that were used last. Dagster disposes of each after each use."""

    def __init__(self) -> None:
        self._engines: OrderedDict[tuple[str, float], Engine] = OrderedDict()
        self._lock = threading.Lock()

    def engine(
        self, url: str, *, connect_args: Mapping[str, Any] | None = None, **_: object
    ) -> Engine:
        key = url, float((connect_args or {}).get("timeout", SECONDS))
        with self._lock:
            if key not in self._engines:
                self._engines[key] = _made(*key)
            self._engines.move_to_end(key)
            while len(self._engines) > FILES:
                Engine.dispose(self._engines.popitem(last=False)[1])
            return self._engines[key]

    def close(self) -> None:
        with self._lock:
            while self._engines:
                Engine.dispose(self._engines.popitem()[1])


def _made(url: str, timeout: float) -> Engine:
    arguments = {"timeout": timeout, "check_same_thread": False}
    # A file is used by a few threads at once at most, and none of them is to wait for another.
    engine = create_engine(url, poolclass=QueuePool, max_overflow=-1, connect_args=arguments)
    vars(engine)["dispose"] = lambda: None
    return engine
