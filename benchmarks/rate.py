"""How exactly an export keeps to `max_mb_per_second`.

`python benchmarks/rate.py [--rates=1,5,20] [--seconds=8]` starts a source and a target of its own, loads
tables that take so many seconds at each rate, of narrow rows and of rows of 1 MB, by one worker and by
four, and prints what was read in a second while the snapshot was held. It ends with 1 where that is more
than 10 % beside the rate.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from servers import execute

from sync_assets.engine import DataCopyEngine, Limits
from sync_assets.private_server.server import PostgresServer, embedded_binaries

ROWS = {"narrow": 100, "wide": 1_000_000}
"""Bytes of a value."""

BESIDE = 0.1
"""Of the rate."""


def loaded(source: str, target: str, rows: str, rate: float, seconds: float, workers: int) -> float:
    """Load a table that takes so long, and return the megabytes of a second."""
    width = ROWS[rows]
    count = int(rate * seconds * 1_000_000 / (width + 10))
    # No value shrinks, so that it is as many pages as bytes.
    value = (
        f"(SELECT string_agg(md5(i * 1e6 + n || ''), '') FROM generate_series(1, {width // 32}) n)"
    )
    execute(
        source,
        "DROP TABLE IF EXISTS t",
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        f"INSERT INTO t SELECT i, {value} FROM generate_series(1, {count}) i",
        "ANALYZE t",
    )
    execute(target, "DROP TABLE IF EXISTS t")
    limits = Limits(max_mb_per_second=rate)
    engine = DataCopyEngine(source, target, workers=workers, limits=limits)
    receipt = engine.copy_table_data_with_xmin("t", "t", full_refresh=True)
    return receipt.bytes / 1_000_000 / receipt.seconds["snapshot"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rates", default="1,5,20")
    parser.add_argument("--seconds", type=float, default=8)
    chosen = parser.parse_args()
    worst = 0.0
    print("| MB/s at most | rows | workers | MB/s | beside |")
    print("|--:|---|--:|--:|--:|")
    with ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        room.chmod(0o711)
        # So large that the workers divide the largest table.
        settings = {"shared_buffers": "1GB", "autovacuum": "off", "fsync": "off"}
        source, target = (
            stack.enter_context(PostgresServer(room / end, embedded_binaries(), settings)).url()
            for end in ("source", "target")
        )
        for rate in map(float, chosen.rates.split(",")):
            for rows in ROWS:
                for workers in (1, 4):
                    found = loaded(source, target, rows, rate, chosen.seconds, workers)
                    beside = found / rate - 1
                    worst = max(worst, abs(beside))
                    print(
                        f"| {rate:g} | {rows} | {workers} | {found:.2f} | {beside:+.1%} |",
                        flush=True,
                    )
    sys.exit(int(worst > BESIDE))


if __name__ == "__main__":
    main()
