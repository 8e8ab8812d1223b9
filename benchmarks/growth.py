"""How time and memory grow: with rows, with changes, with workers; start-up, and a slow network.

`python benchmarks/growth.py [PART…]` measures sizes, shares, workers, wide rows, start and latency, or
the parts named, into ROOM/growth.jsonl. Ours beside COPY, or beside what it is bound by. `--publish`
writes what is in that file into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from compare import Bench, measure_round, opened
from measure import measured
from report_growth import WIDE, finish_growth
from servers import execute
from tools import engine, named
from work import W1, W2, change, fresh_copy, made

from sync_assets.engine import DataCopyEngine

SIZES = (100_000, 1_000_000, 5_000_000, 10_000_000)
SHARES: Mapping[str, int] = {"0 %": 0, "0.01 %": 10_000, "1 %": 100, "20 %": 5}
WORKERS = (1, 2, 4, 8)
ROUND_TRIP = 0.05
"""Seconds that the slow network takes there and back."""


def sizes(bench: Bench, rounds: int) -> None:
    """W1, initial load and no change, from small to large."""
    for number in range(1, rounds + 1):
        for rows in SIZES:
            tools = named("sync-assets", "COPY", "scan")
            measure_round(bench, W1, rows, tools, ("initial", "changes", "unchanged"), number)


def workers(bench: Bench, rounds: int) -> None:
    """An initial load by so many workers, and by as many as are chosen without a word."""
    tools = named("sync-assets")
    tools += [engine(f"sync-assets, {n} workers", settings={"workers": n}) for n in WORKERS]
    for number in range(1, rounds + 1):
        for work in (W1, W2):
            measure_round(bench, work, 1_000_000, tools, ("initial",), number)


def shares(bench: Bench, rounds: int) -> None:
    """So many of a million rows updated; the engine's own time."""
    rows = 1_000_000
    for work in (W1, W2):
        target = bench.pair.target.create_database(f"{work.name}_shares")
        with fresh_copy(bench.pair.source, made(bench.pair.source, work, rows)) as source:
            url = bench.pair.source.url(source)
            run = DataCopyEngine(url, target).copy_table_data_with_xmin
            run(work.table, work.table)
            for share, every in SHARES.items():
                times = []
                for _ in range(rounds):
                    change(url, rows, every, 0)
                    receipt = run(work.table, work.table)
                    times.append(receipt.seconds["total"])
                told = {"work": work.name, "rows": rows, "tool": "sync-assets", "kind": "share"}
                seconds = statistics.median(times)
                bench.record(**told, step=share, seconds=seconds, updated=receipt.rows_updated)
        bench.pair.target.drop_database(f"{work.name}_shares")


def wide(bench: Bench, rounds: int) -> None:
    """The memory that rows of ten megabytes need."""
    source = bench.pair.source.create_database("wide")
    execute(
        source,
        "CREATE TABLE wide (id integer PRIMARY KEY, v text)",
        "ALTER TABLE wide ALTER v SET STORAGE external",
        f"INSERT INTO wide SELECT i, repeat(md5(i::text), {WIDE >> 5}) FROM generate_series(1, 60) i",
    )
    for number in range(1, rounds + 1):
        target = bench.pair.target.create_database("wide")
        environment = {
            "PATH": os.environ["PATH"],
            "SOURCE_URL": source,
            "TARGET_URL": target,
            "TABLE": "wide",
        }
        words = engine("sync-assets").words(bench.venvs, "initial")
        done = measured(words, environment, limit=bench.limit, log=bench.room / "wide.log")
        said = json.loads(done.output)
        told = {"work": "wide", "rows": 60, "tool": "sync-assets", "kind": "wide", "round": number}
        workers = said["receipt"]["workers"]
        figures = {"seconds": done.seconds, "vm_hwm": said["vm_hwm"], "workers": workers}
        bench.record(**told, step="initial", **figures)
        bench.pair.target.drop_database("wide")
    bench.pair.source.drop_database("wide")


