"""Deletes found by checksums of keys, bucket by bucket, where listing all keys would take longer."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sync_assets.engine import Receipt
from sync_assets.engine.errors import DeleteGuard
from sync_assets.engine.plan import key_buckets
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

ROWS = 3000
CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v text)"
FILL = f"INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i"
ANALYZE = "ANALYZE t"
CHANGES = (
    "DELETE FROM t WHERE n BETWEEN {at} AND {at} + 5",
    "UPDATE t SET a = a + 1000 WHERE n BETWEEN {at} AND {at} + 9",
    "UPDATE t SET b = b || '''' WHERE n = {at}",
    "UPDATE t SET n = n + 1 WHERE n % 50 = {at} % 50",
    "INSERT INTO t VALUES ({at}, '', -1, now(), {at}) ON CONFLICT DO NOTHING",
)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any table is large enough, and any way too slow."""
    monkeypatch.setattr(key_buckets, "LEAST", 0)
    monkeypatch.setattr(key_buckets, "HASHING", 0.0)


def sync(pair: Pair, **options: Any) -> Receipt:
    chosen = {"changed_blocks": "off", "deletes": "hard", **options}
    receipt = pair.sync(**chosen)
    assert pair.is_exact()
    return receipt


@both_ways
@pytest.mark.usefixtures("slow")
def test_only_the_keys_of_buckets_that_differ_are_read(pair: Pair) -> None:
    pair.source(CREATE, FILL, ANALYZE)
    sync(pair)
    pair.source(
        "DELETE FROM t WHERE id IN (7, 8)",
        "UPDATE t SET v = 'x' WHERE id = 9",
        f"INSERT INTO t SELECT {ROWS} + i, 'new' FROM generate_series(1, 500) i",
    )
    receipt = sync(pair)
    assert (receipt.rows_deleted, receipt.rows_updated, receipt.rows_inserted) == (2, 1, 500)
    assert receipt.reason.endswith("; keys of 2 of 16 buckets")
    assert receipt.rows_in_target == ROWS + 498
    unchanged = sync(pair)
    assert unchanged.reason.endswith("; keys of 0 of 16 buckets")
    assert unchanged.bytes == 0


@both_ways
@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("deletes", ["hard", "soft"])
def test_random_changes_of_a_key_of_several_columns(pair: Pair, deletes: str) -> None:
    dice = random.Random(deletes)
    pair.source(
        "CREATE TABLE t (a bigint, b varchar(20), c numeric(9,3), d date, n int,"
        " PRIMARY KEY (d, b, a, c))",
        "INSERT INTO t SELECT i % 40, CASE i % 3 WHEN 0 THEN E'it''s, \\\\' || i ELSE i::text END,"
        " i / 8.0, date '2024-02-28' + i % 9, i FROM generate_series(1, 800) i",
        ANALYZE,
    )
    options: dict[str, Any] = {"changed_blocks": "off", "deletes": deletes, "max_delete_ratio": 1.0}
    pair.sync(**options)
    live = 'SELECT a, b, c, d, n FROM t {} ORDER BY d, b COLLATE "C", a, c'
    for _ in range(8):
        for _ in range(dice.randrange(4)):
            pair.source(dice.choice(CHANGES).format(at=dice.randrange(1000)))
        receipt = pair.sync(**options)
        assert " buckets" in receipt.reason
        marked = "WHERE deleted_at IS NULL" if deletes == "soft" else ""
        assert pair.target(live.format(marked)) == pair.source(live.format(""))


@pytest.mark.usefixtures("slow")
def test_rows_that_leave_a_filter_and_rows_that_somebody_else_added_are_found(pair: Pair) -> None:
    pair.source(CREATE, FILL, ANALYZE)
    options: dict[str, Any] = {"changed_blocks": "off", "deletes": "hard", "where": "v <> 'hidden'"}
    pair.sync(**options)
    pair.source("UPDATE t SET v = 'hidden' WHERE id IN (7, 8)")
    pair.target("INSERT INTO t VALUES (-1, 'of somebody else')")
    receipt = pair.sync(**options)
    assert (receipt.rows_deleted, receipt.rows_in_target) == (3, ROWS - 2)
    assert "of 16 buckets" in receipt.reason
    assert pair.target("SELECT count(*) FROM t") == [(ROWS - 2,)]


@pytest.mark.usefixtures("slow")
def test_deletes_are_guarded_as_ever(pair: Pair) -> None:
    pair.source(CREATE, FILL, ANALYZE)
    sync(pair)
    pair.source("DELETE FROM t WHERE id > 1000")
    with pytest.raises(DeleteGuard, match="max_delete_ratio"):
        sync(pair)
    pair.source("DELETE FROM t")
    with pytest.raises(DeleteGuard, match="is empty"):
        sync(pair)
    assert sync(pair, confirm_deletes=ROWS).rows_in_target == 0


@both_ways
@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("type_", ["float8", "timestamptz", "citext", "inet"])
def test_a_key_whose_text_may_differ_is_listed(pair: Pair, type_: str) -> None:
    values = {"timestamptz": "to_timestamp(i)", "inet": "'10.0.0.0'::inet + i"}
    pair.source(
        "CREATE EXTENSION citext",
        f"CREATE TABLE t (id {type_} PRIMARY KEY)",
        f"INSERT INTO t SELECT {values.get(type_, f'i::text::{type_}')} "
        "FROM generate_series(1, 50) i",
        ANALYZE,
    )
    sync(pair)
    pair.source("DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 2)")
    receipt = sync(pair)
    assert receipt.rows_deleted == 2
    assert "buckets" not in receipt.reason


@pytest.mark.usefixtures("slow")
def test_a_key_that_the_target_has_in_another_type_is_listed(pair: Pair) -> None:
    pair.source(CREATE, FILL, ANALYZE)
    pair.target("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
    for _ in range(2):
        pair.sync(changed_blocks="off", deletes="hard")
    pair.source("DELETE FROM t WHERE id = 7")
    receipt = pair.sync(changed_blocks="off", deletes="hard")
    assert receipt.rows_deleted == 1
    assert "buckets" not in receipt.reason


def test_over_a_quick_way_all_keys_are_listed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_buckets, "LEAST", 0)
    # What the machine is busy with must not make the way to it look slow.
    monkeypatch.setattr(key_buckets, "HASHING", 1.0)
    pair.source(CREATE, FILL, ANALYZE)
    sync(pair)
    pair.source("DELETE FROM t WHERE id = 7")
    receipt = sync(pair)
    assert receipt.rows_deleted == 1
    assert "buckets" not in receipt.reason


@pytest.mark.from_15
@pytest.mark.usefixtures("slow")
def test_a_map_is_built_from_all_keys(pair: Pair) -> None:
    pair.source("CREATE EXTENSION pg_walinspect", CREATE, FILL, ANALYZE)
    for _ in range(2):
        receipt = sync(pair, changed_blocks="require")
    assert "buckets" not in receipt.reason
    pair.source("DELETE FROM t WHERE id = 7")
    assert sync(pair, changed_blocks="require").rows_deleted == 1
