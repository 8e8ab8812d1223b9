"""Where the target keeps which source page each row came from: three layouts, measured.

`python benchmarks/page_map.py [rows]` starts a server of its own and prints a table: a column of the
target with an index, a side table with a row for each key, and one with a row for each page.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2.extensions import cursor

from sync_assets.private_server.server import PostgresServer, embedded_binaries

PER_PAGE = 60
CHANGED_PAGES = 100
SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "8GB", "autovacuum": "off"}

TARGET = (
    "CREATE TABLE target (id bigint PRIMARY KEY, name text, amount numeric, at timestamptz)",
    "INSERT INTO target SELECT i, md5(i::text), i / 7.0, now() FROM generate_series(1, {rows}) i",
    "CREATE TEMP TABLE staged AS SELECT i AS id, i / {per} AS page FROM generate_series(1, {rows}) i",
    "ANALYZE",
)
# The keys of some pages as they are now: a tenth of the rows has moved to other pages, some are gone.
MOVED = (
    (
        "CREATE TEMP TABLE pages AS SELECT i * ({rows} / {per} / {changed}) AS page "
        "FROM generate_series(1, {changed} - 1) i"
    ),
    (
        "CREATE TEMP TABLE live AS SELECT id, CASE WHEN id % 10 = 0 THEN {rows} ELSE page END AS page "
        "FROM staged JOIN pages USING (page) WHERE id % 60 <> 7"
    ),
    "INSERT INTO pages VALUES ({rows})",
    "ANALYZE pages; ANALYZE live",
)


@dataclass(frozen=True)
class Layout:
    """Statements that build a map, bring it up to date, and build it anew after a rewrite."""

    name: str
    build: Sequence[str]
    update: Sequence[str]
    rebuild: Sequence[str]
    relation: str


LAYOUTS = (
    Layout(
        "column of the target",
        (
            "ALTER TABLE target ADD COLUMN page bigint",
            "UPDATE target t SET page = s.page FROM staged s WHERE s.id = t.id",
            "CREATE INDEX target_page ON target (page)",
        ),
        (
            (
                "DELETE FROM target t USING pages p WHERE t.page = p.page "
                "AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id)"
            ),
            "UPDATE target t SET page = l.page FROM live l WHERE l.id = t.id AND t.page <> l.page",
        ),
        ("UPDATE target t SET page = t.page + 1",),
        "target",
    ),
    Layout(
        "a row for each key",
        (
            "CREATE TABLE map (id bigint PRIMARY KEY, leaf oid NOT NULL, page bigint NOT NULL)",
            "INSERT INTO map SELECT id, 1, page FROM staged",
            "CREATE INDEX map_page ON map (leaf, page)",
        ),
        (
            (
                "CREATE TEMP TABLE gone AS SELECT m.id FROM map m JOIN pages p ON m.page = p.page "
                "AND m.leaf = 1 WHERE NOT EXISTS (SELECT FROM live l WHERE l.id = m.id)"
            ),
            "DELETE FROM target t USING gone g WHERE t.id = g.id",
            "DELETE FROM map m USING gone g WHERE m.id = g.id",
            (
                "MERGE INTO map m USING live l ON m.id = l.id WHEN MATCHED AND m.page <> l.page THEN "
                "UPDATE SET page = l.page WHEN NOT MATCHED THEN INSERT VALUES (l.id, 1, l.page)"
            ),
        ),
        ("UPDATE map SET page = page + 1",),
        "map",
    ),
    Layout(
        "a row for each page",
        (
            "CREATE TABLE map (leaf oid, page bigint, ids bigint[], PRIMARY KEY (leaf, page))",
            "INSERT INTO map SELECT 1, page, array_agg(id) FROM staged GROUP BY page",
        ),
        (
            (
                "CREATE TEMP TABLE gone AS SELECT u.id FROM map m JOIN pages p ON m.page = p.page "
                "AND m.leaf = 1, unnest(m.ids) AS u (id) "
                "WHERE NOT EXISTS (SELECT FROM live l WHERE l.id = u.id)"
            ),
            "DELETE FROM target t USING gone g WHERE t.id = g.id",
            "DELETE FROM map m USING pages p WHERE m.page = p.page AND m.leaf = 1",
            "INSERT INTO map SELECT 1, page, array_agg(id) FROM live GROUP BY page",
        ),
        (
            "DELETE FROM map WHERE leaf = 1",
            "INSERT INTO map SELECT 1, page, array_agg(id) FROM staged GROUP BY page",
        ),
        "map",
    ),
)


def measured(at: cursor, statements: Sequence[str]) -> tuple[float, int]:
    """Execute; return seconds and bytes of WAL."""
    at.execute("CHECKPOINT; SELECT pg_current_wal_insert_lsn()")
    (before,) = at.fetchone() or ("",)
    began = time.monotonic()
    for statement in statements:
        at.execute(statement)
    seconds = time.monotonic() - began
    at.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)::bigint", (before,))
    return seconds, (at.fetchone() or (0,))[0]


def size(at: cursor, relation: str) -> int:
    """Bytes of a table with its indexes."""
    at.execute("SELECT pg_total_relation_size(%s)", (relation,))
    return int((at.fetchone() or (0,))[0])


def measure(url: str, layout: Layout, rows: int) -> str:
    """One line of the table."""
    words = {"rows": rows, "per": PER_PAGE, "changed": CHANGED_PAGES}
    with closing(psycopg2.connect(url)) as session, session.cursor() as at:
        session.autocommit = True
        at.execute("DROP TABLE IF EXISTS target, map")
        for statement in (*TARGET, *MOVED):
            at.execute(statement.format(**words))
        plain = size(at, "target")
        build = measured(at, layout.build)
        if layout.relation == "target":
            at.execute("VACUUM FULL target")
        more = size(at, layout.relation) - (plain if layout.relation == "target" else 0)
        update = measured(at, layout.update)
        rebuild = measured(at, layout.rebuild)
    times = " | ".join(
        f"{s * 1000:,.0f} ms, {w / 1e6:,.1f} MB" for s, w in (build, update, rebuild)
    )
    return f"| {layout.name} | {more / rows:.0f} | {times} |"


def main() -> None:
    """Print the table."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{rows:,} rows with a bigint key, {PER_PAGE} to a page; time and WAL\n")
    print(f"| where | bytes a row | built | {CHANGED_PAGES} pages changed | after a rewrite |")
    print("|---|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory() as folder,
        PostgresServer(Path(folder) / "server", embedded_binaries(), SETTINGS) as server,
    ):
        Path(folder).chmod(0o711)
        for layout in LAYOUTS:
            print(measure(server.url(), layout, rows), flush=True)


if __name__ == "__main__":
    main()
