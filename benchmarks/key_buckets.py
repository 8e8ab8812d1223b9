"""What it costs to find 10 deletes among many rows: by all keys, and by buckets of them.

`python benchmarks/key_buckets.py [--mbit=10] [rows]` (1,000,000 by default) starts a source and a target
of its own and prints a table. With `--mbit` what the source sends comes through a proxy that lets so
many megabits pass in a second. The two ways take turns; times are the engine's own without connecting.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

from changed_blocks import CREATE, SETTINGS, milliseconds
from psycopg2.extensions import make_dsn, parse_dsn
from servers import execute, private_pair

from sync_assets.engine import DataCopyEngine
from sync_assets.engine.plan.plan import key_buckets

ROUNDS = 3
FOREVER = 1e9


@contextlib.contextmanager
def slowed(url: str, mbit: float) -> Iterator[str]:
    """The URL through a proxy of that speed."""
    where = parse_dsn(url)
    server = socket.create_server(("127.0.0.1", 0))

    def carry(source: socket.socket, target: socket.socket, rate: float) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                time.sleep(len(data) * 8 / (rate * 1e6))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                back = socket.socket(socket.AF_UNIX)
                back.connect(f"{where['host']}/.s.PGSQL.{where['port']}")
                for ends in ((client, back, FOREVER), (back, client, mbit)):
                    threading.Thread(target=carry, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield make_dsn(url, host="127.0.0.1", port=server.getsockname()[1], sslmode="disable")
    finally:
        server.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--mbit", type=float)
    chosen = parser.parse_args()
    with ExitStack() as stack:
        source, target = stack.enter_context(private_pair(SETTINGS))
        execute(source.url(), *(each.format(name="t", rows=chosen.rows) for each in CREATE))
        loading = DataCopyEngine(source.url(), target.url())
        loading.copy_table_data_with_xmin("public.t", "public.t")
        url = source.url()
        if chosen.mbit:
            url = stack.enter_context(slowed(url, chosen.mbit))
        engine = DataCopyEngine(url, target.url())
        # All keys, buckets, and what the engine would choose.
        ways = {"all keys": FOREVER, "buckets": 0.0, "by itself": key_buckets.HASHING}
        times: dict[str, list[float]] = {way: [] for way in ways}
        sizes: dict[str, int] = {}
        for turn in range(ROUNDS):
            for number, (way, hashing) in enumerate(ways.items()):
                key_buckets.HASHING = hashing
                first = 1 + 100 * (turn * len(ways) + number)
                gone = f"SELECT 1000 * i + {first} FROM generate_series(1, 10) i"
                execute(source.url(), f"DELETE FROM t WHERE id IN ({gone})")
                receipt = engine.copy_table_data_with_xmin(
                    "public.t", "public.t", deletes="hard", changed_blocks="off"
                )
                if receipt.rows_deleted != 10:
                    raise SystemExit(f"not what was to be measured: {receipt}")
                times[way].append(milliseconds(receipt))
                sizes[way] = receipt.bytes
    print("| deletes found by | milliseconds | kB of keys |\n|---|---|---|")
    for way in ways:
        print(f"| {way} | {statistics.median(times[way]):,.0f} | {sizes[way] // 1024:,} |")


if __name__ == "__main__":
    main()
