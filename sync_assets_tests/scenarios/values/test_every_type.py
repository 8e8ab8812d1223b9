"""Every type that PostgreSQL knows arrives as the same COPY text and the same binary form."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql

from sync_assets.engine import Progress, RelationName
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways, every_version_pair

TEXTS = (
    "",
    " ",
    "NULL",
    "\\N",
    "\\.",
    'a,"b"',
    "line\nbreak\r\n\ttab",
    "back\\slash",
    "한국어 🐘",
    "\x01\x7f",
)

VALUES: dict[str, tuple[str, ...]] = {
    "bool": ("t", "f"),
    "bytea": ("", "\\x00ff0a0d5c22"),
    "char": ("", "x", ",", '"'),
    "name": ("", "a name", 'q"uote'),
    "int8": ("-9223372036854775808", "9223372036854775807"),
    "int2": ("-32768", "32767"),
    "int2vector": ("", "1 2 -3"),
    "int4": ("-2147483648", "2147483647"),
    "regproc": ("pg_catalog.now", "-"),
    "text": TEXTS,
    "oid": ("0", "4294967295"),
    "oid8": ("0", "18446744073709551615"),
    "tid": ("(0,1)", "(4294967295,65535)"),
    "xid": ("0", "4294967295"),
    "cid": ("0", "4294967295"),
    "oidvector": ("", "1 4294967295"),
    "json": ('{"a": 1, "a": 2, "b":  [1.0, 1.00]}', "null", ' {"k":"\\u00e9"} '),
    "xml": ("<a>b</a>", "text & no element".replace("&", "&amp;"), "<a/><b/>"),
    "pg_lsn": ("0/0", "FFFFFFFF/FFFFFFFF"),
    "point": ("(0,-0)", "(NaN,Infinity)", "(1e-300,2.2250738585072014e-308)"),
    "lseg": ("[(0,0),(1,1)]",),
    "path": ("((0,0),(1,1))", "[(0,0),(1,1)]"),
    "box": ("(1,1),(0,0)",),
    "polygon": ("((0,0),(1,1),(1,0))",),
    "line": ("{1,-1,0}",),
    "circle": ("<(0,-0),1e-5>",),
    "float4": ("0", "-0", "NaN", "Infinity", "-Infinity", "1e-45", "3.4028235e38", "0.1"),
    "float8": ("0", "-0", "NaN", "Infinity", "5e-324", "1.7976931348623157e308", "0.1"),
    "money": ("-92233720368547758.08", "0.01"),
    "macaddr": ("08:00:2b:01:02:03",),
    "inet": ("::1/64", "10.0.0.1", "10.0.0.1/8"),
    "cidr": ("10.0.0.0/8", "::/0"),
    "macaddr8": ("08:00:2b:01:02:03:04:05",),
    "aclitem": ("postgres=r/postgres", "=r*/postgres"),
    "bpchar": ("", "a  ", "trailing   "),
    "varchar": TEXTS,
    "date": ("4713-01-01 BC", "infinity", "-infinity", "5874897-12-31", "2021-02-03"),
    "time": ("00:00:00", "24:00:00", "12:34:56.789012"),
    "timestamp": (
        "4713-01-01 00:00:00 BC",
        "infinity",
        "-infinity",
        "294276-12-31 23:59:59.999999",
    ),
    "timestamptz": ("2021-02-03 04:05:06.000001+00", "-infinity", "0001-12-31 23:59:59+00 BC"),
    "interval": ("-1 day -01:00", "1 mon -1 day +00:00:00.000001", "178000000 years", "24:00:00"),
    "timetz": ("00:00:00+15:59", "24:00:00-15:59"),
    "bit": ("1",),
    "varbit": ("", "101"),
    "numeric": (
        "0",
        "0.00",
        "1.0",
        "1.00",
        "NaN",
        "Infinity",
        "-Infinity",
        "9" * 5000 + ".5",
        "1e-200",
    ),
    "refcursor": ("", "a cursor"),
    "regprocedure": ("pg_catalog.abs(integer)", "-"),
    "regoper": ("pg_catalog.||/", "0"),
    "regoperator": ("pg_catalog.+(integer,integer)", "0"),
    "regclass": ("pg_catalog.pg_class", "-"),
    "regtype": ("integer", "timestamp with time zone", "-"),
    "regrole": ("postgres", "-"),
    "regnamespace": ("pg_catalog", "-"),
    "regconfig": ("pg_catalog.english",),
    "regdictionary": ("pg_catalog.simple",),
    "regcollation": ('pg_catalog."C"', "-"),
    "regdatabase": ("template1", "-"),
    "uuid": ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    "tsvector": ("", "'a':1A,2B 'b c':3", "'it''s'"),
    "tsquery": ("", "'a' & !('b' | 'c':*A)", "'a' <2> 'b'"),
    "jsonb": ('{"a": 1.0, "b": [null, "\\u00e9", {}]}', "null", "1.00", '""'),
    "jsonpath": ('$."a"[*]?(@ > 1)', "$"),
    "txid_snapshot": ("1:5:2,3",),
    "pg_snapshot": ("1:5:2,3",),
    "xid8": ("0", "18446744073709551615"),
    "int4range": ("empty", "[1,2)", "(,)", "[,5)"),
    "int8range": ("empty", "[1,2)", "(,)"),
    "numrange": ("empty", "[1.0,2.00]", "(1,)"),
    "tsrange": ('["2021-01-01 00:00:00",infinity)', "(,)"),
    "tstzrange": ('["2021-01-01 00:00:00+00","2021-01-01 00:00:01+00")', "empty"),
    "daterange": ("[2021-01-01,infinity)", "(,)", "empty"),
    "int4multirange": ("{}", "{[1,2),[5,7)}", "{(,)}"),
    "int8multirange": ("{}", "{[1,2),[5,7)}"),
    "nummultirange": ("{}", "{[1.0,2.00],(3,4)}"),
    "tsmultirange": ('{["2021-01-01 00:00:00",infinity)}', "{}"),
    "tstzmultirange": ('{["2021-01-01 00:00:00+00",infinity)}', "{}"),
    "datemultirange": ("{[2021-01-01,2021-01-05)}", "{}"),
}
UNWRITABLE = {
    # Types of the catalog's own columns: their input functions refuse every value.
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
}

TYPES_OF_SERVER = """
SELECT typname::text, typarray <> 0, (SELECT proname::text FROM pg_proc WHERE oid = typsend) FROM pg_type
WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm') AND typcategory <> 'A'
ORDER BY oid
"""
BUILT_WITHOUT_XML = "SELECT NOT coalesce(bool_or(setting ~ 'libxml'), false) FROM pg_config()"


def filled(pair: Pair, only: frozenset[str] | None = None) -> list[tuple[str, str | None]]:
    """A table with a column for each type and one for its array; return names and send functions."""
    wanted = set(VALUES) - UNWRITABLE if only is None else only
    found = [each for each in pair.source(TYPES_OF_SERVER) if each[0] in wanted]
    known_there = {name for name, *_ in pair.target(TYPES_OF_SERVER)}
    # A server built without libxml knows the type and takes no value.
    for ask in (pair.source, pair.target):
        if ask(BUILT_WITHOUT_XML) == [(True,)]:
            known_there.discard("xml")
    columns: list[tuple[str, str | None]] = []
    inserts: list[str] = []
    for name, has_array, send in found:
        if name not in known_there:
            continue
        type_ = f'pg_catalog."{name}"'
        arrays = [
            "ARRAY[" + ", ".join([*map(literal, VALUES[name]), "NULL"]) + f"]::{type_}[]",
            f"'{{}}'::{type_}[]",
            f"array_fill(NULL::{type_}, ARRAY[2, 1], ARRAY[-1, 2])",
        ]
        columns.append((name, send))
        inserts += [
            f'INSERT INTO t ("{name}") VALUES ({literal(v)}::{type_})' for v in VALUES[name]
        ]
        if has_array:
            columns.append((f"{name} array", "array_send"))
            inserts += [f'INSERT INTO t ("{name} array") VALUES ({array})' for array in arrays]
    definitions = ", ".join(
        f'"{name}" pg_catalog."{name.removesuffix(" array")}"{"[]" if " array" in name else ""}'
        for name, _ in columns
    )
    pair.source(f"CREATE TABLE t (id serial PRIMARY KEY, {definitions})", *inserts)
    return columns


def read(name: str) -> str:
    """A column as every version writes it; 19 pads WAL positions."""
    padded = name in {"pg_lsn", "pg_lsn array"}
    return f"""regexp_replace("{name}"::text, '/0+(?=.)', '/', 'g')""" if padded else f'"{name}"'


def literal(value: str) -> str:
    return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def copied(url: str, columns: str = "*", table: str = "t") -> bytes:
    """The COPY text of the rows in the order of their key, under settings that both ends share."""
    out = io.BytesIO()
    with closing(psycopg2.connect(url)) as session, session.cursor() as cursor:
        cursor.execute(
            "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = postgres; SET TimeZone = 'UTC';"
            "SET extra_float_digits = 1; SET bytea_output = hex; SET lc_monetary = 'C';"
            "SET search_path = pg_catalog; SET client_encoding = 'UTF8'"
        )
        query = f"COPY (SELECT {columns} FROM public.{table} ORDER BY id) TO STDOUT"
        cursor.copy_expert(query, out)
    return out.getvalue()


@every_version_pair
def test_every_built_in_type_and_its_arrays(pair: Pair) -> None:
    known = {name for name, *_ in pair.source(TYPES_OF_SERVER)}
    assert known - UNWRITABLE <= set(VALUES), "a type that no value is given for"
    columns = filled(pair)
    pair.sync()
    names = "id, " + ", ".join(map(read, (name for name, _ in columns)))
    assert copied(pair.source_url, names) == copied(pair.target_url, names)
    # The reg types are sent by OID, and two servers may give one name two of them. A refcursor is
    # sent by a function that takes text only.
    sends = ", ".join(
        f'md5({send}("{name}"))'
        for name, send in columns
        if send and name != "refcursor" and not name.startswith(("reg", "aclitem"))
    )
    assert sends.count("md5") > 100
    assert copied(pair.source_url, sends) == copied(pair.target_url, sends)
    assert pair.verify().equal


BINARY = frozenset(
    [
        "bool",
        "bytea",
        "char",
        "name",
        "int8",
        "int2",
        "int4",
        "text",
        "oid",
        "json",
        "float4",
        "float8",
        "macaddr",
        "inet",
        "cidr",
        "bpchar",
        "varchar",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "interval",
        "timetz",
        "bit",
        "varbit",
        "numeric",
        "uuid",
        "jsonb",
    ]
)


@every_version_pair
def test_types_that_travel_as_binary_data_to_a_server_that_is_not_older(
    pair: Pair, tmp_path: Path
) -> None:
    columns = filled(pair, BINARY)
    assert len(columns) == 2 * len(BINARY)
    began: set[bytes] = set()

    def look(progress: Progress) -> None:
        if progress.phase == "load":
            began.update(file.read_bytes()[:6] for file in tmp_path.glob("*/*.c*"))

    engine = pair.engine(batch_dir=tmp_path, workers=1, on_progress=look)
    engine.copy_table_data_with_xmin("public.t", "public.t")
    newer_source = pair.source("SHOW server_version_num") > pair.target("SHOW server_version_num")
    assert (b"PGCOPY" in began) is not newer_source
    names = "id, " + ", ".join(f'"{name}"' for name, _ in columns)
    assert copied(pair.source_url, names) == copied(pair.target_url, names)
    sends = ", ".join(f'md5({send}("{name}"))' for name, send in columns)
    assert copied(pair.source_url, sends) == copied(pair.target_url, sends)
    pair.source("UPDATE t SET numeric = 1.10, text = NULL WHERE id % 7 = 0")
    assert pair.sync().rows_updated > 0
    assert copied(pair.source_url, names) == copied(pair.target_url, names)


MADE = (
    "CREATE SCHEMA kinds",
    "CREATE EXTENSION hstore SCHEMA kinds",
    "CREATE EXTENSION citext SCHEMA kinds",
    "CREATE EXTENSION ltree SCHEMA kinds",
    "CREATE TYPE kinds.mood AS ENUM ('sad', 'so, so', 'with \"quotes\"', '')",
    "CREATE DOMAIN kinds.positive AS numeric CHECK (VALUE > 0)",
    "CREATE DOMAIN kinds.moods AS kinds.mood[] NOT NULL CHECK (cardinality(VALUE) < 9)",
    "CREATE TYPE kinds.place AS (x float8, tags text[], m kinds.mood, p kinds.positive)",
    "CREATE TYPE kinds.span AS RANGE (subtype = float8, multirange_type_name = kinds.spans)",
    (
        "CREATE TABLE t (id serial PRIMARY KEY, h kinds.hstore, c kinds.citext, l kinds.ltree, "
        "m kinds.mood, p kinds.positive, ms kinds.moods, pl kinds.place, pls kinds.place[], "
        "s kinds.span, ss kinds.spans, big text, blob bytea, n numeric(1000, 500))"
    ),
    """INSERT INTO t (h, c, l, m, p, ms, pl, pls, s, ss) VALUES
       ('a=>NULL, "b,"=>"c\\"d"', 'MiXed', 'Top.Sub', 'so, so', 1.50, '{sad,"with \\"quotes\\""}',
        ROW(-0.0, '{NULL,"",a}', '', 0.10), ARRAY[NULL, ROW(NULL, NULL, NULL, NULL)]::kinds.place[],
        '(-0,NaN)', '{[1,2),[3,4)}')""",
    (
        "INSERT INTO t (ms, big, blob, n) SELECT '{}', repeat('한\"\\,', 200000), "
        "decode(repeat('00ff5c22', 250000), 'hex'), 7::numeric / 3"
    ),
)


@every_version_pair
def test_types_made_by_users_and_extensions(pair: Pair) -> None:
    pair.source(*MADE)
    pair.sync()
    assert copied(pair.source_url, "id, " + names(pair)) == copied(
        pair.target_url, "id, " + names(pair)
    )
    assert pair.verify().equal
    pair.source("UPDATE t SET c = 'mIXED', p = 1.5, big = big || 'x' WHERE id > 0")
    assert pair.sync().rows_updated == 2
    assert pair.is_exact()


def names(pair: Pair) -> str:
    found = pair.source(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "
        "WHERE attrelid = 't'::regclass AND attnum > 1"
    )
    return str(found[0][0])


KEYS = {
    "citext": ("kinds.citext", "'Key' || i", "upper({k}::text)::kinds.citext"),
    "ltree": ("kinds.ltree", "('a.b' || i)::kinds.ltree", "{k}"),
    "numeric": ("numeric", "i + 0.10", "{k}::numeric(30,5)"),
    "float8": (
        "float8",
        "CASE WHEN i = 1 THEN 'NaN' WHEN i = 2 THEN 0 ELSE i / 3.0::float8 END",
        "CASE WHEN {k} = 0 THEN '-0'::float8 ELSE {k} END",
    ),
    "timestamptz": (
        "timestamptz",
        "CASE WHEN i = 1 THEN '-infinity' ELSE timestamptz '0044-03-15 BC' + i * interval '1 us' END",
        "{k}",
    ),
    "bytea": ("bytea", "decode(lpad(to_hex(i), 6, '0'), 'hex')", "{k}"),
    "uuid": ("uuid", "md5(i::text)::uuid", "{k}"),
    "array": ("text[]", "ARRAY['a', NULL, i::text]", "{k}"),
    "range": ("int4range", "int4range(i, i + 5)", "{k}"),
    "enum": ("kinds.mood", "(enum_range(NULL::kinds.mood))[i]", "{k}"),
    "composite": ("kinds.pair", "ROW(i, 'x')::kinds.pair", "{k}"),
    "domain": ("kinds.code", "lpad(i::text, 3)", "{k}"),
    "character": ("character(5)", "i::text", "{k}"),
}


@both_ways
@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_any_type_with_an_order(pair: Pair, kind: str) -> None:
    type_, value, same = KEYS[kind]
    pair.source(
        *MADE[:5],
        "CREATE TYPE kinds.pair AS (a integer, b text)",
        "CREATE DOMAIN kinds.code AS varchar(10)",
        f"CREATE TABLE t (k {type_}, second integer, v text, PRIMARY KEY (k, second))",
        f"INSERT INTO t SELECT {value}, i, 'v' FROM generate_series(1, 4) i",
    )
    pair.sync(deletes="hard")
    # The same key by its own equality, in other bytes where the type has them.
    pair.source(
        f"UPDATE t SET k = {same.format(k='k')} WHERE second = 2",
        "UPDATE t SET v = 'x' WHERE second = 3",
        "DELETE FROM t WHERE second = 4",
    )
    receipt = pair.sync(deletes="hard")
    assert (receipt.rows_inserted, receipt.rows_deleted) == (0, 1)
    assert pair.is_exact()
    assert pair.sync(deletes="hard").rows_written == 0


NAMES = [
    ("Mixed Case", "Order", "Key Col", "Select"),
    ("주문", "주문내역", "고객번호", "상태값"),
    ("user", "table", "select", "from"),
    ('q"uote', "semi;colon", "per%cent %s", "br{ace}"),
    ("dash-ed", "dot.ted", "new\nline", "emoji 🐘"),
    ("ü" * 31, "é" * 31, "ñ" * 31, "tab\tbed"),
]


@both_ways
@pytest.mark.parametrize(("schema", "table", "key", "value"), NAMES)
@pytest.mark.parametrize("mode", ["xmin_incremental", "incremental_sync", "full_sync"])
def test_any_name_in_every_mode(
    pair: Pair, schema: str, table: str, key: str, value: str, mode: str
) -> None:
    parts = {
        "s": sql.Identifier(schema),
        "t": sql.Identifier(schema, table),
        "k": sql.Identifier(key),
        "v": sql.Identifier(value),
    }
    create = "CREATE SCHEMA {s}; CREATE TABLE {t} ({k} integer PRIMARY KEY, {v} text); INSERT INTO {t} SELECT i, 'v' FROM generate_series(1, 10) i"
    with closing(psycopg2.connect(pair.source_url)) as session, session.cursor() as cursor:
        session.autocommit = True
        cursor.execute(sql.SQL(create).format(**parts).as_string(cursor))
        name = str(RelationName(schema, table))
        options = {"cursor": key} if mode == "incremental_sync" else {}
        if mode != "full_sync":
            options["deletes"] = "soft"
        engine = pair.engine()
        assert engine.copy_table_data(name, name, mode, **options).rows_inserted == 10
        for statement in (
            "UPDATE {t} SET {v} = 'x' WHERE {k} = 3",
            "DELETE FROM {t} WHERE {k} = 4",
        ):
            cursor.execute(sql.SQL(statement).format(**parts).as_string(cursor))
    receipt = engine.copy_table_data(name, name, mode, **options)
    assert (receipt.rows_updated, receipt.rows_deleted) == (1, 1)


@both_ways
def test_a_source_column_called_like_ours_gives_ours_another_name(pair: Pair) -> None:
    from sync_assets.engine.errors import ConfigurationError

    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, source_xmin text, deleted_at date)",
        "INSERT INTO t VALUES (1, 'mine', '2026-01-01')",
    )
    with pytest.raises(ConfigurationError, match="'source_xmin' of its own") as caught:
        pair.sync()
    assert "xmin_column" in caught.value.remedy
    pair.sync(xmin_column="sync_xmin")
    assert pair.is_exact()
    pair.sync(xmin_column="sync_xmin", deletes="soft", deleted_column="sync_deleted_at")
    assert pair.is_exact()
