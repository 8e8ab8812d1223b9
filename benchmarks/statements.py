"""Where a run of the engine spends its time: its phases, and every statement on either end.

`python benchmarks/statements.py [--works w1,w2] [--rows N] [--room FOLDER]` prints, for an initial
load, 1.5 % of changes and no change: the receipt's seconds, CPU of this process and of the servers,
round trips, and the statements in the order in which they began. It runs in one process with
imports done, so that what remains is the engine's own.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
from compare import opened
from measure import cpu_of_server
from servers import Pair
from work import WORKS, Work, change, fresh_copy, made

from sync_assets.engine import DataCopyEngine
from sync_assets.engine.postgres.session import PINNED, UNHURRIED

Result = Any
STEPS = ("initial", "changes", "unchanged")
CONNECT = "(connect)"
PREAMBLE, SETTINGS = "; ".join(UNHURRIED), "; ".join(PINNED)
LONGEST = 230


@dataclass(frozen=True)
class Statement:
    """One round trip: what was sent where, when it began and how long it took, in seconds."""

    end: str
    thread: str
    began: float
    took: float
    text: str


class Recording:
    """Keeps what the driver is asked to do, until `stop`."""

    def __init__(self, source_port: str) -> None:
        self.statements: list[Statement] = []
        self._port = source_port
        self._connect = psycopg2.connect
        self._began = time.monotonic()

    def __enter__(self) -> Recording:
        psycopg2.connect = self._recorded_connect
        return self

    def __exit__(self, *_: object) -> None:
        psycopg2.connect = self._connect

    def note(self, port: str, text: str, work: Callable[[], Result]) -> Result:
        """Do it, and keep how long it took."""
        began = time.monotonic()
        try:
            return work()
        finally:
            took = time.monotonic() - began
            end = "source" if port == self._port else "target"
            thread = threading.current_thread().name.partition(" ")[0]
            self.statements.append(
                Statement(end, thread, began - self._began, took, " ".join(text.split()))
            )

    def _recorded_connect(self, url: str, **options: Any) -> Result:
        port = psycopg2.extensions.parse_dsn(url)["port"]
        return self.note(
            port,
            CONNECT,
            lambda: self._connect(url, cursor_factory=_cursor_class(self, port), **options),
        )


def _cursor_class(recording: Recording, port: str) -> type[psycopg2.extensions.cursor]:
    class Recorded(psycopg2.extensions.cursor):
        def execute(self, statement: Any, values: Any = None) -> None:
            text = statement if isinstance(statement, str) else statement.as_string(self)
            recording.note(port, text, lambda: super(Recorded, self).execute(text, values))

        def copy_expert(self, statement: Any, file: Any, size: int = 8192) -> None:
            text = statement if isinstance(statement, str) else statement.as_string(self)
            recording.note(port, text, lambda: super(Recorded, self).copy_expert(text, file, size))

    return Recorded


def main() -> None:
    """Print a profile of each step on each table."""
    parser = argparse.ArgumentParser(description=__doc__)
    room = Path(tempfile.gettempdir()) / "sync-assets-benchmarks"
    parser.add_argument("--room", type=Path, default=room)
    parser.add_argument("--works", default="w1,w2")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--mode", default="xmin_incremental")
    parser.add_argument("--each", action="store_true", help="each statement on its own line")
    asked = parser.parse_args()
    with opened(asked.room.absolute(), asked.room / "statements.jsonl", 600) as bench:
        for name in asked.works.split(","):
            profile(bench.pair, WORKS[name], asked.rows, asked.mode, each=asked.each)


def profile(pair: Pair, work: Work, rows: int, mode: str, *, each: bool) -> None:
    """One table, from nothing to unchanged."""
    target = f"{work.name}_statements"
    pair.target.drop_database(target)
    pair.target.create_database(target)
    options = {"cursor": work.cursor} if mode == "incremental_sync" else {}
    with fresh_copy(pair.source, made(pair.source, work, rows)) as source:
        for step in STEPS:
            if step == "changes":
                change(pair.source.url(source), rows)
            before, cpu = [cpu_of_server(server.pid or 0) for server in pair], time.process_time()
            port = psycopg2.extensions.parse_dsn(pair.source.tcp_url())["port"]
            began = time.monotonic()
            with Recording(port) as recording:
                engine = DataCopyEngine(pair.source.tcp_url(source), pair.target.tcp_url(target))
                receipt = engine.copy_table_data(work.table, work.table, mode, **options)
            wall, cpu = time.monotonic() - began, time.process_time() - cpu
            time.sleep(0.2)
            after = [cpu_of_server(server.pid or 0) for server in pair]
            servers = " + ".join(f"{b - a:.2f}" for a, b in zip(before, after, strict=True))
            print(f"\n## {work.name} {step}, {rows:,} rows: {wall:.3f} s\n")
            print(
                "seconds by phase:", ", ".join(f"{k} {v:.3f}" for k, v in receipt.seconds.items())
            )
            print(
                f"CPU: ours {cpu:.2f} s, servers (source + target) {servers} s; "
                f"workers {receipt.workers}, chunks {receipt.chunks}, bytes {receipt.bytes:,}"
            )
            print(told(recording.statements, each=each))
    pair.target.drop_database(target)


def told(statements: Sequence[Statement], *, each: bool) -> str:
    """The statements in the order in which they began, those of one shape together, and sums."""
    lines = []
    for end in ("source", "target"):
        mine = [one for one in statements if one.end == end]
        connects = sum(one.text == CONNECT for one in mine)
        main = [one for one in mine if one.thread == mine[0].thread]
        lines.append(
            f"{end}: {connects} connections, {len(mine) - connects} statements, "
            f"{len(main)} of all in the main thread, which waited {sum(m.took for m in main):.3f} s"
        )
    lines.append("\n| first at ms | times | sum ms | longest | end | statement |")
    lines.append("|--:|--:|--:|--:|---|---|")
    shapes: dict[object, list[Statement]] = {}
    for number, one in enumerate(sorted(statements, key=lambda one: one.began)):
        shape = re.sub(r"\d+", "0", one.text)
        shapes.setdefault(number if each else (one.end, shape), []).append(one)
    for alike in shapes.values():
        text = alike[0].text.replace(PREAMBLE, "UNHURRIED").replace(SETTINGS, "PINNED")
        text = text if len(text) < LONGEST else f"{text[: LONGEST - 80]} … {text[-70:]}"
        lines.append(
            f"| {alike[0].began * 1000:.1f} | {len(alike)} | {sum(a.took for a in alike) * 1000:.1f} "
            f"| {max(a.took for a in alike) * 1000:.1f} | {alike[0].end} | {text} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
