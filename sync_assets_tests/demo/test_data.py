"""The demo's data: real, keyed by what it says, and wide enough to be worth comparing."""

from __future__ import annotations

from contextlib import closing

import psycopg2

from sync_assets.demo import data


def test_every_key_is_unique_and_the_same_each_time() -> None:
    rows = data.listings()
    keys = {"sym_ticker_exchange": 1, "sym_company": 1, "sym_index": 1, "sym_index_member": 2}
    for table, width in keys.items():
        assert len({row[:width] for row in rows[table]}) == len(rows[table]) > 10, table
    assert rows == data.listings()


def test_names_are_made_from_symbols() -> None:
    assert data.ticker_exchange("FRA:1U1") == "1U1-FRA"
    assert data.ticker_exchange("AOS") == "AOS"
    assert data.listing_id("1U1.F") == "ME4USAJ2-L"


def test_it_arrives_with_unicode_nulls_arrays_and_json(source_url: str) -> None:
    rows = data.load(source_url)
    assert rows["sym_ticker_exchange"] > 3000
    with closing(psycopg2.connect(source_url)) as session, session.cursor() as cursor:
        for table, count in rows.items():
            cursor.execute(f"SELECT count(*) FROM sym_v1.{table}")
            assert cursor.fetchone() == (count,)
        cursor.execute(
            "SELECT count(*) FILTER (WHERE name ~ '[^[:ascii:]]'),"
            " count(*) - count(employees), max(jsonb_array_length(symbols)),"
            " max(cardinality(industries)), count(*) FILTER (WHERE profile->>'founded' IS NOT NULL)"
            " FROM sym_v1.sym_company"
        )
        assert min(cursor.fetchone() or (0,)) > 1
