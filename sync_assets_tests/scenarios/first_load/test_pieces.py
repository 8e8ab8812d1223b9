"""A first load by pieces: exact at its last snapshot, and none of it is read twice."""

from __future__ import annotations

from typing import Any

import pytest

from sync_assets.engine import Progress, Receipt
from sync_assets.engine.limits import Limits
from sync_assets.engine.run.first_load import begin
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

SMALL_PIECES = Limits(piece_mb=1)
ROWS = 60_000
CREATE = (
    "CREATE TABLE t (id integer PRIMARY KEY, v text, n integer)",
    f"INSERT INTO t SELECT i, repeat('x', 100), i % 7 FROM generate_series(1, {ROWS}) i",
    "ANALYZE t",
)
PARTITIONED = (
    "CREATE TABLE t (id integer PRIMARY KEY, v text, n integer) PARTITION BY RANGE (id)",
    *(
        f"CREATE TABLE t{n} PARTITION OF t FOR VALUES FROM ({n * 20000 + 1}) TO ({n * 20000 + 20001})"
        for n in range(4)
    ),
    f"INSERT INTO t SELECT i, repeat('x', 100), i % 7 FROM generate_series(1, {ROWS}) i",
    "ANALYZE t",
)


class Interrupted(Exception):
    """What ends a run."""


def interrupt(pair: Pair, **options: Any) -> None:
    """Begin a load, and end it after its first piece."""

    def stop(progress: Progress) -> None:
        if progress.phase == "load" and progress.chunks_done:
            raise Interrupted

    engine = pair.engine(limits=SMALL_PIECES, workers=1, on_progress=stop)
    with pytest.raises(Interrupted):
        engine.copy_table_data_with_xmin("t", "t", **options)


def load(pair: Pair, **options: Any) -> Receipt:
    return pair.engine(limits=SMALL_PIECES).copy_table_data_with_xmin("t", "t", **options)


def test_what_a_table_has_is_called_as_if_it_had_been_made_at_once(pair: Pair) -> None:
    named = CREATE[0].replace("PRIMARY KEY", "CONSTRAINT pk_of_t PRIMARY KEY")
    pair.source(named, *CREATE[1:])
    load(pair)
    names = "SELECT conname::text FROM pg_constraint WHERE conrelid = 't'::regclass ORDER BY contype DESC"
    assert [name for (name,) in pair.target(names)] in (
        ["pk_of_t"],
        ["pk_of_t", "t_id_not_null"],
    )


def loaded(pair: Pair) -> int:
    """Rows that the ledger says are loaded."""
    return int(pair.target("SELECT coalesce(sum(rows), 0) FROM sync_assets.load_piece")[0][0])


def test_a_large_table_is_loaded_by_pieces(pair: Pair) -> None:
    pair.source(*CREATE)
    receipt = load(pair)
    assert (receipt.rows_exported, receipt.rows_inserted, receipt.rows_in_target) == (ROWS,) * 3
    assert receipt.full
    assert receipt.exact
    assert receipt.chunks > 6
    assert "pieces" in receipt.reason
    assert pair.is_exact()
    assert pair.leftovers() == []
    assert pair.target("SELECT count(*) FROM sync_assets.load") == [(0,)]
    pair.source("UPDATE t SET n = -1 WHERE id = 3", "DELETE FROM t WHERE id = 4")
    receipt = load(pair, deletes="hard")
    assert (receipt.rows_updated, receipt.rows_deleted, receipt.rows_exported) == (1, 1, 1)
    assert pair.is_exact()


def test_a_load_goes_on_where_it_was_ended(pair: Pair) -> None:
    pair.source(*CREATE)
    interrupt(pair)
    assert pair.target("SELECT to_regclass('t')") == [(None,)]
    before = loaded(pair)
    assert 0 < before < ROWS / 4
    receipt = load(pair)
    assert receipt.rows_exported == ROWS
    assert any("loaded by earlier runs" in event for event in receipt.events)
    assert pair.is_exact()
    assert pair.leftovers() == []


