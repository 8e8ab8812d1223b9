"""First loads of large tables: by pieces, and on one snapshot, beside each other.

`python benchmarks/first_load.py --rows 10000000 --works w1,w2` measures time, memory, and how long the
source had to hold a snapshot for us, as its own pg_stat_activity shows it. `--again` measures full passes
over what was loaded, `--writing` what a writer on the source makes of it. `--kills N` ends loads at random
moments, N times each, and counts the rows that were read until one came through.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
from compare import Bench, opened
from measure import measured
from work import WORKS, Work, made

LOAD = """
import json, sys
from sync_assets.engine import DataCopyEngine
from sync_assets.engine.limits import Limits
source, target, table, piece, age, again = sys.argv[1:]
limits = Limits(piece_mb=int(piece), max_snapshot_age=float(age))
engine = DataCopyEngine(source, target, limits=limits)
receipt = engine.copy_table_data_with_xmin(
    table, table, full_refresh=again == "True", deletes="hard"
)
print(json.dumps(receipt.as_dict()))
"""
ONE_SNAPSHOT = 1 << 20
"""MB of a piece that no table is larger than."""

OLDEST = """
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
FROM pg_stat_activity
WHERE application_name = 'sync_assets' AND backend_xmin IS NOT NULL AND backend_type = 'client backend'
"""


@contextlib.contextmanager
def watched(url: str) -> Iterator[list[float]]:
    """The age of our oldest snapshot on the source, looked at twenty times a second; its highest."""
    oldest, stopped = [0.0], threading.Event()

    def look() -> None:
        with closing(psycopg2.connect(url)) as session, session.cursor() as at:
            session.autocommit = True
            while not stopped.wait(0.05):
                at.execute(OLDEST)
                oldest[0] = max(oldest[0], at.fetchall()[0][0])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield oldest
    finally:
        stopped.set()
        thread.join()


@contextlib.contextmanager
def written(url: str, work: Work, rows: int) -> Iterator[None]:
    """A writer that gives rows here and there a new version, one transaction after the other."""
    stopped = threading.Event()
    update = f"UPDATE {work.table} SET {work.key} = {work.key} WHERE ctid = %s"

    def write() -> None:
        chance = random.Random(1)
        with closing(psycopg2.connect(url)) as session, session.cursor() as at:
            session.autocommit = True
            while not stopped.wait(0.002):
                at.execute(update, (f"({chance.randrange(rows // 200)},1)",))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def command(
    source: str, target: str, work: Work, piece: int, age: float, *, again: bool = False
) -> list[str]:
    """What loads a table in a process of its own."""
    told = (source, target, work.table, str(piece), str(age), str(again))
    return [sys.executable, "-c", LOAD, *told]


def load(bench: Bench, work: Work, piece: int, asked: argparse.Namespace) -> dict[str, object]:
    """One load into an empty database, or one full pass over what was loaded."""
    rows, age = asked.rows, asked.age
    source = bench.pair.source.url(made(bench.pair.source, work, rows))
    name = f"{work.name}_first"
    bench.pair.target.drop_database(name)
    target = bench.pair.target.create_database(name)
    if asked.again:
        subprocess.run(command(source, target, work, piece, age), check=True, capture_output=True)
    bench.settle(source)
    writing = written(source, work, rows) if asked.writing else contextlib.nullcontext()
    with watched(source) as oldest, writing:
        seen = measured(
            command(source, target, work, piece, age, again=asked.again),
            os.environ,
            limit=bench.limit,
            log=bench.room / "first_load.log",
        )
    receipt = json.loads(seen.output) if seen.code == 0 else {}
    bench.pair.target.drop_database(name)
    return {
        "seconds": seen.seconds,
        "cpu": seen.cpu,
        "memory": seen.memory,
        "snapshot": round(oldest[0], 2),
        "parts": receipt.get("seconds"),
        "reason": receipt.get("reason", seen.code),
    }


def compared(bench: Bench, work: Work, asked: argparse.Namespace) -> None:
    """By pieces and on one snapshot, in turns."""
    rows, rounds = asked.rows, asked.rounds
    sizes = [int(size) for size in asked.pieces.split(",")]
    ways = {"one snapshot": ONE_SNAPSHOT} | {f"pieces of {size} MB": size for size in sizes}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, piece in ways.items():
            found = load(bench, work, piece, asked)
            times[way].append(float(str(found["seconds"])))
            bench.record(work=work.name, rows=rows, step="first", tool=way, **found)
            print(found, flush=True)
    one, *others = (statistics.median(times[way]) for way in ways)
    for size, seconds in zip(sizes, others, strict=True):
        told = f"{seconds / one:.2f} times one snapshot"
        print(f"{work.name} {rows:,}, pieces of {size} MB: {told}", flush=True)


def killed(bench: Bench, work: Work, rows: int, kills: int, seed: int) -> None:
    """Loads that are ended at random moments until one comes through, on a source that changes."""
    chance = random.Random(seed)
    source = bench.pair.source.url(made(bench.pair.source, work, rows))
    name = f"{work.name}_killed"
    bench.pair.target.drop_database(name)
    target = bench.pair.target.create_database(name)
    whole = None
    for _ in range(kills):
        process = subprocess.Popen(
            command(source, target, work, 16, 60), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0.5, 6))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        whole = process.communicate()[0]
        if process.returncode == 0:
            break
    receipt = json.loads(whole) if whole else None
    print(kills, receipt and (receipt["rows_exported"], receipt["events"]), flush=True)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--room", type=Path, default=Path("/tmp/sync-assets-benchmarks"))
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--works", default="w1,w2")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--age", type=float, default=5.0)
    parser.add_argument("--pieces", default="16", help="sizes in MB")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--writing", action="store_true")
    asked = parser.parse_args()
    with opened(asked.room, asked.room / "first_load.jsonl", 1200) as bench:
        for name in asked.works.split(","):
            if asked.kills:
                killed(bench, WORKS[name], asked.rows, asked.kills, 1)
            else:
                compared(bench, WORKS[name], asked)


if __name__ == "__main__":
    main()
