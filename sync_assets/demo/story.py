"""The demo's story: load, sync, change the source, sync again, compare after every sync.

`tell` yields each event as it happens; whoever listens prints it, or meddles (the tests flip a
byte between a sync and its comparison).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection

from sync_assets.demo import data
from sync_assets.demo.compare import Comparison, compare
from sync_assets.engine.errors import SyncError
from sync_assets.private_server.processes import leashed

DEFINITIONS = """\
type: sync_assets.TableSync
attributes:
  tables:
"""

GERMAN_COMPANIES_HIRE = """
UPDATE sym_v1.sym_company SET employees = employees + 1, updated_at = now()
WHERE country = 'Germany' AND employees IS NOT NULL
"""
FRANKFURT_LISTINGS_GO_TO_MUNICH = """
INSERT INTO sym_v1.sym_ticker_exchange
SELECT upper(substr(md5(moved), 1, 8)) || '-L', moved
FROM (SELECT replace(ticker_exchange, '-FRA', '-MUN') AS moved FROM sym_v1.sym_ticker_exchange
      WHERE ticker_exchange LIKE '%-FRA' ORDER BY fsym_id COLLATE "C" LIMIT 40) AS listings
"""
INDICES_ARE_WRITTEN_AGAIN = "UPDATE sym_v1.sym_index SET yahoo_symbol = yahoo_symbol"
JAPANESE_COMPANIES_CHANGE = """
UPDATE sym_v1.sym_company SET industries = industries || '日本'::text, updated_at = now()
WHERE country = 'Japan'
"""


Receipts = Sequence[Mapping[str, Any]]
"""What each table's sync reported, by the receipt's names."""


class DemoFailed(SyncError):
    """Run it again with --debug before the command's name, and report what it says."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the story is told: a folder to work in, databases, and `sync-assets run`'s environment."""

    folder: Path
    source_url: str
    target_url: str
    environment: Mapping[str, str]
    admin_url: str


@dataclass(frozen=True, slots=True)
class Said:
    """Something happened that is told in words."""

    text: str


@dataclass(frozen=True, slots=True)
class Synced:
    """A sync ended: its receipts, and how long the whole command took."""

    receipts: Receipts
    seconds: float


@dataclass(frozen=True, slots=True)
class Compared:
    """Both databases were compared, table by table."""

    comparisons: Sequence[Comparison]


Event = Said | Synced | Compared


def write_definitions(folder: Path) -> None:
    """Write the defs.yaml that names the demo's tables, as an operator would."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = "".join(f"    - source: {data.SCHEMA}.{table}\n" for table in data.TABLES)
    (folder / "defs.yaml").write_text(DEFINITIONS + tables, encoding="utf-8")


def tell(stage: Stage) -> Iterator[Event]:
    """Tell the whole story on an empty source and target."""
    rows = data.load(stage.source_url)
    total = sum(rows.values())
    yield Said(f"The source holds {total:,} rows of real listings in {len(rows)} tables.")
    yield Said("\nFirst sync: everything is new.")
    yield from _sync_and_compare(stage)
    with closing(psycopg2.connect(stage.source_url)) as late:
        late_rows, late_xid = _change(late, JAPANESE_COMPANIES_CHANGE)
        yield Said(_change_source(stage.source_url, late_rows, late_xid))
        receipts = yield from _sync_and_compare(stage)
        late.commit()
    yield Said(
        f"\nTransaction {late_xid} commits. Rows up to transaction {_highest_xmin(receipts)} were"
        " read already:\na sync that goes on from the highest xmin it saw would miss these"
        f" {late_rows} for ever.\nOurs waited with its mark: it reads what came since then again,"
        " and writes what differs. Third sync:"
    )
    yield from _sync_and_compare(stage)


def _change_source(url: str, late_rows: int, late_xid: int) -> str:
    with closing(psycopg2.connect(url)) as session:
        hired, _ = _change(session, GERMAN_COMPANIES_HIRE)
        listed, _ = _change(session, FRANKFURT_LISTINGS_GO_TO_MUNICH)
        session.commit()
        again, _ = _change(session, INDICES_ARE_WRITTEN_AGAIN)
        session.commit()
    return (
        f"\nThe source changes: {hired} companies updated, {listed} listings inserted, {again}"
        f" indices written again as they were.\nTransaction {late_xid}, which began before them and"
        f" updates {late_rows} companies, stays open. Second sync:"
    )


def _change(session: connection, statement: str) -> tuple[int, int]:
    """Run a statement; return the rows it changed and its 64-bit transaction id."""
    with session.cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.rowcount
        cursor.execute("SELECT pg_current_xact_id()::text")
        (xid,) = cursor.fetchone() or ("0",)
    return rows, int(xid)


def _highest_xmin(receipts: Receipts) -> int:
    """Return the highest xmin that a sync saw in the table which the late transaction changes."""
    source = f"{data.SCHEMA}.sym_company"
    return max(int(r["source_max_xmin"]) for r in receipts if r["source"] == source)


def _sync_and_compare(stage: Stage) -> Generator[Event, None, Receipts]:
    started = time.monotonic()
    receipts = _sync(stage)
    yield Synced(receipts, time.monotonic() - started)
    tables = [((data.SCHEMA, table), (data.SCHEMA, table)) for table in data.TABLES]
    yield Compared(compare(stage.source_url, stage.target_url, tables))
    return receipts


def _sync(stage: Stage) -> Receipts:
    """Run the real command, in a process of its own, and return its receipts."""
    with leashed(
        [sys.executable, "-m", "sync_assets.cli", "run", "--json"],
        cwd=stage.folder,
        env=dict(stage.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        out, err = process.communicate()
    if process.returncode:
        last = (err.strip().splitlines() or ["no message"])[-1]
        raise DemoFailed(f"sync-assets run ended with exit code {process.returncode}: {last}")
    receipts: Receipts = json.loads(out)["tables"]
    return receipts
