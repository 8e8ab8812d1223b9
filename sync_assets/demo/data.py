"""Real listings for the demo: stocks, companies and indices from the package pytickersymbols.

Every key comes from the data: a company's and an index's own name; a listing's id is a hash of its
Yahoo symbol, in the shape of FactSet's listing ids, so that it is the same on every machine.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from psycopg2.extras import execute_values

from sync_assets.engine.errors import ConfigurationError

SCHEMA = "sym_v1"

DEFINITIONS = """
CREATE SCHEMA sym_v1;
CREATE TABLE sym_v1.sym_ticker_exchange (
    fsym_id text PRIMARY KEY,
    ticker_exchange text NOT NULL
);
CREATE TABLE sym_v1.sym_company (
    name text PRIMARY KEY,
    symbol text,
    country text,
    industries text[] NOT NULL,
    symbols jsonb,
    isins text[],
    founded smallint,
    employees integer,
    profile jsonb,
    updated_at timestamptz NOT NULL DEFAULT '2026-01-01 00:00:00+00'
);
CREATE TABLE sym_v1.sym_index (
    name text PRIMARY KEY,
    yahoo_symbol text
);
CREATE TABLE sym_v1.sym_index_member (
    index_name text NOT NULL REFERENCES sym_v1.sym_index,
    company_name text NOT NULL REFERENCES sym_v1.sym_company,
    symbols text[] NOT NULL,
    PRIMARY KEY (index_name, company_name)
);
"""

TABLES = ("sym_ticker_exchange", "sym_company", "sym_index", "sym_index_member")
"""The demo's tables, in the order in which their foreign keys let them be filled."""

Row = tuple[Any, ...]


def load(url: str) -> dict[str, int]:
    """Create the demo's tables in this database and fill them; return the rows of each."""
    rows = listings()
    with closing(psycopg2.connect(url)) as session, session, session.cursor() as cursor:
        cursor.execute(DEFINITIONS)
        for table in TABLES:
            _insert(cursor, table, rows[table])
    return {table: len(rows[table]) for table in TABLES}


def listings() -> dict[str, list[Row]]:
    """Return the rows of every table, derived from pytickersymbols alone."""
    try:
        from pytickersymbols import PyTickerSymbols  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigurationError(
            "the package pytickersymbols, the demo's data, is not installed",
            remedy="Install it: pip install 'sync-assets[demo]'",
        ) from None

    stocks = PyTickerSymbols()
    companies = stocks.get_all_stocks()
    indices = sorted(stocks.get_all_indices())
    return {
        "sym_ticker_exchange": [
            (listing_id(symbol["yahoo"]), ticker_exchange(symbol["google"]))
            for company in companies
            for symbol in company.get("symbols", ())
        ],
        "sym_company": [_company(company) for company in companies],
        "sym_index": [(name, stocks.index_to_yahoo_symbol(name)) for name in indices],
        "sym_index_member": [
            row for name in indices for row in _members(name, stocks.get_stocks_by_index(name))
        ],
    }


def listing_id(yahoo_symbol: str) -> str:
    """Return a listing's id: eight letters and digits of its symbol's hash, `-L` for listing."""
    digest = hashlib.sha256(yahoo_symbol.encode()).digest()
    return base64.b32encode(digest)[:8].decode() + "-L"


def ticker_exchange(google_symbol: str) -> str:
    """Return `FRA:1U1` as `1U1-FRA`; a symbol without an exchange stays as it is."""
    exchange, _, ticker = google_symbol.rpartition(":")
    return f"{ticker}-{exchange}" if exchange else ticker


def _company(company: Mapping[str, Any]) -> Row:
    profile = company.get("metadata") or {}
    return (
        company["name"],
        company.get("symbol"),
        company.get("country"),
        list(company.get("industries", ())),
        _json(company.get("symbols")),
        list(company["isins"]) if "isins" in company else None,
        _first_number(r"\b(1[5-9]\d\d|20\d\d)\b", profile.get("founded")),
        _first_number(r"\b(\d{1,3}(?:,\d{3})+|\d+)\b", profile.get("employees")),
        _json(profile or None),
    )


def _members(index: str, companies: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    # A company with two share classes in an index is one member with two symbols.
    symbols: dict[str, list[str]] = {}
    for company in companies:
        found = symbols.setdefault(company["name"], [])
        found += [company["symbol"]] if company.get("symbol") else []
    for name, listed in symbols.items():
        yield index, name, listed


def _first_number(pattern: str, text: object) -> int | None:
    # The package has most of these as free text, some as numbers, many not at all.
    match = re.search(pattern, str(text or ""))
    return int(match[1].replace(",", "")) if match else None


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


COLUMNS = {
    "sym_ticker_exchange": ("fsym_id", "ticker_exchange"),
    "sym_company": (
        "name",
        "symbol",
        "country",
        "industries",
        "symbols",
        "isins",
        "founded",
        "employees",
        "profile",
    ),
    "sym_index": ("name", "yahoo_symbol"),
    "sym_index_member": ("index_name", "company_name", "symbols"),
}


def _insert(cursor: Cursor, table: str, rows: Sequence[Row]) -> None:
    statement = sql.SQL("INSERT INTO {table} ({columns}) VALUES %s").format(
        table=sql.Identifier(SCHEMA, table),
        columns=sql.SQL(", ").join(map(sql.Identifier, COLUMNS[table])),
    )
    execute_values(cursor, statement, rows, page_size=1000)
