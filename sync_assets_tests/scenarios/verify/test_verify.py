"""`verify` finds and names whatever is not the same on both ends, and nothing else."""

from __future__ import annotations

import threading
from contextlib import closing
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync_assets.engine import Deletes, Progress, RelationName, SyncError, Table, Verification
from sync_assets.engine.errors import BlockingOthers, Cancelled, SchemaConflict, UnusableKey
from sync_assets.engine.inspection.why import why
from sync_assets.engine.table import SyncMode
from sync_assets.engine.verify.counts import Drift, check_key, count_rows, schema_drift
from sync_assets.engine.verify.sample import Sample, sample_rows
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair, eventually, execute
from sync_assets_tests.fixtures.servers import NewDatabase, both_ways

pytestmark = both_ways

ROWS = "INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, {}) AS i"
TABLE = "CREATE TABLE t (id integer PRIMARY KEY, v text)"


def named(seen: Verification) -> set[tuple[str, str, tuple[str, ...]]]:
    return {(each.kind, each.verdict, tuple(each.key.values())) for each in seen.examples}


def test_what_was_synced_is_equal(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(5000))
    pair.sync()
    seen = pair.verify()
    assert seen.equal
    assert (seen.rows_source, seen.rows_target) == (5000, 5000)
    assert (seen.rows_wrong, seen.rows_pending, seen.examples) == (0, 0, ())
    assert seen.as_dict()["equal"] is True


DIFFERENT = {
    "one byte": ("text", "'abcdefgh'", "'abcdefgi'"),
    "trailing zero": ("numeric", "1.0", "1.00"),
    "negative zero": ("float8", "'0'", "'-0'"),
    "last digit of a double": ("float8", "0.1", "0.1::float8 + 1e-17::float8 * 2"),
    "null and empty": ("text", "''", "NULL"),
    "null and the word": ("text", "'NULL'", "NULL"),
    "blank": ("text", "'a'", "'a '"),
    "case": ("text", "'a'", "'A'"),
    "composed": ("text", "U&'\\00e9'", "U&'e\\0301'"),
    "json keys twice": ("json", '\'{"a": 1, "a": 2}\'', "'{\"a\": 2}'"),
    "json blanks": ("json", "'[1,2]'", "'[1, 2]'"),
    "interval": ("interval", "'1 day'", "'24 hours'"),
    "array bounds": ("integer[]", "'{1,2}'", "'[0:1]={1,2}'"),
    "null in an array": ("text[]", "'{\"NULL\"}'", "'{NULL}'"),
    "point": ("point", "'(0,1)'", "'(0,2)'"),
    "xml": ("text", "'<a/>'", "'<a></a>'"),
    "bytes": ("bytea", "'\\x0001'", "'\\x0100'"),
    "time zone": ("timetz", "'12:00+00'", "'13:00+01'"),
    "range": ("numrange", "'[1,2)'", "'[1,2]'"),
    "bit": ("bit varying", "B'01'", "B'010'"),
    "address": ("inet", "'10.0.0.1'", "'10.0.0.1/31'"),
}


def test_what_a_count_cannot_see_is_named(pair: Pair) -> None:
    """A row for each case, a column for each case's type; one value of each row is changed."""
    cases = list(enumerate(DIFFERENT.values(), 1))
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, w text, "
        + ", ".join(f"c{number} {type_}" for number, (type_, _, _) in cases)
        + ")",
        "INSERT INTO t SELECT i, 'x', "
        + ", ".join(here for _, (_, here, _) in cases)
        + " FROM generate_series(0, 99) AS i",
    )
    pair.sync()
    assert pair.verify().equal
    for number, (_, _, there) in cases:
        pair.target(f"UPDATE t SET c{number} = {there} WHERE id = {number}")
    seen = pair.verify(examples=100)
    assert named(seen) == {("differing", "wrong", (str(number),)) for number, _ in cases}
    assert not seen.equal
    assert (seen.rows_differing, seen.rows_wrong) == (len(cases), len(cases))


