"""The parts of `verify` that need no table: statements, sums, differences and what they mean."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine.compare.checksum import (
    Buckets,
    Piece,
    Rows,
    digits_for,
    listing,
    pieces,
    sums,
)
from sync_assets.engine.compare.difference import Difference, Kind, differences
from sync_assets.engine.compare.tally import MOST_HASHES, Tally
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.relation import Leaf, Relation
from sync_assets.engine.snapshot.snapshot import Snapshot, SourceIdentity
from sync_assets.engine.table import Deletes, SyncMode, Table
from sync_assets.engine.verify.verdict import after_sync, since_last_run
from sync_assets_tests.fixtures.servers import Connect

NAME = RelationName("public", "t")
LEAF = Leaf(1, NAME, "r", "heap", 1, 0, False, True, "", 10, 100.0, 81920)
RELATION = Relation(1, NAME, "r", False, True, (), (), (LEAF,), "")
COLUMNS = (("id", Identifier("id")), ("v", SQL("(\nlower(v)\n)")))
ROWS = Rows(RELATION, COLUMNS, ("id",))
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
IDENTITY = SourceIdentity("7000", 5, 1)
SNAPSHOT = Snapshot(1000, 1010, NOW, 5000, NOW, IDENTITY, 5000)
TABLE = Table(NAME, NAME)
HARD = replace(TABLE, deletes=Deletes.HARD)

SUMS = """\
COPY (SELECT pg_catalog.left(h.key, 2), pg_catalog.count(*), \
pg_catalog.count(*) FILTER (WHERE h.awaited), \
pg_catalog.sum(('x' OPERATOR(pg_catalog.||) pg_catalog.substr(h.image, 1, 16))\
::pg_catalog.bit(64)::pg_catalog.int8), \
pg_catalog.sum(('x' OPERATOR(pg_catalog.||) pg_catalog.substr(h.image, 17, 16))\
::pg_catalog.bit(64)::pg_catalog.int8) \
FROM (SELECT false, pg_catalog.md5(pg_catalog.convert_to(pg_catalog.format('%L,', "id"), CASE WHEN pg_catalog.getdatabaseencoding() \
OPERATOR(pg_catalog.=) 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), \
pg_catalog.md5(pg_catalog.convert_to(pg_catalog.format('%L,%L,', "id", ( lower(v) )), CASE WHEN pg_catalog.getdatabaseencoding() \
OPERATOR(pg_catalog.=) 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)) \
FROM ONLY "public"."t" WHERE a = 1 AND ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid \
AND ctid OPERATOR(pg_catalog.<) '(8,0)'::pg_catalog.tid OFFSET 0) AS h (awaited, key, image) GROUP BY 1) TO STDOUT"""

LISTING = """\
COPY (SELECT h.key, \
pg_catalog.md5(pg_catalog.convert_to(pg_catalog.format('%L,%L,', h.v0, h.v1), CASE WHEN pg_catalog.getdatabaseencoding() \
OPERATOR(pg_catalog.=) 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 1, \
h.awaited, h.v0 \
FROM (SELECT pg_catalog.md5(pg_catalog.convert_to(pg_catalog.format('%L,', "id"), CASE WHEN pg_catalog.getdatabaseencoding() \
OPERATOR(pg_catalog.=) 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), \
xmin = 5, "id", ( lower(v) ) FROM ONLY "public"."t" OFFSET 0) AS h (key, awaited, v0, v1) \
WHERE pg_catalog.left(h.key, 2) OPERATOR(pg_catalog.=) ANY (ARRAY['01','ff']) \
ORDER BY h.key COLLATE pg_catalog."C") TO STDOUT"""


def test_the_statements_as_they_are_sent(connect: Connect, target_url: str) -> None:
    def text(statement: Composable) -> str:
        return " ".join(statement.as_string(connect(target_url)).split())

    filtered = replace(ROWS, condition=SQL("a = 1"))
    assert text(sums(filtered, Piece(NAME, only=True, first=0, end=8), 2)) == SUMS
    awaited = replace(ROWS, awaited=SQL("xmin = 5"))
    assert text(listing(awaited, 2, [1, 255])) == LISTING
    keyless = text(listing(replace(ROWS, key=()), 1, [10]))
    assert "count(*), pg_catalog.bool_or(h.awaited)" in keyless
    assert "GROUP BY h.key ORDER BY" in keyless


def test_pieces_cover_every_leaf_and_the_last_is_open() -> None:
    foreign = replace(LEAF, oid=3, kind="f", pages=0)
    parent = replace(RELATION, kind="p", leaves=(replace(LEAF, pages=5000), foreign, LEAF))
    cut = list(pieces(parent, 1))
    assert [(piece.only, piece.first, piece.end) for piece in cut] == [
        (True, 0, 1253),
        (True, 1253, 2506),
        (True, 2506, 3759),
        (True, 3759, None),
        (False, None, None),
        (True, 0, None),
    ]
    large = replace(parent, leaves=(replace(LEAF, pages=5000, cache=19_999),))
    assert list(pieces(large, 4)) == [Piece(NAME, only=True, scanned=True)]
    unreadable = replace(parent, leaves=(replace(LEAF, readable=False),))
    assert list(pieces(unreadable, 4)) == [Piece(NAME)]
    assert list(pieces(replace(RELATION, kind="v"), 4)) == [Piece(NAME)]


@pytest.mark.parametrize(
    ("rows", "digits"), [(0, 1), (-1, 1), (16_384, 1), (16_385, 2), (1e7, 4), (1e11, 4)]
)
def test_buckets_stay_few(rows: float, digits: int) -> None:
    assert digits_for(rows) == digits


images = st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(st.integers(0, 15), images, images), max_size=30), st.randoms())
def test_the_order_of_rows_does_not_matter(
    rows: list[tuple[int, int, int]], order: random.Random
) -> None:
    shuffled = list(rows)
    order.shuffle(shuffled)
    assert list(_buckets(rows, shuffled).differing(10)) == []


@given(
    st.lists(st.tuples(st.integers(0, 15), images, images), min_size=1, max_size=30),
    st.data(),
)
def test_any_other_row_shows(rows: list[tuple[int, int, int]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    bucket, low, high = rows[place]
    other = data.draw(st.tuples(images, images).filter(lambda each: each != (low, high)))
    changed = [*rows[:place], (bucket, *other), *rows[place + 1 :]]
    assert list(_buckets(rows, changed).differing(1000)) == [[bucket]]
    fewer = [*rows[:place], *rows[place + 1 :]]
    assert list(_buckets(rows, fewer).differing(1000)) == [[bucket]]


def _buckets(source: list[tuple[int, int, int]], target: list[tuple[int, int, int]]) -> Buckets:
    buckets = Buckets(1)
    for sign, rows in ((1, source), (-1, target)):
        for bucket, low, high in rows:
            buckets.add(sign, f"{bucket:x}\t1\t0\t{_signed(low)}\t{_signed(high)}\n".encode())
    return buckets


def _signed(half: int) -> int:
    """As the server reads 64 bits."""
    return half - 2**64 if half >= 2**63 else half


def test_many_rows_are_listed_in_parts() -> None:
    buckets = Buckets(1)
    for bucket in range(16):
        buckets.add(1, f"{bucket:x}\t10\t0\t1\t1\n".encode())
    assert list(buckets.differing(30)) == [[n, n + 1, n + 2] for n in range(0, 15, 3)] + [[15]]
    assert list(buckets.differing(1)) == [[n] for n in range(16)]


rows_by_key = st.dictionaries(st.integers(0, 30), st.sampled_from("abc"), max_size=25)


@given(rows_by_key, rows_by_key)
def test_two_listings_are_compared_row_by_row(here: dict[int, str], there: dict[int, str]) -> None:
    expected = {(Kind.ONLY_IN_SOURCE, str(key)) for key in here.keys() - there.keys()}
    expected |= {(Kind.ONLY_IN_TARGET, str(key)) for key in there.keys() - here.keys()}
    expected |= {
        (Kind.DIFFERING, str(key)) for key in here.keys() & there.keys() if here[key] != there[key]
    }
    found = list(differences(_lines(here), _lines(there)))
    assert {(each.kind, *each.key) for each in found} == expected
    assert len(found) == len(expected)


def _lines(rows: dict[int, str]) -> list[bytes]:
    lines = [f"{_md5(str(key))}\t{_md5(value)}\t1\tf\t{key}\n" for key, value in rows.items()]
    return [line.encode() for line in sorted(lines)]


def _md5(value: str) -> str:
    return hashlib.md5(value.encode()).hexdigest()


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_rows_without_a_key_are_counted(here: list[str], there: list[str]) -> None:
    def lines(rows: list[str]) -> list[bytes]:
        counted = Counter(map(_md5, rows)).items()
        return sorted(f"{image}\t{image}\t{count}\tf\n".encode() for image, count in counted)

    found: Counter[tuple[Kind, str]] = Counter()
    for each in differences(lines(here), lines(there)):
        found[each.kind, each.hash] += each.count
    expected: Counter[tuple[Kind, str]] = Counter()
    for row, count in (Counter(here) - Counter(there)).items():
        expected[Kind.ONLY_IN_SOURCE, _md5(row)] = count
    for row, count in (Counter(there) - Counter(here)).items():
        expected[Kind.ONLY_IN_TARGET, _md5(row)] = count
    assert found == expected


def test_a_key_is_named_as_it_is() -> None:
    line = b"aa" * 16 + b"\tbb\t1\tt\ttab\\there\\nand \\\\n\tsecond\n"
    (found,) = differences([line], [])
    key = ("tab\there\nand \\n", "second")
    assert found == Difference(Kind.ONLY_IN_SOURCE, "aa" * 16, key, awaited=True)


def test_what_a_difference_means() -> None:
    extra = Difference(Kind.ONLY_IN_TARGET, "aa", (), awaited=False)
    lacking = Difference(Kind.ONLY_IN_SOURCE, "aa", (), awaited=True)
    full = replace(TABLE, mode=SyncMode.FULL_SYNC)
    assert after_sync(TABLE)(extra) == "kept"
    assert after_sync(HARD)(extra) == after_sync(full)(extra) == "wrong"
    assert after_sync(TABLE)(lacking) == "wrong"
    judge = since_last_run(TABLE, None, SNAPSHOT, lambda: 0)
    assert judge(lacking) == "pending"
    assert judge(replace(lacking, awaited=False)) == "wrong"
    judge = since_last_run(full, None, SNAPSHOT, lambda: 0, unsettled=True)
    assert judge(replace(lacking, awaited=False)) == "pending"
    assert since_last_run(HARD, None, SNAPSHOT, lambda: 0)(extra) == "pending"


def test_the_hashes_of_very_many_wrong_rows_are_kept_short() -> None:
    tally = Tally(lambda _: "wrong", ("id",), most=2)
    for number in range(MOST_HASHES):
        tally.add(Difference(Kind.DIFFERING, _md5(str(number)), (str(number),), awaited=False))
    assert {len(each) for each in tally.wrong_hashes} == {32}
    assert len(tally.wrong_hashes) == MOST_HASHES
    tally.add(Difference(Kind.DIFFERING, _md5("one more"), ("x",), awaited=False))
    assert {len(each) for each in tally.wrong_hashes} == {4}
    assert _md5("one more")[:4] in tally.wrong_hashes
    assert [dict(each.key) for each in tally.examples] == [{"id": "0"}, {"id": "1"}]
    assert tally.counts()["rows_wrong"] == MOST_HASHES + 1
