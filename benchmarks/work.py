"""The tables that are copied: W1, narrow, and W2, wide; how they are made, and how they change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers import execute

from sync_assets.private_server.server import PostgresServer

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Work:
    """A table; `as_text` is a view for tools that stop at some of its types."""

    name: str
    table: str
    key: str
    script: str
    cursor: str = ""
    as_text: str = ""


W1 = Work("w1", "sym_ticker_exchange", "fsym_id", "tickers.sql")
W2 = Work("w2", "orders", "id", "orders.sql", cursor="updated_at", as_text="orders_as_text")
WORKS = {each.name: each for each in (W1, W2)}


def made(server: PostgresServer, work: Work, rows: int) -> str:
    """The name of a database with that many rows, made where it is missing; nothing changes it."""
    name = f"{work.name}_{rows}"
    known = f"SELECT 1 FROM pg_database WHERE datname = '{name}'"
    if not execute(server.url(), known):
        half = f"{name}_unfinished"
        server.drop_database(half)
        url = server.create_database(half)
        execute(url, (HERE / work.script).read_text())
        execute(
            url,
            "SET synchronous_commit = off",
            f"INSERT INTO {work.table} SELECT * FROM work_rows(1, {rows})",
            f"VACUUM (ANALYZE) {work.table}",
            "CHECKPOINT",
        )
        execute(server.url(), f"ALTER DATABASE {half} RENAME TO {name}")
    return name


@contextmanager
def fresh_copy(server: PostgresServer, template: str) -> Iterator[str]:
    """A copy of a database, as large files and not through WAL; its name."""
    name = f"{template}_live"
    server.drop_database(name)
    execute(server.url(), f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    try:
        yield name
    finally:
        server.drop_database(name)


def change(url: str, rows: int, every: int = 100, inserted: int | None = None) -> None:
    """Update one row of `every` (0: none), scattered, and insert more: 0.5 % by default."""
    more = rows // 200 if inserted is None else inserted
    divisor = every or 2**30  # the dice have 28 bits: only one row in 2^28 is divisible
    execute(url, f"SELECT work_change({divisor}, {rows + 1}, {rows + more})")