def test_values_that_changed_places_are_named(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, a text, b text)",
        "INSERT INTO t SELECT i, 'a' || i, NULL FROM generate_series(1, 100) AS i",
    )
    pair.sync()
    pair.target(
        "UPDATE t SET a = 'a' || (9 - id) WHERE id IN (4, 5)",
        "UPDATE t SET a = b, b = a WHERE id = 7",
    )
    seen = pair.verify()
    assert named(seen) == {("differing", "wrong", (key,)) for key in ("4", "5", "7")}


def test_rows_of_one_end_only_are_named_and_counted(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(3000))
    pair.sync()
    pair.target(
        "DELETE FROM t WHERE id BETWEEN 11 AND 40", "INSERT INTO t (id, v) VALUES (-1, 'x')"
    )
    seen = pair.verify(examples=5)
    assert (seen.rows_only_in_source, seen.rows_only_in_target) == (30, 1)
    assert (seen.rows_wrong, seen.rows_kept, seen.rows_differing) == (30, 1, 0)
    assert len(seen.examples) == 5
    assert {each.verdict for each in seen.examples} == {"wrong"}
    assert ("only_in_target", "kept", ("-1",)) in named(pair.verify(examples=31))


def test_extra_rows_are_wrong_where_the_target_is_to_have_none(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(10))
    pair.sync(deletes=Deletes.HARD)
    pair.target("INSERT INTO t (id, v) VALUES (-1, 'x')")
    assert named(pair.verify(deletes=Deletes.HARD)) == {("only_in_target", "wrong", ("-1",))}
    assert named(pair.verify(mode=SyncMode.FULL_SYNC)) == {("only_in_target", "wrong", ("-1",))}
    kept = pair.verify()
    assert (kept.faultless, kept.equal) == (True, False)


def test_extra_rows_are_wrong_for_as_long_as_no_row_has_gone(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(10))
    pair.sync(deletes=Deletes.HARD)
    pair.target("INSERT INTO t (id, v) VALUES (-1, 'x')")
    pair.source("CREATE TABLE other AS SELECT 1", "INSERT INTO t VALUES (11, 'later')")
    meant = {each.key["id"]: each.verdict for each in pair.verify(deletes=Deletes.HARD).examples}
    assert meant == {"-1": "wrong", "11": "pending"}
    # From now on a deleted row may be what it was.
    pair.source("DELETE FROM t WHERE id = 1")
    meant = {each.key["id"]: each.verdict for each in pair.verify(deletes=Deletes.HARD).examples}
    assert meant == {"-1": "pending", "1": "pending", "11": "pending"}


KEYS = {
    "numeric": ("k numeric PRIMARY KEY", "i + 0.10"),
    "double": ("k float8 PRIMARY KEY", "i / 3.0::float8"),
    "timestamp": ("k timestamptz PRIMARY KEY", "'2020-01-01 00:00+00'::timestamptz + i * '1 h'::interval"),
    "citext": ("k citext PRIMARY KEY", "'Name ' || i"),
    "ltree": ("k ltree PRIMARY KEY", "('top.n' || i)::ltree"),
    "uuid": ("k uuid PRIMARY KEY", "md5(i::text)::uuid"),
    "awkward text": ("k text PRIMARY KEY", "E'tab\\tnew\\nline\\\\' || i"),
    "bytes": ("k bytea PRIMARY KEY", "decode(md5(i::text), 'hex')"),
    "range": ("k int4range PRIMARY KEY", "int4range(i, i + 2)"),
    "two columns": ("k integer, k2 text, PRIMARY KEY (k2, k)", "i, 'a' || (i % 3)"),
    "한국어": ('"열쇠 값" integer PRIMARY KEY', "i"),
}  # fmt: skip


