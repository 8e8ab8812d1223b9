"""What arrives is what COPY sent: any value, any type, any name."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2 import sql
from psycopg2.extras import execute_values

from sync_assets.engine import RelationName
from sync_assets_tests.fixtures.pair import Pair, execute, let_backslashes_escape
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

AWKWARD = [
    None,
    "",
    " ",
    "NULL",
    "\\N",
    "\\.",
    ",",
    '"',
    '""',
    "'",
    "a,b",
    'say "hi"',
    "line\nbreak",
    "\r\n",
    "\t",
    "\\",
    "back\\slash",
    "end\\",
    "\n\\.\n",
    "한국어",
    "emoji 🐘",
    "\u202e right to left",
    "\x01\x1f\x7f",
    "None",
    "{}",
    "%s %(x)s",
]


def test_null_empty_and_awkward_text_arrive_as_they_are(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id integer PRIMARY KEY, v text, w varchar)")
    with closing(psycopg2.connect(pair.source_url)) as session, session.cursor() as cursor:
        values = [(i, v, AWKWARD[-i]) for i, v in enumerate(AWKWARD)]
        execute_values(cursor, "INSERT INTO t VALUES %s", values)
        session.commit()
    pair.sync()
    assert pair.is_exact()
    assert pair.target("SELECT v FROM t ORDER BY id") == [(v,) for v in AWKWARD]
    pair.source("UPDATE t SET v = w, w = v")
    assert pair.sync().rows_exported == len(AWKWARD)
    assert pair.is_exact()


text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.none() | text, st.none() | st.lists(st.none() | text, max_size=4))))
def test_any_text_and_any_array_of_it_survives_a_merge(
    pair: Pair, rows: list[tuple[str | None, list[str | None] | None]]
) -> None:
    execute(
        pair.source_url,
        "CREATE TABLE IF NOT EXISTS t (id serial PRIMARY KEY, v text, a text[])",
    )
    with closing(psycopg2.connect(pair.source_url)) as session, session.cursor() as cursor:
        for value, array in rows:
            cursor.execute("INSERT INTO t (v, a) VALUES (%s, %s::text[])", (value, array))
        session.commit()
    pair.sync()
    assert pair.is_exact()


TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'so, so', 'with "quotes"');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE point3 AS (x integer, y numeric(8,3), m mood);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE TABLE t (
  id bigint PRIMARY KEY, b boolean, i2 smallint, i8 bigint, n numeric NOT NULL, n2 numeric(30,10),
  f4 real, f8 double precision, m money, c character(5), vc varchar(10), tx text, by bytea,
  d date, tm time(3), tz timetz, ts timestamp, tsz timestamptz, iv interval, u uuid, j json,
  jb jsonb, ip inet, net cidr, mac macaddr, bi bit(5), vb bit varying, pt point, bx box,
  i4r int4range, tr tstzrange, mr int4multirange, ai integer[], at text[], a2 integer[][],
  tv tsvector, tq tsquery, ln pg_lsn, x8 xid8, md mood, po positive, co point3, sp span,
  am mood[], ac point3[], g integer GENERATED ALWAYS AS (id * 2) STORED
)
"""

VALUES = """
INSERT INTO t (id, b, i2, i8, n, n2, f4, f8, m, c, vc, tx, by, d, tm, tz, ts, tsz, iv, u, j, jb,
  ip, net, mac, bi, vb, pt, bx, i4r, tr, mr, ai, at, a2, tv, tq, ln, x8, md, po, co, sp, am, ac)
VALUES
 (1, true, -32768, 9223372036854775807, 'NaN', 1234567890.0123456789, '1e-45', 'Infinity', 12.34,
  'ab', 'x', '', '\\x00ff', '4713-01-01 BC', '23:59:59.999', '10:00:00+05:30', 'infinity',
  '2021-02-03 04:05:06.789012+00', '-1 day -01:00:00', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
  '{"a": 1, "a":  2}', '{"b": [1, null]}', '10.0.0.1/8', '10.0.0.0/8',
  '08:00:2b:01:02:03', B'10101', B'1', '(1,-0)', '(1,1),(0,0)', '[1,5)',
  '["2021-01-01 00:00+00",)', '{[1,3),[5,7)}', '{1,NULL,3}', '{"",NULL,"NULL","a,b","\\"q\\""}',
  '[0:1][2:3]={{1,2},{3,4}}', 'fat:1A cat', 'fat & (rat | !cat)', '16/B374D848', '4294967299',
  'so, so', 7, ROW(1, 2.5, 'with "quotes"'), '[1.5,2.5]', '{"so, so",NULL}',
  ARRAY[ROW(1, NULL, NULL), NULL]::point3[]),
 (2, NULL, NULL, NULL, '1.000', NULL, '-0', '-0', NULL, NULL, '', NULL, '', '-infinity', NULL, NULL,
  NULL, '0044-03-15 12:00:00+00 BC', '178000000 years', NULL, '[]', 'null', '::1', '::/0',
  NULL, NULL, B'', NULL, NULL, 'empty', 'empty', '{}', '{}', '{}', '{}', '', NULL, '0/0', '0',
  NULL, NULL, ROW(NULL, NULL, NULL), 'empty', '{}', '{}')
"""


