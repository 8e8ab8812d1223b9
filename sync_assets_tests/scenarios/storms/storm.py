"""A storm: sessions that change tables in every way PostgreSQL has, until they are told to stop.

Writers run transactions of random changes, with savepoints, two-phase commits and pauses; a
caretaker vacuums, freezes, clusters and checkpoints; a rewriter truncates and refills tables or
alters a type, which is not MVCC-safe.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from types import TracebackType

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection, cursor

from sync_assets_tests.fixtures.pair import execute

WRITERS = 6
SAVEPOINTS = 0.3
KEYS = 6000
"""Most keys are below; a bulk load takes a range above."""

PLAIN, PARTITIONED = "public.storm", "public.storm_parts"
TABLES = (PLAIN, PARTITIONED)

_COLUMNS = "id integer PRIMARY KEY, n integer NOT NULL, tag integer, v text, big text"
_LOW, _HIGH = f"{PARTITIONED}_low", f"{PARTITIONED}_high"
# Few rows on a page, so that most pages are not touched between two rounds.
_LOOSE = "fillfactor = 10, autovacuum_enabled = off"
_FILL = (
    "INSERT INTO {t} SELECT i, 0, i % 7, md5(i::text), NULL "
    "FROM generate_series(1, {keys}) i ON CONFLICT DO NOTHING"
)

SCHEMA = (
    f"CREATE TABLE {PLAIN} ({_COLUMNS}) WITH ({_LOOSE})",
    f"CREATE TABLE {PARTITIONED} ({_COLUMNS}) PARTITION BY RANGE (id)",
    f"CREATE TABLE {_LOW} PARTITION OF {PARTITIONED} FOR VALUES FROM (0) TO (2000) WITH ({_LOOSE})",
    f"CREATE TABLE {_HIGH} PARTITION OF {PARTITIONED} DEFAULT WITH ({_LOOSE})",
    *(f"ALTER TABLE {table} ALTER big SET STORAGE EXTERNAL" for table in TABLES),
    *(f"CREATE INDEX ON {table} (tag)" for table in TABLES),
    *(_FILL.format(t=table, keys=KEYS) for table in TABLES),
)

CHANGES = (
    # Several of these leave the index alone, so that the new version stays on its page (HOT).
    "UPDATE {t} SET n = n + 1 WHERE id = {a}",
    "UPDATE {t} SET n = n + 1 WHERE id BETWEEN {a} AND {a} + 20",
    "UPDATE {t} SET v = md5(v) WHERE id = {a}",
    "UPDATE {t} SET tag = {b} WHERE id = {a}",
    "UPDATE {t} SET tag = n WHERE id BETWEEN {a} AND {a} + 10",
    "UPDATE {t} SET big = repeat(md5(n::text), 100) WHERE id = {a}",
    # A changed key; over the partitioned table it may move the row to another partition.
    "UPDATE {t} SET id = {b} WHERE id = {a} AND NOT EXISTS (SELECT FROM {t} WHERE id = {b})",
    "DELETE FROM {t} WHERE id = {a}",
    "DELETE FROM {t} WHERE id BETWEEN {a} AND {a} + 10",
    "INSERT INTO {t} VALUES ({a}, 1, 2, 'new', NULL) ON CONFLICT (id) DO NOTHING",
    "INSERT INTO {t} VALUES ({a}, 1, 2, 'both', NULL), ({b} + 1, 1, 2, 'both', NULL)",
    "INSERT INTO {t} VALUES ({a}, 1, 2, 'up', NULL) ON CONFLICT (id) DO UPDATE SET v = md5({t}.v)",
    "SELECT FROM {t} WHERE id BETWEEN {a} AND {a} + 20 FOR UPDATE",
    "SELECT FROM {t} WHERE id BETWEEN {a} AND {a} + 20 FOR KEY SHARE",
    "DELETE FROM {t} WHERE id = {a}; INSERT INTO {t} VALUES ({a}, 3, 4, 'back', NULL)",
)
BULK = (
    "INSERT INTO {t} SELECT {k} + i, 5, 6, 'bulk', NULL FROM generate_series({a}, {a} + 300) i",
    "DELETE FROM {t} WHERE id > {k}",
)
CARE = (
    "VACUUM {t}",
    "VACUUM (FREEZE) {t}",
    "VACUUM (TRUNCATE, INDEX_CLEANUP ON) {t}",
    "ANALYZE {t}",
    "CHECKPOINT",
)
REWRITES = (
    "ALTER TABLE {t} ALTER n TYPE integer USING n + 1",
    "TRUNCATE {t}; " + _FILL,
)
MOVES = ("VACUUM FULL {t}", "CLUSTER {plain} USING storm_pkey")
"""Rewrites that change no row."""

REPACKS_FROM = 190000
REPACKS = ("REPACK {t}", "REPACK (CONCURRENTLY) {plain}")
"""Those of later versions; the second gives every row another xid, and is not MVCC-safe."""

SETBACKS = (
    errors.UniqueViolation,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    errors.SerializationFailure,
    # A row for a partition that somebody has detached.
    errors.CheckViolation,
)
"""What sessions do to each other; a transaction that meets one is rolled back."""

Choice = random.Random
Work = Callable[[connection, Choice], None]


class Storm:
    """A storm over tables of one database while inside the `with`; the same seed, the same dice.

    `calm` is how many seconds lie between two rewrites of a table; `savepoints` the share of changes
    that a subtransaction makes; `outlived` are errors after which a session connects anew, such as
    those of a crash.
    Leaving it raises what any of its sessions did not expect.
    """

    def __init__(  # noqa: PLR0913 - each has its default, and goes by its name
        self,
        url: str,
        seed: str,
        calm: float = 0.4,
        *,
        writers: int = WRITERS,
        outlived: tuple[type[psycopg2.Error], ...] = (),
        tables: Sequence[str] = TABLES,
        savepoints: float = SAVEPOINTS,
    ) -> None:
        self.url = url
        self.tables = tables
        self.commits = 0
        self._calm, self._outlived = calm, outlived
        self._savepoints = savepoints
        self.rewrites = Counter[str]()
        self._wanted: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._failures: list[BaseException] = []
        works = self._works(writers)
        self._threads = [
            threading.Thread(target=self._run, args=(work, f"{seed}/{number}"))
            for number, work in enumerate(works)
        ]

    def __enter__(self) -> Storm:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._wanted.put(None)
        for thread in self._threads:
            thread.join()
        roll_back_prepared(self.url)
        if self._failures and error is None:
            raise self._failures[0]

    def moves_on(self, commits: int, seconds: float) -> None:
        """Return once so many more transactions have committed, or the time is over."""
        goal = self.commits + commits
        self._until(lambda: self.commits >= goal, seconds)

    def rewrites_table(self, table: str, seconds: float) -> None:
        """Have that table truncated or rewritten next, and return after it, or in time."""
        goal = self.rewrites[table] + 1
        self._wanted.put(table)
        self._until(lambda: self.rewrites[table] >= goal, seconds)

    def _until(self, reached: Callable[[], bool], seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            if reached() or self._stopped.wait(0.02):
                return

    def _works(self, writers: int) -> list[Work]:
        """What each of the sessions does again and again."""
        return [*([self._write] * writers), self._care, self._rewrite]

    def _run(self, work: Work, seed: str) -> None:
        chance = random.Random(seed)
        try:
            while not self._stopped.is_set():
                with contextlib.suppress(*self._outlived):
                    self._work(work, chance)
                self._stopped.wait(0.05)
        except BaseException as error:  # noqa: BLE001 - raised where the storm is left
            self._failures.append(error)

    def _work(self, work: Work, chance: Choice) -> None:
        with closing(psycopg2.connect(self.url)) as session:
            session.autocommit = True
            session.cursor().execute("SET lock_timeout = '300ms'; SET deadlock_timeout = '50ms'")
            while not self._stopped.is_set():
                with contextlib.suppress(*SETBACKS):
                    work(session, chance)

    def _write(self, session: connection, chance: Choice) -> None:
        """One transaction, or what is left of it after a setback."""
        level = chance.choice(("READ COMMITTED", "REPEATABLE READ"))
        with session.cursor() as at:
            _pause(at, chance.expovariate(50))
            at.execute(f"BEGIN ISOLATION LEVEL {level}")
            try:
                if chance.random() < 0.3:
                    at.execute("SET LOCAL synchronous_commit = off")
                _changes(at, chance, self.tables, self._savepoints)
                self.commits += _end(at, chance)
            except SETBACKS:
                at.execute("ROLLBACK")

    def _care(self, session: connection, chance: Choice) -> None:
        with session.cursor() as at:
            _pause(at, chance.uniform(0.0, 0.3))
            at.execute(_worded(chance.choice(CARE), chance, self.tables))

    def _rewrite(self, session: connection, chance: Choice) -> None:
        """Rewrite the table that somebody waits for, or now and then one, in one way or another."""
        try:
            wanted = self._wanted.get(timeout=self._calm * chance.uniform(0.5, 1.5))
        except queue.Empty:
            wanted = chance.choice(self.tables)
            if chance.random() < 0.3:
                moves = MOVES + REPACKS * (session.server_version >= REPACKS_FROM)
                session.cursor().execute(_worded(chance.choice(moves), chance, (wanted,)))
                return
        if wanted is not None:
            self._rewrite_table(session, wanted, chance)

    def _rewrite_table(self, session: connection, table: str, chance: Choice) -> None:
        with session.cursor() as at:
            try:
                at.execute(f"BEGIN; {_worded(chance.choice(REWRITES), chance, (table,))}; COMMIT")
            except SETBACKS:
                at.execute("ROLLBACK")
                return
        self.rewrites[table] += 1


def _changes(at: cursor, chance: Choice, tables: Sequence[str], savepoints: float) -> None:
    for _ in range(chance.randrange(1, 6)):
        if chance.random() < savepoints:
            _under_a_savepoint(at, chance, tables)
        else:
            at.execute(_change(chance, tables))
        long = chance.random() < 0.02
        _pause(at, chance.uniform(0.3, 1.2) if long else chance.expovariate(100))


def _under_a_savepoint(at: cursor, chance: Choice, tables: Sequence[str], depth: int = 0) -> None:
    name = f"s{depth}"
    at.execute(f"SAVEPOINT {name}; {_change(chance, tables)}")
    if depth < 3 and chance.random() < 0.4:
        _under_a_savepoint(at, chance, tables, depth + 1)
    undone = f"ROLLBACK TO {name}; " if chance.random() < 0.4 else ""
    at.execute(f"{undone}RELEASE {name}")


def _change(chance: Choice, tables: Sequence[str]) -> str:
    return _worded(chance.choice(BULK if chance.random() < 0.04 else CHANGES), chance, tables)


def _worded(statement: str, chance: Choice, tables: Sequence[str]) -> str:
    a, b = chance.randrange(KEYS), chance.randrange(KEYS)
    return statement.format(t=chance.choice(tables), a=a, b=b, k=KEYS, keys=KEYS, plain=PLAIN)


def _end(at: cursor, chance: Choice) -> bool:
    """End the transaction in one of the ways there are; say whether it committed."""
    dice = chance.random()
    if dice < 0.1:
        at.execute("ROLLBACK")
        return False
    if dice < 0.2:
        name = f"storm {chance.getrandbits(64)}"
        at.execute("PREPARE TRANSACTION %s", (name,))
        _pause(at, chance.expovariate(10))
        kept = chance.random() < 0.7
        at.execute(f"{'COMMIT' if kept else 'ROLLBACK'} PREPARED %s", (name,))
        return kept
    at.execute("COMMIT")
    return True


def _pause(at: cursor, seconds: float) -> None:
    at.execute("SELECT pg_sleep(%s)", (seconds,))


def roll_back_prepared(url: str, seconds: int = 0) -> None:
    """End what a failed session left prepared so long ago: it holds locks, and its database."""
    mine = (
        "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() "
        f"AND prepared <= now() - interval '{seconds} s'"
    )
    for (name,) in execute(url, mine):
        execute(url, f"ROLLBACK PREPARED '{name}'")


def create_tables(url: str) -> None:
    """Create and fill the tables that a storm changes."""
    execute(url, *SCHEMA)