def test_any_key_will_do(pair: Pair) -> None:
    pair.source("CREATE EXTENSION citext", "CREATE EXTENSION ltree")
    for number, (columns, value) in enumerate(KEYS.values()):
        table = f"t{number}"
        pair.source(
            f"CREATE TABLE {table} ({columns}, v text)",
            f"INSERT INTO {table} SELECT {value}, 'v' || i FROM generate_series(1, 1500) AS i",
        )
        assert pair.verify(table, sync=True).equal
        pair.target(f"UPDATE {table} SET v = 'other' WHERE v IN ('v7', 'v1499')")
        names, expected = _keys_of(pair, table)
        seen = pair.verify(table)
        assert named(seen) == {("differing", "wrong", key) for key in expected}
        assert [list(each.key) for each in seen.examples] == [names, names]


def _keys_of(pair: Pair, table: str) -> tuple[list[str], list[tuple[str, ...]]]:
    """The key's columns, and the keys of the rows that were changed as the pinned text."""
    ((names,),) = pair.source(
        "SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum)) "
        "FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
        f"AND a.attnum = ANY (i.indkey) WHERE i.indrelid = '{table}'::regclass"
    )
    columns = ", ".join(f'"{name}"::text' for name in names)
    chosen = f"SELECT {columns} FROM {table} WHERE v IN ('v7', 'v1499')"
    with closing(psycopg2.connect(pair.source_url)) as session, session.cursor() as cursor:
        cursor.execute("SET TimeZone = 'UTC'")
        cursor.execute(chosen)
        return names, cursor.fetchall()


def test_settings_and_collations_of_a_database_make_no_difference(pair: Pair) -> None:
    pair.source(
        f"CREATE TABLE t (id text{_icu(pair.source_url)} PRIMARY KEY, d date, ts timestamptz, "
        "iv interval, f float8, b bytea, m money, c character(9), flag boolean, ip inet, x text[])",
        "INSERT INTO t SELECT 'key ' || i || ' é', '2021-02-03', '2021-02-03 04:05:06+00', "
        "'-1 day -01:00', i / 3.0, '\\x0102', 12.34, 'à b', i % 2 = 0, '10.0.0.1', "
        "ARRAY['à b', NULL, ''] FROM generate_series(1, 300) AS i",
    )
    pair.target(
        f"CREATE TABLE t (id text{_icu(pair.target_url)} PRIMARY KEY, d date, ts timestamptz, iv interval, "
        "f float8, b bytea, m money, c character(9), flag boolean, ip inet, x text[])"
    )
    for url, zone, style in (
        (pair.source_url, "Asia/Kolkata", "SQL, DMY"),
        (pair.target_url, "America/New_York", "German"),
    ):
        for setting in (
            f"TimeZone = ''{zone}''",
            f"DateStyle = ''{style}''",
            "IntervalStyle = sql_standard",
            "extra_float_digits = 0" if url == pair.source_url else "extra_float_digits = 3",
            "bytea_output = escape",
        ):
            alter = f"EXECUTE format('ALTER DATABASE %I SET {setting}', current_database())"
            execute(url, f"DO $$ BEGIN {alter}; END $$")
    seen = pair.verify(sync=True)
    assert seen.equal
    assert (seen.rows_source, seen.rows_target, seen.synced) == (300, 300, True)


def test_another_encoding_makes_no_difference(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (k text PRIMARY KEY, v text)",
        "INSERT INTO t SELECT '가나 ' || i, '다라, \"마\"' FROM generate_series(1, 50) AS i",
    )
    pair.target(
        "DROP DATABASE IF EXISTS korean",
        "CREATE DATABASE korean ENCODING 'EUC_KR' LOCALE 'C' TEMPLATE template0",
    )
    place = urlsplit(pair.target_url)
    korean = Pair(pair.source_url, urlunsplit(place._replace(path="/korean")))
    try:
        assert korean.verify(sync=True).equal
        korean.target("UPDATE t SET v = '다마' WHERE k = '가나 7'")
        assert named(korean.verify()) == {("differing", "wrong", ("가나 7",))}
    finally:
        pair.target("DROP DATABASE korean WITH (FORCE)")


ENCODED = {"LATIN1": "é, ÿ", "EUC_KR": "가나 다라", "SQL_ASCII": "é 가"}


