"""First loads and full passes of a large table under writers, ended again and again by whatever ends a run.

A load that comes through is compared with the truth at its own last snapshot, what all of its attempts
together have read is counted, and nothing may be left of it. SYNC_TEST_LOAD_KILLS says how many loads
(few of a smaller table by default), SYNC_TEST_STORM_SEED repeats the dice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from sync_assets.engine import Receipt, SyncError, TransientError
from sync_assets.engine.errors import OutOfSpace
from sync_assets.engine.export import copy_piece
from sync_assets.engine.export.copy_chunk import copy_chunk
from sync_assets.engine.limits import Limits
from sync_assets.engine.run.first_load import by_pieces
from sync_assets.engine.snapshot import snapshot
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.full_disk import SmallDisk, small_disk
from sync_assets_tests.fixtures.pair import Pair, execute
from sync_assets_tests.fixtures.servers import SETTINGS, running_server
from sync_assets_tests.fixtures.ways import WAYS
from sync_assets_tests.scenarios.faults.faults import PROCESSES
from sync_assets_tests.scenarios.storms import storm as storms
from sync_assets_tests.scenarios.storms.rounds import SEED, log
from sync_assets_tests.scenarios.storms.storm import PLAIN, Storm, roll_back_prepared

LONG = "SYNC_TEST_LOAD_KILLS" in os.environ
LOADS = int(os.environ.get("SYNC_TEST_LOAD_KILLS", "1"))
ROWS = 2_000_000 if LONG else 100_000
PIECE = 1 << 20 if LONG else 64 << 10
"""Bytes of a piece: some hundred make a table, and a kill may cost each worker two of them."""

DISK = 4000 if LONG else 600
"""Megabytes for the target's server, and for batch files."""

WASTE = 1.1
"""So many times the table all attempts of a load may read together."""

PROMPT = {
    **SETTINGS,
    # What a crash of the target takes along are the pieces of so long.
    "wal_writer_delay": "10ms",
    "max_wal_size": "256MB",
}
TABLE = (
    f"CREATE TABLE {PLAIN} (id integer PRIMARY KEY, n integer NOT NULL, tag integer, v text, big text)",
    f"ALTER TABLE {PLAIN} ALTER big SET STORAGE EXTERNAL, SET (autovacuum_enabled = off)",
    f"CREATE INDEX ON {PLAIN} (tag)",
    f"INSERT INTO {PLAIN} SELECT i, 0, i % 7, md5(i::text), NULL FROM generate_series(1, {ROWS}) i",
)
DIGEST = (
    "SELECT count(*), sum(hashtextextended(ROW(id, n, tag, v, big)::text, 0)::numeric)::text "
    f"FROM {PLAIN}"
)
LOST = (psycopg2.DatabaseError, psycopg2.InterfaceError)
"""What the storm's sessions meet when their server goes down, in whatever they are at: it has many names."""

pytestmark = pytest.mark.parametrize("ways", WAYS, ids="-to-".join)


@dataclass
class Ends:
    """The servers of a load, its batch files' disk and that of the target's server."""

    servers: dict[str, PostgresServer]
    disks: dict[str, SmallDisk]
    pair: Pair
    counted: Path

    def revive(self) -> None:
        """Give back what a fault took."""
        for disk in self.disks.values():
            disk.free()
        for server in self.servers.values():
            server.start()

    def forget(self) -> None:
        """Let the table never have been loaded."""
        self.pieces_read()
        self.pair.target(f"DROP TABLE IF EXISTS {PLAIN}")
        if self.pair.target("SELECT to_regclass('sync_assets.state')") != [(None,)]:
            self.pair.target("DELETE FROM sync_assets.state", "DELETE FROM sync_assets.receipt")

    def pieces_read(self) -> int:
        """How many rows all attempts have read by pieces, and forget it."""
        there = self.counted.read_text().split() if self.counted.exists() else []
        self.counted.unlink(missing_ok=True)
        return sum(map(int, there))


Strike = Callable[[Ends], None]


def _killed(side: str) -> Strike:
    def strike(ends: Ends) -> None:
        ends.servers[side].kill()
        ends.servers[side].start()

    return strike


def _restarted(side: str) -> Strike:
    return lambda ends: ends.servers[side].restart("immediate")


def _terminated(side: str) -> Strike:
    def strike(ends: Ends) -> None:
        url = ends.pair.source_url if side == "source" else ends.pair.target_url
        ours = "FROM pg_stat_activity WHERE application_name = 'sync_assets'"
        execute(url, f"SELECT pg_terminate_backend(pid) {ours}")

    return strike


