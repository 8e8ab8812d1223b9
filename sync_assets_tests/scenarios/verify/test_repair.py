"""`verify --repair` puts right what is wrong, and touches nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from sync_assets.engine import Deletes, RelationName, Table
from sync_assets.engine.errors import DeleteGuard, SchemaConflict
from sync_assets.engine.table import SyncMode
from sync_assets.engine.verify.sample import Sample, sample_rows
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

TABLE = "CREATE TABLE t (id integer PRIMARY KEY, v text)"
ROWS = "INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, {}) AS i"
PLACES = "SELECT id, ctid::text, xmin::text FROM t WHERE id {} ORDER BY id"
BREAK = (
    "UPDATE t SET v = 'broken' WHERE id IN (7, 1999)",
    "DELETE FROM t WHERE id BETWEEN 100 AND 104",
    "INSERT INTO t (id, v) VALUES (-1, 'extra'), (-2, 'extra')",
)


@pytest.mark.parametrize("sync", [True, False])
def test_only_what_differs_is_moved_and_written(pair: Pair, sync: bool) -> None:
    pair.source(TABLE, ROWS.format(3000))
    pair.sync(deletes=Deletes.HARD)
    untouched = "BETWEEN 1 AND 3000 AND id NOT IN (7, 1999, 100, 101, 102, 103, 104)"
    before = pair.target(PLACES.format(untouched))
    mark = pair.target("SELECT watermark, snapshot_xmax FROM sync_assets.state")
    pair.target(*BREAK)
    seen = pair.verify(repair=True, sync=sync, deletes=Deletes.HARD)
    extra = 0 if sync else 2  # with deletes: hard, the sync itself has removed them
    assert (seen.rows_differing, seen.rows_only_in_source) == (2, 5)
    assert seen.rows_only_in_target == extra
    assert seen.rows_wrong == 7 + extra
    assert seen.repaired is not None
    assert (seen.repaired.rows_exported, seen.repaired.rows_updated) == (7, 2)
    assert (seen.repaired.rows_inserted, seen.repaired.rows_deleted) == (5, extra)
    assert (seen.rows_left, seen.equal) == (0, True)
    assert pair.is_exact()
    assert pair.target(PLACES.format(untouched)) == before
    if not sync:
        state = "SELECT watermark, snapshot_xmax FROM sync_assets.state"
        assert pair.target(state) == mark
    assert pair.target("SELECT rows_in_target FROM sync_assets.state") == [(3000,)]
    assert pair.sync(deletes=Deletes.HARD).rows_written == 0


def test_extra_rows_stay_where_the_target_keeps_them(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(3000))
    pair.sync()
    pair.target(*BREAK)
    seen = pair.verify(sync=True, repair=True)
    assert seen.repaired is not None
    assert (seen.repaired.rows_deleted, seen.rows_kept, seen.rows_left) == (0, 2, 0)
    assert pair.target("SELECT count(*) FROM t WHERE id < 0") == [(2,)]


def test_a_target_that_has_yet_to_follow_its_source_is_not_repaired(pair: Pair) -> None:
    pair.source(TABLE.replace("text", "varchar(20)"), ROWS.format(10))
    pair.sync()
    pair.target("UPDATE t SET v = 'broken' WHERE id = 7")
    pair.source("ALTER TABLE t ALTER v TYPE varchar(30)")
    with pytest.raises(SchemaConflict, match='follow its source first: change column "v"'):
        pair.verify(repair=True, sync=False)
    assert pair.target("SELECT v FROM t WHERE id = 7") == [("broken",)]
    assert pair.verify(repair=True, sync=True).equal


def test_extra_rows_are_marked_where_deletes_are_soft(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(300))
    pair.sync(deletes=Deletes.SOFT)
    pair.target(*BREAK)
    # Others may go on writing: no row of this table has gone.
    pair.source("CREATE TABLE other AS SELECT 1", "INSERT INTO t VALUES (301, 'later')")
    seen = pair.verify(repair=True, sync=False, deletes=Deletes.SOFT)
    assert seen.repaired is not None
    assert (seen.repaired.rows_deleted, seen.rows_left) == (2, 0)
    assert pair.target("SELECT id FROM t WHERE deleted_at IS NOT NULL ORDER BY id") == [
        (-2,),
        (-1,),
    ]


def test_very_many_wrong_rows_are_repaired_by_how_their_hashes_begin(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(12_000))
    pair.sync()
    pair.target("UPDATE t SET v = 'broken'", "DELETE FROM t WHERE id < 100")
    seen = pair.verify(repair=True)
    assert (seen.rows_wrong, seen.rows_left) == (12_000, 0)
    assert pair.is_exact()


def test_what_is_right_needs_no_repair(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(30))
    seen = pair.verify(sync=True, repair=True)
    assert (seen.equal, seen.repaired, seen.rows_left) == (True, None, None)


def test_a_repair_that_would_delete_too_much_is_refused(pair: Pair) -> None:
    pair.source(TABLE, ROWS.format(150))
    pair.sync(deletes=Deletes.HARD)
    pair.target("INSERT INTO t (id, v) SELECT -i, 'x' FROM generate_series(1, 500) AS i")
    with pytest.raises(DeleteGuard, match="500 of 650 rows"):
        pair.verify(repair=True, sync=False, deletes=Deletes.HARD)
    assert pair.target("SELECT count(*) FROM t") == [(650,)]
    seen = pair.verify(repair=True, sync=False, deletes=Deletes.HARD, confirm_deletes=500)
    assert seen.equal
    assert pair.is_exact()


def test_a_filter_and_expressions_hold_for_a_repair_too(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text, secret text)",
        "INSERT INTO t SELECT i, 'row {%s}' || i, 'classified' FROM generate_series(1, 200) AS i",
    )
    scope: dict[str, Any] = {
        "where": "id % 2 = 0 AND v LIKE 'row {%s}%'",
        "expressions": (("secret", "md5(v)"),),
    }
    assert pair.verify(sync=True, repair=True, **scope).equal
    pair.target(
        "UPDATE t SET secret = 'classified' WHERE id = 4",
        "DELETE FROM t WHERE id = 6",
        "INSERT INTO t (id, v) VALUES (7, 'out of scope')",
    )
    seen = pair.verify(sync=True, repair=True, **scope)
    assert (seen.rows_source, seen.rows_wrong, seen.rows_kept) == (100, 2, 1)
    assert (seen.rows_left, seen.faultless, seen.equal) == (0, True, False)
    assert pair.target("SELECT count(*) FROM t WHERE secret = 'classified'") == [(0,)]
    assert pair.target("SELECT secret FROM t WHERE id = 4") == pair.source(
        "SELECT md5(v) FROM t WHERE id = 4"
    )


def test_rows_without_a_key_are_told_apart_by_themselves(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (a integer, v text)",
        "INSERT INTO t SELECT i % 10, NULL FROM generate_series(1, 1000) AS i",
    )
    full: dict[str, Any] = {"mode": SyncMode.FULL_SYNC}
    assert pair.verify(sync=True, repair=True, **full).equal
    pair.target(
        "DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE a = 3 LIMIT 4)",
        "INSERT INTO t (a, v) VALUES (5, NULL), (5, NULL), (5, '')",
    )
    seen = pair.verify(repair=True, sync=False, **full)
    assert (seen.rows_only_in_source, seen.rows_only_in_target, seen.rows_differing) == (4, 3, 0)
    assert seen.repaired is not None
    assert (seen.repaired.rows_inserted, seen.repaired.rows_deleted) == (4, 3)
    assert (seen.rows_left, seen.equal) == (0, True)
    assert pair.is_exact()


def test_any_name_is_only_a_name(pair: Pair) -> None:
    pair.source(
        'CREATE SCHEMA "br{ace} %s"',
        'CREATE TABLE "br{ace} %s"."주문 per%cent" ("k{} %s" integer, "키" text, "v%" text, '
        'PRIMARY KEY ("k{} %s", "키"))',
        'INSERT INTO "br{ace} %s"."주문 per%cent" '
        "SELECT i, $$key {%s} '$$ || i, 'x' FROM generate_series(1, 50) AS i",
    )
    name = "br{ace} %s.주문 per%cent"
    assert pair.verify(name, sync=True).equal
    pair.target('UPDATE "br{ace} %s"."주문 per%cent" SET "v%" = NULL WHERE "k{} %s" = 7')
    seen = pair.verify(name, repair=True)
    assert [dict(each.key) for each in seen.examples] == [{"k{} %s": "7", "키": "key {%s} '7"}]
    assert (seen.rows_wrong, seen.rows_left) == (1, 0)
    assert pair.is_exact(name)


def test_a_view_is_verified_by_the_key_it_is_given(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE base (id integer PRIMARY KEY, v text)",
        "INSERT INTO base SELECT i, 'row ' || i FROM generate_series(1, 300) AS i",
        "CREATE VIEW t AS SELECT id, v FROM base WHERE id > 10",
    )
    keyed: dict[str, Any] = {"mode": SyncMode.FULL_SYNC, "key": ("id",)}
    assert pair.verify(sync=True, repair=True, **keyed).rows_source == 290
    table = Table(RelationName.parse("t"), RelationName.parse("t"), **keyed)
    assert sample_rows(pair.source_url, pair.target_url, table, 1.0) == Sample(290, 0, 0)
    pair.target("UPDATE t SET v = 'x' WHERE id = 20", "DELETE FROM t WHERE id = 30")
    seen = pair.verify(repair=True, sync=False, **keyed)
    assert {tuple(each.key.values()) for each in seen.examples} == {("20",), ("30",)}
    assert (seen.rows_wrong, seen.rows_left) == (2, 0)
    assert pair.is_exact()