@pytest.mark.parametrize("encoding", ENCODED)
def test_a_row_is_the_same_in_any_encoding_of_the_source(
    pair: Pair, encoding: str, source_server: PostgresServer, new_database: NewDatabase
) -> None:
    url = new_database(source_server, f"ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    there, text = Pair(url, pair.target_url), ENCODED[encoding]
    execute(
        f"{url}&client_encoding=UTF8",
        "CREATE TABLE t (k text PRIMARY KEY, v text)",
        f"INSERT INTO t SELECT '{text} ' || i, '\"{text}' FROM generate_series(1, 50) AS i",
    )
    assert there.verify(sync=True).equal
    table, key = Table(RelationName.parse("t"), RelationName.parse("t")), f"{text} 7"
    assert why(url, pair.target_url, table, [key]).equal is True
    assert sample_rows(url, pair.target_url, table, 1.0) == Sample(50, 0, 0)
    pair.target(f"UPDATE t SET v = 'x' WHERE k = '{key}'")
    assert sample_rows(url, pair.target_url, table, 1.0) == Sample(50, 1, 0)
    assert named(there.verify()) == {("differing", "wrong", (key,))}
    assert why(url, pair.target_url, table, [key]).equal is False


@pytest.mark.parametrize("kind", ["TABLE t ()", "VIEW t AS SELECT FROM generate_series(1, 3)"])
def test_rows_without_a_column_are_counted(pair: Pair, kind: str) -> None:
    pair.source(f"CREATE {kind}")
    if "TABLE" in kind:
        pair.source("INSERT INTO t SELECT FROM generate_series(1, 3)")
    full = SyncMode.FULL_SYNC
    seen = pair.verify(sync=True, mode=full)
    assert (seen.equal, seen.rows_source, seen.rows_target) == (True, 3, 3)
    pair.target("INSERT INTO t DEFAULT VALUES")
    seen = pair.verify(mode=full)
    assert (seen.faultless, seen.rows_only_in_target) == (False, 1)
    table = Table(RelationName.parse("t"), RelationName.parse("t"), full)
    assert pair.engine().plan(table).full
    counted = count_rows(pair.source_url, pair.target_url, table)
    assert (counted.source, counted.settled, counted.target) == (3, 3, 4)
    assert schema_drift(pair.source_url, pair.target_url, table) == Drift((), (), ())
    assert sample_rows(pair.source_url, pair.target_url, table, 1.0) is None
    assert check_key(pair.target_url, table) is None
    with pytest.raises(UnusableKey):
        why(pair.source_url, pair.target_url, table, ["1"])
    assert pair.verify(sync=True, mode=full).equal


def _icu(url: str) -> str:
    """A collation that orders keys by a language's rules, where the server was built with any."""
    found = execute(url, "SELECT FROM pg_collation WHERE collname = 'en-x-icu'")
    return ' COLLATE "en-x-icu"' if found else ' COLLATE "C"'


def test_wider_types_of_the_target_hold_the_same_rows(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, a smallint, b varchar(20), n numeric(12,2))",
        "INSERT INTO t SELECT i, i, 'b' || i, i FROM generate_series(1, 100) AS i",
    )
    pair.target("CREATE TABLE t (n numeric, b text, a numeric, id bigint PRIMARY KEY, mine text)")
    assert pair.verify(sync=True).equal
    pair.target("UPDATE t SET mine = 'x'")
    assert pair.verify().equal
    pair.target("UPDATE t SET n = 5 WHERE id = 5")
    assert named(pair.verify()) == {("differing", "wrong", ("5",))}


