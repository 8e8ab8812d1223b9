"""Let SQLAlchemy remember the statements that Dagster sends to the files of its home.

Dagster makes an engine for each event that it writes there, which then compiles its statements anew:
a third of what an event costs. What is kept holds no connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from sqlalchemy import Engine, NullPool, create_engine

SECONDS = 5.0
"""How long a file that somebody else writes to is waited for, where Dagster does not say: SQLite's own."""

FILES = 16
"""Engines that are kept: each run has a file of its own, and few runs are written to at once."""


def keep_engines() -> None:
    """Do so in this process, from now on."""
    for module in (sqlite_event_log, sqlite_run_storage):
        vars(module)["create_engine"] = _kept


def _kept(url: str, *, connect_args: Mapping[str, Any] | None = None, **_: object) -> Engine:
    return _engine(url, float((connect_args or {}).get("timeout", SECONDS)))


@lru_cache(maxsize=FILES)
def _engine(url: str, timeout: float) -> Engine:
    return create_engine(url, poolclass=NullPool, connect_args={"timeout": timeout})