def _filled(name: str) -> Strike:
    return lambda ends: ends.disks[name].fill()


AGAIN = 0.5
"""How many loads are full passes over the target of the one before."""

MOST = 5 if LONG else 3
"""Faults of one load."""

READ: Callable[..., Any] = copy_chunk
READ_PIECE: Callable[..., Any] = copy_piece.copy_piece

FAULTS: dict[str, Strike | None] = {
    "our SIGKILL": None,
    **{f"{side} killed": _killed(side) for side in ("source", "target")},
    **{f"{side} restarted": _restarted(side) for side in ("source", "target")},
    **{f"{side} sessions terminated": _terminated(side) for side in ("source", "target")},
    **{f"disk of {name} full": _filled(name) for name in ("batches", "the target")},
}


@dataclass
class Truth:
    """What the source holds under the newest snapshot that a run of this process has taken."""

    digest: tuple[object, ...] = ()

    @contextlib.contextmanager
    def over(self, taken: Any, held: Any, *arguments: Any) -> Iterator[Any]:
        """`snapshot.taken`, with the truth read before the run goes on."""
        with taken(held, *arguments) as views:
            with held.cursor() as at:
                at.execute(f"SAVEPOINT truth; {DIGEST}")
                self.digest = at.fetchone()
                at.execute("ROLLBACK TO truth; RELEASE truth")
            yield views


def small_pieces(counted: Path, patched: pytest.MonkeyPatch) -> None:
    """Read any table by small pieces in this process, and count the rows that are read so."""

    rows = threading.local()

    def chunk(*given: Any) -> None:
        *before, complete = given

        def completed(batch: Any) -> None:
            rows.read += batch.rows
            complete(batch)

        READ(*before, completed)

    def piece(*given: Any, forget: Callable[[], None], **last: Any) -> Any:
        rows.read = 0

        def forgotten() -> None:
            rows.read = 0
            forget()

        place = READ_PIECE(*given, forget=forgotten, **last)
        with counted.open("a") as told:
            told.write(f"{rows.read}\n")
        return place

    mover = "sync_assets.engine.run.first_load.mover"
    patched.setattr(f"{mover}.copy_chunk", chunk)
    patched.setattr(f"{mover}.copy_piece", piece)
    # Scans go astray more often in such small ones: what they threw away is not what kills have cost.
    patched.setattr(copy_piece, "SMALLEST", 64)
    patched.setattr(by_pieces, "LEAST", 0)
    patched.setattr(Limits, "piece_bytes", lambda *_: PIECE)


def load(pair: Pair, batches: Path, options: dict[str, Any]) -> Receipt:
    """One run in this process."""
    return pair.engine(batch_dir=batches).copy_table_data_with_xmin(PLAIN, PLAIN, **options)


