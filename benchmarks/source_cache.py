"""What reading a large table does to the source's cache.

`python benchmarks/source_cache.py [--shared-buffers=128] [--folder=BIN…]` starts a source and a target of
its own for each PostgreSQL (the embedded one, and each in a folder of programs) and prints a table. A hot
table fills 45 % of the source's shared_buffers, as often used as a living server would have it; a cold
one, 1.6 times shared_buffers, is loaded, synced after 100 changes, synced after 100 more with
`deletes: hard`, and verified. pg_buffercache says after each how much of the hot table is gone since before the first. Nobody
uses the hot table meanwhile, which is harder than life. Blocks are those of the cold table's heap and of
its key that the source was asked for.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from servers import execute

from sync_assets.engine import DataCopyEngine, Deletes, RelationName, Table
from sync_assets.engine.limits import Limits
from sync_assets.private_server.server import PostgresServer, embedded_binaries

HOT, COLD = 0.45, 1.6
"""Of shared_buffers."""

HOT_ROW, COLD_ROW = 7000, 104
"""Bytes: one row to a page of the hot table, which makes a page easy to touch."""

USES = (5, 3, 2)
"""How often each third of the hot table was used of late; PostgreSQL counts to 5."""

BLOCKS = (
    "SELECT heap_blks_read + heap_blks_hit, idx_blks_read + idx_blks_hit "
    "FROM pg_statio_user_tables WHERE relname = 'cold'"
)
OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
    "AND datname = current_database() AND pid <> pg_backend_pid()"
)
CACHED = (
    "SELECT count(*) FROM pg_buffercache WHERE relfilenode = pg_relation_filenode('hot') "
    "AND reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@dataclass(frozen=True)
class Step:
    """One pass over the cold table; `gone` is the share of the hot one that the passes displaced."""

    name: str
    heap: int
    index: int
    gone: float

    def __str__(self) -> str:
        return f"{self.name} | {self.heap:,} | {self.index:,} | {self.gone:.1%}"


def fill(url: str, megabytes: int) -> None:
    """Make both tables, settled as they would be after some days."""
    pages, rows = int(megabytes * HOT * 128), int(megabytes * COLD * (1 << 20) / COLD_ROW)
    execute(
        url,
        "CREATE EXTENSION IF NOT EXISTS pg_buffercache",
        "CREATE TABLE hot (v text)",
        "ALTER TABLE hot ALTER v SET STORAGE plain",
        f"INSERT INTO hot SELECT repeat('h', {HOT_ROW}) FROM generate_series(1, {pages})",
        "CREATE TABLE cold (id bigint PRIMARY KEY, v text)",
        f"INSERT INTO cold SELECT i, repeat('c', {COLD_ROW - 40}) FROM generate_series(1, {rows}) i",
        "VACUUM (ANALYZE) hot, cold",
        "CHECKPOINT",
    )


def warm(url: str) -> None:
    """Have the hot table in the cache, and something that nobody needs in all the rest."""
    ((pages,),) = execute(url, "SELECT pg_relation_size('hot') / 8192")
    pages_of = "SELECT count(v) FROM {} WHERE ctid >= '({},0)' AND ctid < '({},0)'"
    execute(url, pages_of.format("cold", 0, 1 << 30))
    for turn in range(max(USES)):
        for part, uses in enumerate(USES):
            if turn < uses:
                first, end = (pages * (part + n) // len(USES) for n in (0, 1))
                execute(url, pages_of.format("hot", first, end))


def asked_for(url: str) -> tuple[int, int]:
    """Blocks of the cold table that were asked for so far: a session tells them when it has ended."""
    while execute(url, OTHERS) != [(0,)]:
        time.sleep(0.1)
    ((heap, index),) = execute(url, BLOCKS)
    return heap, index


def passes(source: str, target: str, piece_mb: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is measured, one after the other."""
    engine = DataCopyEngine(source, target, limits=Limits(piece_mb=piece_mb))
    name = RelationName("public", "cold")

    def sync(deletes: str) -> None:
        engine.copy_table_data_with_xmin("cold", "cold", deletes=deletes, changed_blocks="off")

    yield "first load", lambda: sync("ignore")
    yield "100 changed", lambda: sync("ignore")
    yield "100 changed, `deletes: hard`", lambda: sync("hard")
    yield (
        "verify",
        lambda: engine.verify(
            Table(name, name, deletes=Deletes.HARD), sync=False, repair=False, examples=1
        ),
    )


def measured(source: str, target: str, megabytes: int, piece_mb: int) -> Iterator[Step]:
    """Every pass, on a cache that only the first one finds as it should be."""
    fill(source, megabytes)
    warm(source)
    ((cached,),), gone = execute(source, CACHED), 0
    for number, (name, work) in enumerate(passes(source, target, piece_mb)):
        if name.startswith("100"):
            every = f"id % (SELECT count(*) / 100 FROM cold) = {number}"
            execute(source, f"UPDATE cold SET v = v || '.' WHERE {every}")
        # What the changes themselves have displaced is not the run's.
        ((before,),), blocks = execute(source, CACHED), asked_for(source)
        work()
        now = asked_for(source)
        heap, index = (after - earlier for after, earlier in zip(now, blocks, strict=True))
        gone += before - execute(source, CACHED)[0][0]
        yield Step(name, heap, index, gone / cached)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared-buffers", type=int, default=128, help="in megabytes")
    parser.add_argument("--piece-mb", type=int, default=16, help="0: a first load in one snapshot")
    parser.add_argument("--folder", type=Path, nargs="*", default=[])
    chosen = parser.parse_args()
    settings = {
        "shared_buffers": f"{chosen.shared_buffers}MB",
        "autovacuum": "off",
        "max_wal_size": "4GB",
    }
    print("| PostgreSQL | pass | blocks of the heap | of the key | hot set gone |")
    print("|---|---|--:|--:|--:|")
    for binaries in (embedded_binaries(), *chosen.folder):
        with ExitStack() as stack:
            room = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            room.chmod(0o711)
            ends = [
                stack.enter_context(PostgresServer(room / end, binaries, settings))
                for end in ("source", "target")
            ]
            source, target = (end.url() for end in ends)
            ((version,),) = execute(source, "SHOW server_version")
            for found in measured(source, target, chosen.shared_buffers, chosen.piece_mb):
                print(f"| {version.split()[0]} | {found} |", flush=True)


if __name__ == "__main__":
    main()
