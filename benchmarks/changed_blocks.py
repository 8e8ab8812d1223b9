"""What a run costs after 100 of many rows changed: by changed pages, and by a scan.

`python benchmarks/changed_blocks.py [millions…]` (1 and 5 by default) starts a source and a target of
its own and prints a table. 80 updates, 10 inserts and 10 deletes are spread over the table, with
`deletes: hard`; times are the engine's own, in milliseconds, the median of three.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

from servers import execute, private_pair

from sync_assets.engine import DataCopyEngine, Receipt

SETTINGS = {
    "summarize_wal": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "autovacuum": "off",
}
CREATE = (
    "DROP TABLE IF EXISTS t",
    "CREATE TABLE t (id bigint PRIMARY KEY, name text, amount numeric, at timestamptz)",
    "INSERT INTO t SELECT i, md5(i::text), i / 7.0, now() FROM generate_series(1, {rows}) i",
    "VACUUM ANALYZE t",
    "CHECKPOINT",
)
CHANGE = (
    (
        "UPDATE t SET amount = amount + 1 WHERE id IN "
        "(SELECT {step} * g + {turn} FROM generate_series(1, 80) g)"
    ),
    "INSERT INTO t SELECT {rows} + {turn} * 10 + g, 'new' FROM generate_series(0, 9) g",
    "DELETE FROM t WHERE id IN (SELECT {step} * g + {turn} FROM generate_series(81, 90) g)",
)


def milliseconds(receipt: Receipt) -> float:
    """The engine's time without connecting."""
    return (receipt.seconds["total"] - receipt.seconds.get("connect", 0)) * 1000


def measure(source: str, target: str, rows: int) -> str:
    """One line of the table."""
    execute(target, "DROP TABLE IF EXISTS t")
    execute(source, "CREATE EXTENSION IF NOT EXISTS pg_walinspect")
    execute(source, *(statement.format(rows=rows) for statement in CREATE))
    engine = DataCopyEngine(source, target)

    def run(blocks: str) -> Receipt:
        return engine.copy_table_data_with_xmin(
            "public.t", "public.t", deletes="hard", changed_blocks=blocks
        )

    turns = iter(range(1, 100))

    def changed(blocks: str) -> Receipt:
        words = {"rows": rows, "step": rows // 100, "turn": next(turns)}
        execute(source, *(statement.format(**words) for statement in CHANGE))
        receipt = run(blocks)
        if receipt.rows_written != 100:
            raise SystemExit(f"{receipt.rows_written} rows were written, not 100")
        return receipt

    def median(work: Callable[[str], Receipt], blocks: str) -> float:
        return statistics.median(milliseconds(work(blocks)) for _ in range(3))

    run("auto")
    build = milliseconds(run("auto"))
    pages = changed("auto").changed_pages
    by_pages, unchanged = median(changed, "auto"), median(run, "auto")
    scan = median(changed, "off")
    return (
        f"| {rows:,} | {pages} | {by_pages:,.0f} | {unchanged:,.0f} | {scan:,.0f} | "
        f"{scan / by_pages:,.0f} | {build:,.0f} |"
    )


def main() -> None:
    """Print the table."""
    sizes = [float(word) for word in sys.argv[1:]] or [1.0, 5.0]
    print("| rows | pages read | 100 changed | none changed | scan | times | map built |")
    print("|---|---|---|---|---|---|---|")
    with private_pair(SETTINGS) as (source, target):
        for millions in sizes:
            print(measure(source.url(), target.url(), int(millions * 1_000_000)), flush=True)


if __name__ == "__main__":
    main()