def _load_elsewhere(pair: Pair, batches: Path, counted: Path, options: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patched, contextlib.suppress(SyncError):
        small_pieces(counted, patched)
        load(pair, batches, options)


@dataclass
class Kills:
    """Loads, what ended them, and what they have read."""

    ends: Ends
    truth: Truth
    chance: random.Random
    usual: float = 1e6
    loads: int = 0
    again: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    went_on: int = 0
    started_over: int = 0
    waste: list[float] = field(default_factory=list)

    def load(self, faults: int) -> None:
        """Load the table from nothing, through so many faults, and hold it against the truth."""
        pair = self.ends.pair
        again = self.loads > 0 and self.chance.random() < AGAIN
        if not again:
            self.ends.forget()
        began = time.monotonic()
        receipt = self._come_through(faults, again=again)
        self.again += again
        # The servers' caches are cold at first.
        self.usual = min(self.usual, time.monotonic() - began)
        self.loads += 1
        where = f"seed {SEED}, load {self.loads}, {receipt.reason}"
        assert (pair.target(DIGEST)[0], where) == (self.truth.digest, where)
        assert (self._leftovers(), where) == ([], where)
        assert (pair.target("SELECT count(*) FROM sync_assets.load"), where) == ([(0,)], where)
        assert ([*self.ends.disks["batches"].folder.iterdir()], where) == ([], where)
        self.waste.append(self.ends.pieces_read() / ROWS)
        self.went_on += any("earlier runs" in event for event in receipt.events)
        self.started_over += any("started over" in event for event in receipt.events)

    def _leftovers(self) -> list[str]:
        """What a run should not leave; temporary tables outlive a crash of their server, not a session."""
        temporary = "SELECT relname::text FROM pg_class WHERE relpersistence = 't'"
        orphans = {name for (name,) in self.ends.pair.target(temporary)}
        return [each for each in self.ends.pair.leftovers() if each not in orphans]

    def _come_through(self, faults: int, *, again: bool) -> Receipt:
        names = self.chance.choices(tuple(FAULTS), k=faults)
        for name in [*names, *[None] * 20]:
            options: dict[str, Any] = {"deletes": self.chance.choice(("ignore", "hard"))}
            if again:
                options = {"deletes": "hard", "full_refresh": True, "max_delete_ratio": 1.0}
            receipt = self._attempt(name, options)
            if receipt is not None:
                self.missed += name is not None
                return receipt
            roll_back_prepared(self.ends.pair.source_url, 10)
        pytest.fail(f"seed {SEED}, load {self.loads}: it never came through")

    def _attempt(self, name: str | None, options: dict[str, Any]) -> Receipt | None:
        """One run, ended by a fault; None where it did not come through."""
        batches, pair = self.ends.disks["batches"].folder, self.ends.pair
        moment = self.chance.uniform(0.05, 0.6) * self.usual
        if name is not None and FAULTS[name] is None:
            given = (pair, batches, self.ends.counted, options)
            process = PROCESSES.Process(target=_load_elsewhere, args=given)
            process.start()
            process.join(moment)
            process.kill()
            process.join()
            self.ended[name] += 1
            if self._is_through(options):
                # Only one that this process has seen can be held against its truth.
                self.ends.forget()
            return None
        over = threading.Event()
        striker = threading.Thread(target=self._strike, args=(name, moment, over))
        striker.start()
        try:
            return load(pair, batches, options)
        except (TransientError, OutOfSpace) as error:
            log.info("%s: %s", name, error)
            self.ended[name or "the storm"] += 1
            return None
        finally:
            over.set()
            striker.join()
            self.ends.revive()

    def _is_through(self, options: dict[str, Any]) -> bool:
        """Whether a load that was killed had come to its end, or never began."""
        if "full_refresh" in options:
            return self.ends.pair.target("SELECT count(*) FROM sync_assets.load") == [(0,)]
        return self.ends.pair.target(f"SELECT to_regclass('{PLAIN}')") != [(None,)]

    def _strike(self, name: str | None, moment: float, over: threading.Event) -> None:
        if name is None or over.wait(moment):
            return
        strike = FAULTS[name]
        assert strike is not None
        with contextlib.suppress(psycopg2.Error):
            strike(self.ends)


@pytest.fixture
def ends(ways: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    """A source, and a target whose disk may be filled."""
    with contextlib.ExitStack() as held:
        disks = {
            "batches": held.enter_context(small_disk(DISK)),
            "the target": held.enter_context(small_disk(DISK)),
        }
        source = held.enter_context(running_server(ways[0], PROMPT))
        with monkeypatch.context() as there:
            there.setattr(tempfile, "tempdir", str(disks["the target"].folder))
            target = held.enter_context(running_server(ways[1], PROMPT))
        pair = Pair(source.create_database("storm"), target.create_database("copy"))
        yield Ends({"source": source, "target": target}, disks, pair, tmp_path / "rows")


@pytest.mark.timeout(120 + 120 * LOADS)
@pytest.mark.parametrize("rewritten", [False, True], ids=["written", "rewritten too"])
def test_a_load_that_is_killed_again_and_again_is_exact_and_reads_little_twice(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, *, rewritten: bool
) -> None:
    ends.pair.source(*TABLE)
    monkeypatch.setattr(storms, "KEYS", ROWS)
    truth = Truth()
    taken = snapshot.taken
    monkeypatch.setattr(snapshot, "taken", lambda *given: truth.over(taken, *given))
    small_pieces(ends.counted, monkeypatch)
    calm = (30.0 if LONG else 2.0) if rewritten else 1e6
    log.info("seed %s", SEED)
    kills = Kills(ends, truth, random.Random(SEED))
    with Storm(ends.pair.source_url, SEED, calm, writers=5, outlived=LOST, tables=(PLAIN,)):
        kills.load(0)
        for _ in range(LOADS):
            kills.load(kills.chance.randrange(1, MOST + 1) if LONG else MOST)
            log.info("%s", dataclasses.replace(kills, ends=None, chance=None, truth=None))  # type: ignore[arg-type]
            assert rewritten or max(kills.waste) <= WASTE, (SEED, kills.waste)
