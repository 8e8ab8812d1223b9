"""What a run costs after 100 of many rows changed: by changed pages, and by a scan.

`python benchmarks/changed_blocks.py [--write] [millions…]` (1, 5 and 20 by default, some six minutes)
starts a source and a target of its own and prints a table; `--write` also puts it into
docs/benchmarks.md. 80 updates, 10 inserts and 10 deletes are spread over each table, with
`deletes: hard`. The sizes take turns, so that whatever else the machine does hits all of them. Times
are the engine's own without connecting, in milliseconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from servers import execute, private_pair

from sync_assets.engine import DataCopyEngine, Receipt

SETTINGS = {
    "summarize_wal": "on",
    "shared_buffers": "512MB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
}
ROUNDS, SCANS = 9, 3
CREATE = (
    "CREATE TABLE {name} (id bigint, name text, amount numeric, at timestamptz)",
    "INSERT INTO {name} SELECT i, md5(i::text), i / 7.0, now() FROM generate_series(1, {rows}) i",
    "ALTER TABLE {name} ADD PRIMARY KEY (id)",
    "VACUUM ANALYZE {name}",
    "CHECKPOINT",
)
CHANGE = (
    (
        "UPDATE {name} SET amount = amount + 1 WHERE id IN "
        "(SELECT {step} * g + {turn} FROM generate_series(1, 80) g)"
    ),
    "INSERT INTO {name} SELECT {rows} + {turn} * 10 + g, 'new' FROM generate_series(0, 9) g",
    "DELETE FROM {name} WHERE id IN (SELECT {step} * g + {turn} FROM generate_series(81, 90) g)",
)
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- benchmarks/changed_blocks.py -->", "<!-- end -->"


@dataclass
class Size:
    """One table and what was measured of it, in milliseconds."""

    source: str
    engine: DataCopyEngine
    rows: int
    turn: int = 0
    built: float = 0.0
    pages: int | None = None
    changed: list[float] = field(default_factory=list)
    unchanged: list[float] = field(default_factory=list)
    scanned: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name on both ends."""
        return f"public.t_{self.rows}"

    def run(self, blocks: str) -> Receipt:
        """One run of the engine."""
        return self.engine.copy_table_data_with_xmin(
            self.name, self.name, deletes="hard", changed_blocks=blocks
        )

    def load(self) -> None:
        """Fill the source, load the target, and build the map of keys."""
        execute(self.source, *(each.format(name=self.name, rows=self.rows) for each in CREATE))
        self.run("auto")
        self.built = milliseconds(self.run("auto"))
        # The first read of a page that was loaded may write hints, and so the page: not a third.
        self.run("auto")

    def change(self, blocks: str) -> Receipt:
        """A run after 100 changes."""
        self.turn += 1
        words = {"name": self.name, "rows": self.rows, "step": self.rows // 100, "turn": self.turn}
        execute(self.source, *(statement.format(**words) for statement in CHANGE))
        receipt = self.run(blocks)
        if receipt.rows_written != 100 or (receipt.changed_pages is None) != (blocks == "off"):
            raise SystemExit(f"not what was to be measured: {receipt}")
        return receipt

    def measure(self) -> None:
        """One round by changed pages: changed, and then unchanged."""
        receipt = self.change("auto")
        self.pages = receipt.changed_pages
        self.changed.append(milliseconds(receipt))
        # Reading a page where rows were replaced prunes it, which is a change of the page: the next
        # run reads it again, and first waits until the source has that bit of WAL on disk.
        self.run("auto")
        self.unchanged.append(milliseconds(self.run("auto")))

    def scan(self) -> None:
        """One round by a scan."""
        self.scanned.append(milliseconds(self.change("off")))

    def __str__(self) -> str:
        scan, changed = statistics.median(self.scanned), statistics.median(self.changed)
        return (
            f"| {self.rows:,} | {self.pages} | {shown(self.changed)} | {shown(self.unchanged)} | "
            f"{shown(self.scanned)} | {scan / changed:,.0f} | {self.built:,.0f} |"
        )


def milliseconds(receipt: Receipt) -> float:
    """The engine's time without connecting."""
    return (receipt.seconds["total"] - receipt.seconds.get("connect", 0)) * 1000


def shown(times: Sequence[float]) -> str:
    """The median, and the least."""
    return f"{statistics.median(times):,.0f} ({min(times):,.0f})"


def measured(source: str, target: str, millions: Iterable[float]) -> list[Size]:
    """All sizes, in turns."""
    execute(source, "CREATE EXTENSION pg_walinspect")
    sizes = [
        Size(source, DataCopyEngine(source, target), int(each * 1_000_000)) for each in millions
    ]
    for size in sizes:
        began = time.monotonic()
        size.load()
        print(f"{size.rows:,} rows loaded in {time.monotonic() - began:,.0f} s", flush=True)
    for end in (source, target):
        # Or what the load has left to be written would be written under the rounds.
        execute(end, "CHECKPOINT")
    # Whoever comes first would pay for what the checkpoint has made cold.
    for size in sizes:
        size.change("auto")
    for _ in range(ROUNDS):
        for size in sizes:
            size.measure()
    for _ in range(SCANS):
        for size in sizes:
            size.scan()
    return sizes


def table(sizes: Sequence[Size]) -> str:
    """The table in Markdown, and what it says of the growth."""
    changed = [statistics.median(size.changed) for size in sizes]
    quiet = statistics.median(sizes[-1].unchanged)
    return "\n".join(
        (
            "| rows | pages read | 100 changed | none changed | scan | times | map built |",
            "|---|---|---|---|---|---|---|",
            *map(str, sizes),
            "",
            (
                f"Median of {ROUNDS} rounds, {SCANS} of the scan, and in brackets the least, in"
                f" milliseconds; PostgreSQL 18, both servers and the engine on {os.cpu_count()} cores."
                f" From the smallest to the largest the time for 100 changes differs by"
                f" {max(changed) / min(changed) - 1:.0%}; the largest, unchanged, takes {quiet:.0f} ms."
            ),
        )
    )


def write(text: str) -> None:
    """Put the table where the documentation has it."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("millions", nargs="*", type=float, default=[1.0, 5.0, 20.0])
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    with private_pair(SETTINGS) as (source, target):
        text = table(measured(source.url(), target.url(), chosen.millions))
    print(text)
    if chosen.write:
        write(text)


if __name__ == "__main__":
    main()
