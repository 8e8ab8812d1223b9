"""The judge must see every difference, or its verdicts are worth nothing."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from sync_assets.demo.compare import Comparison, compare, table_digest

NAME = ('한국 "dept"', "표")
SCHEMA = '"한국 ""dept"""'
TABLE = f"{SCHEMA}.표"
FILL = rf"""
CREATE SCHEMA {SCHEMA};
CREATE TABLE {TABLE} (
    id integer, "a b" text, numbers double precision[], bytes bytea, at timestamptz,
    took interval, amount numeric, doc jsonb, gone integer
);
ALTER TABLE {TABLE} DROP COLUMN gone;
INSERT INTO {TABLE}
SELECT i, E'line\n\\.\t' || i, ARRAY[i / 3.0, 'NaN'], decode(md5(i::text), 'hex'),
       '2026-03-29 00:30:00+00'::timestamptz + i * interval '1 hour', i * interval '1 day 1 s',
       i * 1.10, jsonb_build_object('ü', i)
FROM generate_series(1, 500) i;
INSERT INTO {TABLE} VALUES (501, NULL), (502, ''), (503, 'twin'), (503, 'twin');
"""


@pytest.fixture
def urls(source_url: str, target_url: str) -> tuple[str, str]:
    """Two databases with the same table, whose sessions show values differently by default."""
    for url in (source_url, target_url):
        _execute(url, FILL)
    _execute(
        target_url,
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET TimeZone = ''Asia/Seoul''',"
        " current_database()); EXECUTE format('ALTER DATABASE %I SET DateStyle = ''German''',"
        " current_database()); EXECUTE format('ALTER DATABASE %I SET extra_float_digits = 0',"
        " current_database()); EXECUTE format('ALTER DATABASE %I SET bytea_output = escape',"
        " current_database()); EXECUTE format('ALTER DATABASE %I SET IntervalStyle = iso_8601',"
        " current_database()); END $$;",
    )
    return source_url, target_url


def test_equal_tables_are_equal(urls: tuple[str, str]) -> None:
    found = _compare(urls)
    assert found.equal
    assert found.problem == ""
    assert found.source_digest is not None
    assert found.source_digest.rows == 504


def test_the_order_of_rows_does_not_matter(urls: tuple[str, str]) -> None:
    _execute(urls[1], f"CREATE TABLE copied AS SELECT * FROM {TABLE} ORDER BY random()")
    _execute(urls[1], f"TRUNCATE {TABLE}; INSERT INTO {TABLE} SELECT * FROM copied")
    assert _compare(urls).equal


def test_the_targets_own_columns_do_not_matter(urls: tuple[str, str]) -> None:
    _execute(urls[1], f"ALTER TABLE {TABLE} ADD COLUMN source_xmin xid8 DEFAULT '7'")
    assert _compare(urls).equal


def test_a_wal_position_is_one_however_a_version_writes_it(urls: tuple[str, str]) -> None:
    for url, type_, many in (
        (urls[0], "pg_lsn", "{0/0,1/A0}"),
        (urls[1], "text", "{0/00000000,1/000000A0}"),
    ):
        _execute(url, f"ALTER TABLE {TABLE} ADD COLUMN lsn {type_}, ADD COLUMN many {type_}[]")
        _execute(url, f"INSERT INTO {TABLE} (id, lsn, many) VALUES (505, '0/0000000B', '{many}')")
    assert _compare(urls).equal
    _execute(urls[1], f"UPDATE {TABLE} SET lsn = '0/000000B0' WHERE id = 505")
    assert not _compare(urls).equal


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("UPDATE {t} SET bytes = set_bit(bytes, 0, 1 - get_bit(bytes, 0)) WHERE id = 250",
                     id="one flipped bit"),
        pytest.param("UPDATE {t} SET \"a b\" = overlay(\"a b\" placing 'x' from 1) WHERE id = 1",
                     id="one flipped byte"),
        pytest.param('UPDATE {t} SET "a b" = \'\' WHERE "a b" IS NULL', id="NULL is not empty"),
        pytest.param('UPDATE {t} SET "a b" = NULL WHERE "a b" = \'\'', id="empty is not NULL"),
        pytest.param('UPDATE {t} SET "a b" = \'\\N\' WHERE "a b" IS NULL', id="NULL is not its mark"),
        pytest.param("DELETE FROM {t} WHERE id = 500", id="a missing row"),
        pytest.param("INSERT INTO {t} VALUES (504)", id="an extra row"),
        pytest.param("DELETE FROM {t} WHERE ctid = (SELECT max(ctid) FROM {t} WHERE id = 503)",
                     id="a missing twin"),
        pytest.param("INSERT INTO {t} SELECT * FROM {t} WHERE id = 503 LIMIT 1", id="an extra twin"),
        pytest.param("UPDATE {t} SET amount = trim_scale(amount) WHERE id = 10", id="1.10 is not 1.1"),
        pytest.param("UPDATE {t} SET at = at + interval '1 microsecond' WHERE id = 3",
                     id="a microsecond"),
        pytest.param("UPDATE {t} SET numbers[1] = numbers[1] + 4e-16 WHERE id = 1", id="the last bit"),
        pytest.param("TRUNCATE {t}", id="nothing left"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", [0, 1], ids=["in the source", "in the target"])
def test_every_difference_is_seen(urls: tuple[str, str], change: str, end: int) -> None:
    _execute(urls[end], change.replace("{t}", TABLE))
    assert not _compare(urls).equal


def test_a_missing_table_or_column_is_a_difference(urls: tuple[str, str]) -> None:
    _execute(urls[1], f"ALTER TABLE {TABLE} RENAME COLUMN doc TO other")
    found = _compare(urls)
    assert not found.equal
    assert "doc" in found.problem
    _execute(urls[1], f"DROP TABLE {TABLE}")
    found = _compare(urls)
    assert not found.equal
    assert "표" in found.problem
    _execute(urls[0], f"DROP TABLE {TABLE}")
    assert not _compare(urls).equal


def test_a_single_table_has_a_digest(urls: tuple[str, str]) -> None:
    assert table_digest(urls[0], NAME) == table_digest(urls[1], NAME)


def _compare(urls: tuple[str, str]) -> Comparison:
    (found,) = compare(*urls, [(NAME, NAME)])
    return found


def _execute(url: str, statements: str) -> None:
    with closing(psycopg2.connect(url)) as session, session, session.cursor() as cursor:
        cursor.execute(statements)