def start(bench: Bench, rounds: int) -> None:
    """Start-up beside that of the libraries it cannot do without, and that dagster stays out."""
    program = str(Path(sys.executable).with_name("sync-assets"))
    commands: Mapping[str, Sequence[str]] = {
        "import click, rich": [sys.executable, "-c", "import click, rich"],
        "import psycopg2": [sys.executable, "-c", "import psycopg2"],
        "import DataCopyEngine": [
            sys.executable,
            "-c",
            "from sync_assets.engine import DataCopyEngine",
        ],
        "sync-assets --help": [program, "--help"],
        "sync-assets workers": [program, "workers"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(max(5, rounds)):
        for name, words in commands.items():
            began = time.monotonic()
            subprocess.run(words, check=True, capture_output=True)
            times[name].append(time.monotonic() - began)
    for name, words in commands.items():
        timed = [sys.executable, "-X", "importtime", *words[-2:]] if "-c" in words else []
        timed = timed or [sys.executable, "-X", "importtime", *words]
        said = subprocess.run(timed, check=True, capture_output=True, text=True).stderr
        loaded = any(line.split("|")[-1].strip() == "dagster" for line in said.splitlines())
        seconds = statistics.median(times[name])
        told = {"work": "start", "rows": 0, "tool": name, "kind": "start", "step": "start"}
        bench.record(**told, seconds=seconds, check="imports dagster" if loaded else "")


def latency(bench: Bench, rounds: int) -> None:
    """An unchanged run and a small change over a network that takes its time."""
    rows = 100_000
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(
            fresh_copy(bench.pair.source, made(bench.pair.source, W1, rows))
        )
        near = bench.pair.source.tcp_url(source)
        target = bench.pair.target.create_database("latency")
        stack.callback(bench.pair.target.drop_database, "latency")
        far = stack.enter_context(delayed(near, ROUND_TRIP))
        DataCopyEngine(near, target).copy_table_data_with_xmin(W1.table, W1.table)
        for step, every in (("unchanged", 0), ("0.01 % changed", 10_000)):
            for place, url in (("near", near), (f"{ROUND_TRIP * 1000:.0f} ms away", far)):
                times = []
                for _ in range(rounds):
                    change(near, rows, every, 0)
                    run = DataCopyEngine(url, target).copy_table_data_with_xmin
                    times.append(run(W1.table, W1.table).seconds["total"])
                told = {"work": W1.name, "rows": rows, "kind": "latency", "step": step}
                bench.record(**told, tool=f"source {place}", seconds=statistics.median(times))


@contextlib.contextmanager
def delayed(url: str, round_trip: float) -> Iterator[str]:
    """A URL of the same server behind a proxy that holds all bytes for half the round trip."""
    there = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(
            target=_accept, args=(listener, there, round_trip / 2), daemon=True
        ).start()
        yield url.replace(f":{there.port}/", f":{listener.getsockname()[1]}/")


def _accept(listener: socket.socket, there: Any, delay: float) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            server = socket.create_connection((there.hostname, there.port))
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for ends in ((client, server), (server, client)):
                threading.Thread(target=_pump, args=(*ends, delay), daemon=True).start()


def _pump(reading: socket.socket, writing: socket.socket, delay: float) -> None:
    """Pass bytes on, each piece `delay` seconds after it came; many may be under way."""
    pieces: list[tuple[float, bytes]] = []
    some = threading.Condition()

    def write() -> None:
        while True:
            with some:
                some.wait_for(lambda: pieces)
                due, piece = pieces.pop(0)
            time.sleep(max(0.0, due - time.monotonic()))
            with contextlib.suppress(OSError):
                if not piece:
                    writing.shutdown(socket.SHUT_WR)
                    return
                writing.sendall(piece)

    threading.Thread(target=write, daemon=True).start()
    piece = b"?"
    while piece:
        try:
            piece = reading.recv(1 << 16)
        except OSError:
            piece = b""
        with some:
            pieces.append((time.monotonic() + delay, piece))
            some.notify()


PARTS: Mapping[str, Callable[[Bench, int], None]] = {
    "sizes": sizes,
    "shares": shares,
    "workers": workers,
    "wide": wide,
    "start": start,
    "latency": latency,
}


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all by default")
    room = Path(tempfile.gettempdir()) / "sync-assets-benchmarks"
    parser.add_argument("--room", type=Path, default=room)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md")
    asked = parser.parse_args()
    results = asked.room.absolute() / "growth.jsonl"
    if asked.fresh:
        results.unlink(missing_ok=True)
    with opened(asked.room.absolute(), results, 600) as bench:
        bench.describe("growth", [])
        for part in asked.parts or PARTS:
            PARTS[part](bench, asked.rounds)
    finish_growth(results, publish=asked.publish)


if __name__ == "__main__":
    main()