def test_every_type_arrives_with_its_own_type_and_text(pair: Pair) -> None:
    pair.source(TYPES, VALUES)
    assert pair.sync().rows_inserted == 2
    assert pair.is_exact()
    pair.source("UPDATE t SET n = '1.00' WHERE id = 2", "UPDATE t SET f8 = 0 WHERE id = 2")
    assert pair.sync().rows_updated == 1
    assert pair.is_exact()
    shape = (
        "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
        "WHERE attrelid = 't'::regclass AND attnum > 0 AND attname <> 'source_xmin' ORDER BY attnum"
    )
    assert pair.target(shape) == pair.source(shape)


@pytest.mark.parametrize(
    ("schema", "table", "columns"),
    [
        ("한국 상점", "주문", ["번호", "이름"]),
        ('quo"te', 'ta"ble', ['a"b', "c''d"]),
        ("Select", "From", ["where", "Order"]),
        ("dots.and", "per%cent", ["%s", "{}"]),
        ("semi;colon", "dash--dash", ["/*", "$1"]),
        ("public", "x" * 63, ["id", "ctid?"]),
        ("public", "표" * 21, ["id", "s"]),
    ],
)
def test_any_name_is_only_a_name(pair: Pair, schema: str, table: str, columns: list[str]) -> None:
    with closing(psycopg2.connect(pair.source_url)) as session, session.cursor() as cursor:
        create = sql.SQL(
            "CREATE SCHEMA IF NOT EXISTS {s}; CREATE TABLE {t} ({k} integer PRIMARY KEY, {v} text);"
            "INSERT INTO {t} SELECT i, i::text FROM generate_series(1, 10) i"
        )
        names = {
            "s": sql.Identifier(schema),
            "t": sql.Identifier(schema, table),
            "k": sql.Identifier(columns[0]),
            "v": sql.Identifier(columns[1]),
        }
        cursor.execute(create.format(**names).as_string(cursor))
        session.commit()
        name = str(RelationName(schema, table))
        assert pair.sync(name).rows_inserted == 10
        cursor.execute(sql.SQL("UPDATE {t} SET {v} = 'x' WHERE {k} = 3").format(**names))
        session.commit()
    assert pair.sync(name).rows_updated == 1
    assert pair.is_exact(name)


def test_settings_of_either_database_do_not_change_a_value(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, d date, ts timestamptz, iv interval, f float8, "
        "by bytea, a integer[])",
        "INSERT INTO t VALUES (1, '2021-02-03', '2021-02-03 04:05:06+00', '-1 day -01:00', 0.1, "
        "'\\x0102', '{1,NULL}')",
    )
    for url, zone in ((pair.source_url, "Asia/Kolkata"), (pair.target_url, "America/New_York")):
        for setting in (
            f"TimeZone = '{zone}'",
            "DateStyle = 'SQL, DMY'" if url == pair.source_url else "DateStyle = 'German'",
            "IntervalStyle = sql_standard",
            "extra_float_digits = 0",
            f"quote_all_identifiers = {'on' if url == pair.target_url else 'off'}",
            "bytea_output = escape",
        ):
            execute(
                url,
                f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {setting.replace(chr(39), chr(39) * 2)}', current_database()); END $$",
            )
    pair.sync()
    assert pair.is_exact()


def test_a_value_is_a_value_where_a_backslash_escapes(pair: Pair) -> None:
    for url in (pair.source_url, pair.target_url):
        let_backslashes_escape(url)
    pair.source(
        "CREATE TABLE t (id text PRIMARY KEY, v text)",
        r"INSERT INTO t SELECT i || $$\' || version() || '$$, $$a\b'$$ FROM generate_series(1, 3) i",
    )
    pair.sync(deletes="hard")
    pair.source(r"UPDATE t SET v = v || $$\'$$", "DELETE FROM t WHERE id LIKE '2%'")
    pair.sync(deletes="hard")
    assert pair.is_exact()