CHANGES = {
    "updated": ("ignore", ["UPDATE t SET v = 'y' WHERE id % 5 = 0"]),
    "deleted": ("ignore", ["DELETE FROM t WHERE id % 3 = 0"]),
    "deleted, where rows are marked": ("soft", ["DELETE FROM t WHERE id % 3 = 0"]),
    "all deleted": ("hard", ["DELETE FROM t"]),
    "inserted": (
        "hard",
        ["INSERT INTO t SELECT i, 'new', 1 FROM generate_series(60001, 65000) i"],
    ),
    "moved": ("ignore", ["UPDATE t SET id = id + 61000 WHERE id < 3000"]),
    "swapped": (
        "soft",
        ["UPDATE t SET id = -id WHERE id < 9", "UPDATE t SET id = id + 9 WHERE id < 0"],
    ),
    "deleted and inserted again": (
        "hard",
        [
            "DELETE FROM t WHERE id % 2 = 0",
            "VACUUM t",
            "INSERT INTO t SELECT i, 'again', 1 FROM generate_series(2, 60000, 4) i",
        ],
    ),
}


@pytest.mark.parametrize(("deletes", "statements"), CHANGES.values(), ids=CHANGES)
def test_what_changes_before_it_goes_on_is_there_at_its_end(
    pair: Pair, deletes: str, statements: list[str]
) -> None:
    pair.source(*CREATE)
    interrupt(pair, deletes=deletes)
    before = loaded(pair)
    pair.source(*statements)
    receipt = load(pair, deletes=deletes)
    assert any("loaded by earlier runs" in event for event in receipt.events)
    assert receipt.rows_in_target == pair.source("SELECT count(*) FROM t")[0][0]
    assert before <= receipt.rows_exported
    if deletes == "soft":
        assert pair.target("SELECT count(*) FROM t WHERE deleted_at IS NOT NULL") == [(0,)]
        pair.target("ALTER TABLE t DROP deleted_at")
    assert pair.is_exact()


def test_the_rows_in_scope_are_those_of_the_last_snapshot(pair: Pair) -> None:
    pair.source(*CREATE)
    scope = {"where": "n < 6", "exclude": ["v"], "expressions": {"n": "n * 2"}}
    interrupt(pair, **scope)
    pair.source("UPDATE t SET n = 6 WHERE n = 1", "UPDATE t SET n = 5 WHERE id % 700 = 6")
    receipt = load(pair, **scope)
    wanted = pair.source("SELECT id, n * 2 FROM t WHERE n < 6 ORDER BY id")
    assert pair.target("SELECT id, n FROM t ORDER BY id") == wanted
    assert receipt.rows_in_target == len(wanted)


VOID = {
    "rewritten": (["VACUUM FULL t"], "truncated or rewritten"),
    "truncated": (["TRUNCATE t", "INSERT INTO t VALUES (1, 'one', 1)"], "truncated or rewritten"),
    "a column more": (["ALTER TABLE t ADD w integer DEFAULT 5"], "columns of public.t changed"),
    "a column renamed": (["ALTER TABLE t RENAME v TO w"], "columns of public.t changed"),
    "another type": (["ALTER TABLE t ALTER n TYPE bigint"], "columns of public.t changed"),
}


@pytest.mark.parametrize(("statements", "why"), VOID.values(), ids=VOID)
def test_what_was_loaded_of_a_table_that_is_another_now_is_read_again(
    pair: Pair, statements: list[str], why: str
) -> None:
    pair.source(*CREATE)
    interrupt(pair)
    pair.source(*statements)
    receipt = load(pair)
    if pair.source("SELECT count(*) FROM t") != [(1,)]:
        assert any("started over" in event and why in event for event in receipt.events)
    assert pair.is_exact()
    assert pair.leftovers() == []