def test_wal_positions_are_compared_by_value_however_a_version_writes_them(pair: Pair) -> None:
    pair.source(
        "CREATE DOMAIN place AS pg_lsn",
        "CREATE TABLE t (at pg_lsn PRIMARY KEY, many pg_lsn[], named place, plain text)",
        "INSERT INTO t VALUES ('0/0', '{0/1,NULL,16/B374D848}', '0/A0', '0/00A'),"
        " ('10/100', '{}', NULL, NULL), ('FF/FFFFFFFF', NULL, '1/0', '1/0')",
    )
    pair.sync()
    # As PostgreSQL 19 writes them: text columns stand for its output here.
    for column in ("at", "many", "named"):
        padded = rf"regexp_replace({column}::text, '(?<=/)([0-9A-F]+)', '0000000\1', 'g')"
        eight = rf"regexp_replace({padded}, '/0*([0-9A-F]{{8}})(?![0-9A-F])', '/\1', 'g')"
        pair.target(f"ALTER TABLE t ALTER {column} TYPE text USING {eight}")
    assert pair.target("SELECT at, many, named FROM t ORDER BY at LIMIT 1") == [
        ("0/00000000", "{0/00000001,NULL,16/B374D848}", "0/000000A0")
    ]
    assert pair.verify().equal
    pair.target("UPDATE t SET many = '{0/00000002,NULL,16/B374D848}' WHERE at = '0/00000000'")
    pair.target("UPDATE t SET plain = '1/00' WHERE plain = '1/0'")
    found = pair.verify()
    assert sorted(str(each.key["at"]) for each in found.examples) == ["0/0", "FF/FFFFFFFF"]


def test_generated_columns_that_both_ends_have_are_compared(pair: Pair) -> None:
    table = "CREATE TABLE t (id integer PRIMARY KEY, v integer, g integer GENERATED ALWAYS AS ({}) STORED)"
    pair.source(table.format("v + 1"), "INSERT INTO t (id, v) VALUES (1, 0), (2, 5)")
    pair.target(table.format("v + sign(v)::integer"))
    assert named(pair.verify(sync=True)) == {("differing", "wrong", ("1",))}


def test_more_columns_than_a_function_takes(pair: Pair) -> None:
    columns = ", ".join(f"c{number} integer" for number in range(400))
    pair.source(
        f"CREATE TABLE t (id integer PRIMARY KEY, {columns})",
        "INSERT INTO t (id, c0, c399) SELECT i, i, i FROM generate_series(1, 40) AS i",
    )
    pair.sync()
    assert pair.verify().equal
    pair.target("UPDATE t SET c89 = c399, c399 = NULL WHERE id = 3")
    assert named(pair.verify()) == {("differing", "wrong", ("3",))}


def test_partitions_need_not_be_the_same(pair: Pair) -> None:
    parent = "CREATE TABLE t (id integer PRIMARY KEY, v text) PARTITION BY "
    pair.source(
        parent + "RANGE (id)",
        *(
            f"CREATE TABLE t{n} PARTITION OF t FOR VALUES FROM ({n * 100}) TO ({n * 100 + 100})"
            for n in range(5)
        ),
        "INSERT INTO t SELECT i, 'v' || i FROM generate_series(0, 499) AS i",
    )
    pair.target(
        parent + "HASH (id)",
        *(
            f"CREATE TABLE h{n} PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER {n})"
            for n in range(3)
        ),
    )
    assert pair.verify(sync=True).equal
    pair.target("UPDATE t SET v = 'x' WHERE id IN (99, 100)")
    assert named(pair.verify()) == {
        ("differing", "wrong", ("99",)),
        ("differing", "wrong", ("100",)),
    }


def test_what_the_next_run_brings_is_pending(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(100))
    pair.sync()
    pair.target("UPDATE t SET v = 'broken' WHERE id = 1", "DELETE FROM t WHERE id = 2")
    pair.source(
        "UPDATE t SET v = 'new' WHERE id = 3",
        "INSERT INTO t VALUES (101, 'new')",
        "DELETE FROM t WHERE id = 4",
    )
    seen = pair.verify()
    assert named(seen) == {
        ("differing", "wrong", ("1",)),
        ("only_in_source", "wrong", ("2",)),
        ("differing", "pending", ("3",)),
        ("only_in_source", "pending", ("101",)),
        ("only_in_target", "kept", ("4",)),
    }
    assert (seen.rows_wrong, seen.rows_pending, seen.rows_kept) == (2, 2, 1)
    # Where deletes arrive, this one will, too.
    hard = pair.verify(deletes=Deletes.HARD)
    assert ("only_in_target", "pending", ("4",)) in named(hard)
    pair.target("UPDATE t SET v = 'row 1' WHERE id = 1", "INSERT INTO t VALUES (2, 'row 2')")
    seen = pair.verify()
    assert (seen.faultless, seen.equal) == (True, False)


