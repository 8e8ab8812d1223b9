"""Text in every encoding: converted where both ends can write it, as it is where they are alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit, urlunsplit

import pytest
from psycopg2.extensions import make_dsn

from sync_assets.engine.errors import ConfigurationError, SchemaConflict
from sync_assets_tests.fixtures.pair import Pair, execute
from sync_assets_tests.fixtures.servers import both_ways

TABLE = "CREATE TABLE t (id integer PRIMARY KEY, v text)"
# 0xE9 is é in LATIN1 and WIN1252, and no UTF-8 by itself.
BYTES = "INSERT INTO t SELECT i, E'caf\\xe9 ' || i FROM generate_series(1, 50) i"
MADE = re.compile(r'CREATE DATABASE "(\w+)" [^;]*;')

Create = Callable[[str, str, str], str]


@pytest.fixture
def create() -> Iterator[Create]:
    """Create a database by a statement, beside another one, and return its URL."""
    with ExitStack() as cleanup:

        def made(beside: str, name: str, statement: str) -> str:
            execute(beside, f'DROP DATABASE IF EXISTS "{name}"', statement)
            cleanup.callback(execute, beside, f'DROP DATABASE "{name}" WITH (FORCE)')
            return urlunsplit(urlsplit(beside)._replace(path=f"/{name}"))

        yield made


def in_encoding(create: Create, beside: str, name: str, encoding: str) -> str:
    """The URL of a new database of an encoding."""
    return create(
        beside, name, f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    )


def mended(create: Create, pair: Pair, error: SchemaConflict) -> Pair:
    """The pair with the target that an error's remedy makes."""
    found = MADE.search(error.remedy)
    assert found, error.remedy
    return Pair(pair.source_url, create(pair.target_url, found[1], found[0]))


@both_ways
def test_bytes_that_are_no_text_are_named_with_the_way_out(pair: Pair, create: Create) -> None:
    pair = Pair(in_encoding(create, pair.source_url, "ascii", "SQL_ASCII"), pair.target_url)
    pair.source("SET client_encoding = 'SQL_ASCII'", TABLE)
    pair.source("SET client_encoding = 'SQL_ASCII'", BYTES)
    with pytest.raises(SchemaConflict, match=r"SQL_ASCII, has in public\.t bytes .* not UTF8") as e:
        pair.sync()
    assert "0x" not in str(e.value)
    pair = mended(create, pair, e.value)
    engine = pair.engine()
    assert engine.export_to_csv_with_xmin("t").rows == 50
    assert pair.sync().rows_inserted == 50
    assert pair.verify().equal
    raw = "SELECT md5(string_agg(v, '' ORDER BY id)) FROM t"
    assert pair.target(raw) == pair.source(raw)
    pair.target("SET client_encoding = 'SQL_ASCII'", "UPDATE t SET v = E'caf\\xe8' WHERE id = 7")
    assert not pair.verify().equal


@both_ways
def test_a_character_that_the_target_lacks_is_named_with_the_way_out(
    pair: Pair, create: Create
) -> None:
    pair = Pair(pair.source_url, in_encoding(create, pair.target_url, "latin", "LATIN1"))
    pair.source(TABLE, "INSERT INTO t SELECT i, 'x' FROM generate_series(1, 50) i")
    pair.source("UPDATE t SET v = '가' WHERE id = 50")
    with pytest.raises(SchemaConflict, match=r"LATIN1, .* in row 50 of a batch: .* LATIN1") as e:
        pair.sync()
    assert "0x" not in str(e.value)
    pair = mended(create, pair, e.value)
    assert pair.sync().rows_inserted == 50
    assert pair.is_exact()


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "EUC_KR", "EUC_JIS_2004"])
def test_two_databases_of_one_encoding_need_no_conversion(
    pair: Pair, create: Create, encoding: str
) -> None:
    source = in_encoding(create, pair.source_url, "one", encoding)
    pair = Pair(source, in_encoding(create, pair.target_url, "other", encoding))
    letter = "é" if encoding[0] != "E" else "漢"
    pair.source(TABLE, f"INSERT INTO t SELECT i, '{letter}' || i FROM generate_series(1, 50) i")
    assert pair.sync().rows_inserted == 50
    assert pair.verify().equal
    assert pair.is_exact()


def test_another_encoding_in_a_url_is_refused_in_words(pair: Pair) -> None:
    pair.source(TABLE)
    other = Pair(make_dsn(pair.source_url, client_encoding="LATIN1"), pair.target_url)
    with pytest.raises(ConfigurationError, match="the source URL sets client_encoding"):
        other.sync()
