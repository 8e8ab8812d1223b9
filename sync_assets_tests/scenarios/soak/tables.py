"""The tables of a soak, and a writer that changes a few rows of them every second."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import psycopg2

from sync_assets_tests.scenarios.soak.servers import Servers

ROWS = 400
"""That a table has at most, for their keys are in this range."""

PAUSE = 0.25
"""Seconds between two changes."""

GROUP = ("orders", "lines")
PARTED = "parted"
PARTITIONS = ("parted_low", "parted_high")
BASE: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "orders": {"snapshot_group": "order"},
        "lines": {"snapshot_group": "order"},
        "customers": {"checks": {"key": True, "row_count": True}},
        "stock": {"schedule": "* * * * *"},
        "visits": {"freshness": "3 hours"},
        "notes": {},
        PARTED: {},
    }
)
"""Tables with their options in defs.yaml."""

COLUMNS = "(id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0, note text)"


@dataclass
class Tables:
    """Those that are there now: `there` on the source, `synced` in the definitions."""

    servers: Servers
    there: set[str] = field(default_factory=set)
    synced: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    added: int = 0

    def create(self, *, scheduled: bool) -> None:
        """Create all that are there from the beginning."""
        for name, options in BASE.items():
            if "schedule" in options and not scheduled:
                continue
            if name == PARTED:
                self._create_parted()
            else:
                self.create_one(name)
            self.synced[name] = options
            self.there.add(name)

    def create_one(self, name: str) -> None:
        """Create a plain table with rows."""
        self.servers.pair.source(f"CREATE TABLE {name} {COLUMNS}", _filled(name))
        self.there.add(name)

    def entries(self) -> list[dict[str, Any]]:
        """The definitions' list."""
        return [{"source": name, **options} for name, options in self.synced.items()]

    @property
    def scheduled(self) -> list[str]:
        """Those that are synced by the clock."""
        return [name for name, options in self.synced.items() if "schedule" in options]

    @property
    def watched(self) -> list[str]:
        """Those that are synced when they change."""
        return [name for name in self.synced if name not in self.scheduled]

    def touch(self, names: Sequence[str]) -> None:
        """Change each of them once more."""
        self.servers.pair.source(
            *(f"UPDATE {name} SET n = n + 1 WHERE id % 7 = 0" for name in names)
        )

    def _create_parted(self) -> None:
        low, high = PARTITIONS
        self.servers.pair.source(
            f"CREATE TABLE {PARTED} {COLUMNS} PARTITION BY RANGE (id)",
            f"CREATE TABLE {low} PARTITION OF {PARTED} FOR VALUES FROM (0) TO (1000000)",
            f"CREATE TABLE {high} PARTITION OF {PARTED} FOR VALUES FROM (1000000) TO (2000000)",
            _filled(PARTED),
            f"INSERT INTO {PARTED} SELECT 1000000 + i, i, 'high' FROM generate_series(1, 100) AS i",
        )


def _filled(name: str) -> str:
    return f"INSERT INTO {name} SELECT i, i, 'row ' || i FROM generate_series(1, {ROWS}) AS i"


class Writer:
    """Writes to the source in a thread of its own, whatever becomes of it."""

    def __init__(self, tables: Tables, seed: str) -> None:
        self._tables = tables
        self._chance = random.Random(seed)
        self._over, self._free, self._idle = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(target=self._write, name="writer", daemon=True)
        self.commits = 0

    def __enter__(self) -> Writer:
        self._free.set()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._free.set()
        self._thread.join(60)

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[None]:
        """Nothing is written inside the block."""
        self._idle.clear()
        self._free.clear()
        assert self._idle.wait(60), "the writer hangs"
        try:
            yield
        finally:
            self._free.set()

    def _write(self) -> None:
        session = None
        while not self._over.wait(PAUSE):
            if not self._free.is_set():
                self._idle.set()
                self._free.wait()
                continue
            try:
                if session is None or session.closed:
                    session = psycopg2.connect(self._tables.servers.primary.url("source"))
                    session.autocommit = True
                    with session.cursor() as cursor:
                        cursor.execute("SET lock_timeout = '2s'; SET statement_timeout = '10s'")
                self._change(session)
                self.commits += 1
            except psycopg2.Error:
                # The server is away, or the table; both come back.
                if session is not None and session.closed:
                    session = None
        if session is not None:
            session.close()

    def _change(self, session: psycopg2.extensions.connection) -> None:
        name = self._chance.choice(sorted(self._tables.there))
        base = 1_000_000 if name == PARTED and self._chance.random() < 0.3 else 0
        number = base + self._chance.randrange(1, ROWS)
        how = self._chance.random()
        with session.cursor() as cursor:
            if how < 0.4:
                cursor.execute(
                    f"INSERT INTO {name} VALUES (%s, 0, 'new')"
                    " ON CONFLICT (id) DO UPDATE SET n = excluded.n",
                    (number,),
                )
            elif how < 0.85:
                cursor.execute(
                    f"UPDATE {name} SET n = n + 1 WHERE mod(id, 50) = %s", (number % 50,)
                )
            else:
                cursor.execute(f"DELETE FROM {name} WHERE id = %s", (number,))