def test_a_partition_attached_since_is_pending(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text) PARTITION BY LIST (id)",
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)",
        "CREATE TABLE t2 (id integer PRIMARY KEY, v text)",
        "INSERT INTO t2 VALUES (2, 'older than the mark')",
        "INSERT INTO t VALUES (1, 'x')",
    )
    pair.sync()
    pair.source("ALTER TABLE t ATTACH PARTITION t2 FOR VALUES IN (2)")
    assert named(pair.verify()) == {("only_in_source", "pending", ("2",))}
    assert pair.verify(sync=True).rows_target == 2


def test_rows_marked_as_deleted_are_not_looked_at(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(10))
    pair.sync()
    pair.target(
        "ALTER TABLE t ADD COLUMN deleted_at timestamptz",
        "INSERT INTO t (id, v, deleted_at) VALUES (99, 'gone', now())",
    )
    seen = pair.verify(deletes=Deletes.HARD)
    assert (seen.rows_target, seen.rows_only_in_target) == (10, 0)
    pair.target("UPDATE t SET deleted_at = now() WHERE id = 3")
    assert named(pair.verify()) == {("only_in_source", "wrong", ("3",))}


def test_a_target_that_lacks_the_table_or_a_column_says_so(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(10))
    with pytest.raises(SchemaConflict, match="has no table of that name"):
        pair.verify()
    pair.sync()
    pair.source("ALTER TABLE t ADD COLUMN later integer")
    with pytest.raises(SchemaConflict, match="has no column later"):
        pair.verify()
    assert pair.verify(sync=True).equal
    assert eventually(lambda: pair.leftovers() == [])


def test_a_role_with_one_connection_and_the_parent_alone_reads_everything(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (500)",
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (500) TO (2000)",
        ROWS.format(1000),
        "DROP ROLE IF EXISTS verify_reader",
        "CREATE ROLE verify_reader LOGIN CONNECTION LIMIT 1",
        "GRANT SELECT ON t TO verify_reader",
    )
    reader = Pair(pair.source_url.replace("postgres@", "verify_reader@"), pair.target_url)
    try:
        reader.sync()
        pair.target("UPDATE t SET v = 'x' WHERE id IN (499, 500)")
        pair.source("GRANT SELECT ON t_2 TO verify_reader")
        assert {key for _, _, key in named(reader.verify())} == {("499",), ("500",)}
        pair.source("GRANT SELECT ON t_1 TO verify_reader")
        assert {key for _, _, key in named(reader.verify())} == {("499",), ("500",)}
    finally:
        pair.source("DROP OWNED BY verify_reader", "DROP ROLE verify_reader")


def test_who_cancels_is_obeyed_and_nothing_is_left(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(30_000))
    pair.sync()
    pair.target("UPDATE t SET v = v || 'x'")
    for phase in ("compare", "list"):
        with pytest.raises(Cancelled):
            _verify_until(pair, phase)
        assert eventually(lambda: pair.leftovers() == [])
    assert pair.verify().rows_wrong == 30_000


def _verify_until(pair: Pair, phase: str) -> None:
    def cancel(progress: Progress) -> None:
        if progress.phase == phase:
            engine.cancel()

    engine = pair.engine(on_progress=cancel)
    name = RelationName("public", "t")
    engine.verify(Table(name, name), sync=False)


def test_a_comparison_gives_way_to_who_waits_for_its_lock(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(3000))
    pair.sync()
    # Slow to read: some ten seconds, were it let.
    slow = Table(
        RelationName("public", "t"),
        RelationName("public", "t"),
        where="pg_sleep(0.003) IS NOT NULL",
    )
    blocked = threading.Thread(target=pair.source, args=("ALTER TABLE t ADD COLUMN w integer",))

    def meddle(progress: Progress) -> None:
        if progress.phase == "compare" and not blocked.ident:
            blocked.start()

    engine = pair.engine(on_progress=meddle, max_blocking=0.4, workers=1)
    with pytest.raises(BlockingOthers, match=r"has waited \d+ s for a lock on (public\.)?t "):
        engine.verify(slow, sync=False)
    blocked.join()
    assert eventually(lambda: pair.leftovers() == [])