def test_a_load_that_trusted_pages_after_a_rewrite_would_lose_rows(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.source(*CREATE)
    interrupt(pair)
    pair.source("DELETE FROM t WHERE id % 2 = 0", "VACUUM FULL t")
    monkeypatch.setattr(begin, "is_unmoved", lambda *_: True)
    load(pair)
    assert not pair.is_exact()


def test_another_configuration_starts_over(pair: Pair) -> None:
    pair.source(*CREATE)
    interrupt(pair)
    receipt = load(pair, exclude=["v"])
    assert any("the configuration of the table changed" in event for event in receipt.events)
    assert pair.target("SELECT count(*), sum(n) FROM t") == pair.source(
        "SELECT count(*), sum(n) FROM t"
    )


def test_a_hidden_table_that_somebody_emptied_is_not_gone_on_with(pair: Pair) -> None:
    pair.source(*CREATE)
    interrupt(pair)
    ((name,),) = pair.target("SELECT relname FROM pg_class WHERE relname LIKE 'sync_assets_st%'")
    pair.target(f"TRUNCATE {name}")
    receipt = load(pair)
    assert any("the target table itself changed" in event for event in receipt.events)
    assert pair.is_exact()


LEAVES = {
    "rewritten": ["VACUUM FULL t0", "UPDATE t SET n = 0 WHERE id < 100"],
    "truncated": ["TRUNCATE t0"],
    "detached": ["ALTER TABLE t DETACH PARTITION t0"],
    "dropped": ["DROP TABLE t0"],
    "another in its place": [
        "CREATE TABLE other AS SELECT id, 'other' AS v, n FROM t0 WHERE id % 2 = 0",
        "ALTER TABLE other ALTER id SET NOT NULL",
        "ALTER TABLE t DETACH PARTITION t0",
        "ALTER TABLE t ATTACH PARTITION other FOR VALUES FROM (1) TO (20001)",
    ],
    "attached": [
        "CREATE TABLE t4 PARTITION OF t FOR VALUES FROM (80001) TO (99999)",
        "INSERT INTO t SELECT i, 'late', 1 FROM generate_series(80001, 90000) i",
    ],
}


@pytest.mark.parametrize("statements", LEAVES.values(), ids=LEAVES)
def test_a_partition_that_changes_takes_no_other_along(pair: Pair, statements: list[str]) -> None:
    pair.source(*PARTITIONED)
    interrupt(pair)
    before = loaded(pair)
    pair.source(*statements)
    receipt = load(pair)
    assert any("loaded by earlier runs" in event for event in receipt.events)
    assert pair.is_exact()
    assert receipt.rows_exported <= ROWS + before + 10_000


def test_a_piece_that_takes_too_long_is_read_in_smaller_ones(pair: Pair) -> None:
    function = (
        "CREATE FUNCTION slow(id integer, v text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS"
        " $$ BEGIN IF id < 1000 THEN PERFORM pg_sleep(0.001); END IF; RETURN v; END $$"
    )
    pair.source(*CREATE, function)
    pair.target(function)
    limits = Limits(piece_mb=1, max_snapshot_age=0.7)
    slow = {"v": "public.slow(id, v)"}
    receipt = pair.engine(limits=limits).copy_table_data_with_xmin("t", "t", expressions=slow)
    assert pair.is_exact()
    assert any("interrupted by the source and read again" in event for event in receipt.events)
    assert receipt.rows_exported == ROWS


def test_keys_whose_text_may_differ_between_the_ends_are_compared_all(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (at timestamptz, n numeric, v text, PRIMARY KEY (n, at))",
        "INSERT INTO t SELECT timestamptz 'epoch' + i * interval '1 s', i / 10.0, repeat('x', 100)"
        f" FROM generate_series(1, {ROWS}) i",
    )
    interrupt(pair)
    pair.source("DELETE FROM t WHERE n < 300", "UPDATE t SET n = n + 0.00 WHERE n > 5000")
    receipt = load(pair)
    assert receipt.rows_in_target == pair.source("SELECT count(*) FROM t")[0][0]
    assert pair.is_exact()


def test_a_last_snapshot_that_was_held_for_too_long_is_told(pair: Pair) -> None:
    pair.source(*CREATE)

    def stop(progress: Progress) -> None:
        if progress.phase == "merge":
            raise Interrupted

    with pytest.raises(Interrupted):
        pair.engine(limits=SMALL_PIECES, on_progress=stop).copy_table_data_with_xmin("t", "t")
    pair.source("UPDATE t SET n = 0")
    # All pieces are loaded: none can be too long.
    engine = pair.engine(limits=Limits(piece_mb=1, max_snapshot_age=0.01))
    receipt = engine.copy_table_data_with_xmin("t", "t")
    assert receipt.seconds["snapshot"] > 0.01
    assert any("above max_snapshot_age 0.01 s" in event for event in receipt.events)
    assert pair.is_exact()