def test_what_fails_on_one_end_ends_the_other(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(1000))
    pair.sync()
    # A value that the target cannot write as text.
    pair.target(
        "CREATE FUNCTION fails(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS "
        "$$ BEGIN RAISE division_by_zero; END $$",
        "ALTER TABLE t RENAME TO held",
        "CREATE TABLE t (id integer PRIMARY KEY, v text, source_xmin bigint)",
        "INSERT INTO t SELECT * FROM held",
        "ALTER TABLE t RENAME TO other",
        "CREATE VIEW t AS SELECT id, CASE WHEN id = 700 THEN fails(v) ELSE v END AS v, source_xmin "
        "FROM other",
    )
    with pytest.raises(SyncError, match="the target said: division_by_zero"):
        pair.verify()
    assert eventually(lambda: pair.leftovers() == [])


def test_writers_on_the_source_make_no_false_alarm(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(20_000))
    stop = threading.Event()
    written: list[str] = []

    def write(statement: str) -> None:
        with closing(psycopg2.connect(pair.source_url)) as session, session.cursor() as cursor:
            session.autocommit = True
            while not stop.is_set():
                cursor.execute(statement)
                written.append(statement)

    writers = [
        threading.Thread(target=write, args=(statement,))
        for statement in (
            "UPDATE t SET v = v || 'x' WHERE id = 1 + floor(random() * 20000)::integer",
            "INSERT INTO t SELECT max(id) + 1, 'new' FROM t",
            "DELETE FROM t WHERE id = 1 + floor(random() * 20000)::integer",
        )
    ]
    for writer in writers:
        writer.start()
    try:
        for _ in range(4):
            before = len(written)
            seen = pair.verify(sync=True, deletes=Deletes.HARD)
            assert (seen.rows_wrong, seen.rows_pending, seen.rows_kept) == (0, 0, 0)
            assert seen.rows_source == seen.rows_target
            assert len(written) > before
    finally:
        stop.set()
        for writer in writers:
            writer.join()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_corruption_of_any_row_is_named(pair: Pair, data: st.DataObject) -> None:
    pair.source(
        "CREATE TABLE IF NOT EXISTS t (id integer PRIMARY KEY, a text, n numeric, f float8)",
        "INSERT INTO t SELECT i, 'a' || i, i * 1.50, i / 7.0::float8 "
        "FROM generate_series(1, 400) AS i ON CONFLICT DO NOTHING",
    )
    pair.sync(full_refresh=True, deletes=Deletes.HARD)
    row = data.draw(st.integers(1, 400), label="row")
    how = data.draw(
        st.sampled_from(
            [
                "UPDATE t SET a = overlay(a PLACING '~' FROM 1 + {n} % length(a)) WHERE id = {row}",
                "UPDATE t SET a = a || repeat(' ', 1 + {n} % 3) WHERE id = {row}",
                "UPDATE t SET n = n::numeric(30, 3) WHERE id = {row}",
                "UPDATE t SET f = -f, n = NULL WHERE id = {row}",
                "UPDATE t SET id = id + 1000 WHERE id = {row}",
                "DELETE FROM t WHERE id = {row}",
                "UPDATE t SET a = (SELECT a FROM t AS o WHERE o.id = {row} % 400 + 1) WHERE id = {row}",
            ]
        ),
        label="how",
    )
    n = data.draw(st.integers(0, 20), label="n")
    pair.target(how.format(n=n, row=row))
    seen = pair.verify()
    assert not seen.equal
    assert (str(row),) in {tuple(each.key.values()) for each in seen.examples}
    assert {tuple(each.key.values()) for each in seen.examples} <= {(str(row),), (str(row + 1000),)}
