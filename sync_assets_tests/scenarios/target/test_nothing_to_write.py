"""A run that finds nothing leaves nothing in the target's catalog: no table is made for no row."""

from __future__ import annotations

from typing import Any

import pytest

from sync_assets.engine import Deletes, RelationName, Table
from sync_assets.engine.errors import ConfigurationError, DeleteGuard, SchemaConflict
from sync_assets.engine.load import few_keys
from sync_assets.engine.merge.merge import Merged
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

CREATE = (
    "CREATE TABLE t (id integer PRIMARY KEY, v text)",
    "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 100) i",
    "CREATE TABLE other (id integer PRIMARY KEY)",
)
CATALOG = """
SELECT relname::text, n_tup_ins FROM pg_stat_sys_tables
WHERE schemaname = 'pg_catalog' AND n_tup_ins > 0 ORDER BY 1
"""


def catalog(pair: Pair) -> list[tuple[Any, ...]]:
    """How many rows each table of the target's catalog was ever given."""
    assert eventually(lambda: pair.leftovers() == [])
    return pair.target(CATALOG)


IDLE: dict[str, dict[str, Any]] = {
    "by xid": {},
    "by xid, in scope": {"where": "id > 10"},
    "by xid, computing": {"expressions": {"v": "upper(v)"}},
    "as a dry run": {"dry_run": True},
}


@pytest.mark.parametrize("way", IDLE)
def test_runs_that_find_nothing_add_no_row_to_the_catalog(pair: Pair, way: str) -> None:
    pair.source(*CREATE)
    options = {"sync_mode": "xmin_incremental", **IDLE[way]}
    pair.engine().copy_table_data("t", "t", **{**options, "dry_run": False})
    before = catalog(pair)
    for number in range(10):
        pair.source(f"INSERT INTO other VALUES ({number})")
        receipt = pair.engine().copy_table_data("t", "t", **options)
        assert receipt.rows_written == 0
    assert catalog(pair) == before


def test_runs_over_an_empty_table_that_compare_its_keys_add_none_either(pair: Pair) -> None:
    pair.source(CREATE[0], CREATE[2])
    pair.sync(deletes="hard")
    before = catalog(pair)
    for number in range(3):
        pair.source(f"INSERT INTO other VALUES ({number})")
        assert pair.sync(deletes="hard").rows_in_target == 0
    assert catalog(pair) == before


@pytest.mark.parametrize("deletes", ["hard", "soft"])
def test_runs_that_compare_few_keys_and_miss_none_add_none_either(pair: Pair, deletes: str) -> None:
    pair.source("CREATE TABLE t (a integer, b text, PRIMARY KEY (a, b))", CREATE[2])
    odd = "('it''s, \"quoted\"'), (E'two\\nlines'), (E'back\\\\slash'), (''), ('€ 한글'), ('\\.'), ('null')"
    pair.source(f"INSERT INTO t SELECT i, b FROM generate_series(1, 40) i, (VALUES {odd}) AS v (b)")
    pair.sync(deletes=deletes)
    before = catalog(pair)
    for number in range(3):
        pair.source(f"INSERT INTO other VALUES ({number})")
        receipt = pair.sync(deletes=deletes)
        assert (receipt.rows_deleted, receipt.rows_in_target) == (0, 280)
    assert catalog(pair) == before
    pair.source("DELETE FROM t WHERE a < 3")
    assert pair.sync(deletes=deletes).rows_deleted == 14
    live = "" if deletes == "hard" else " WHERE deleted_at IS NULL"
    assert pair.target(f"SELECT count(*), min(a) FROM t{live}") == [(266, 3)]


def test_keys_take_a_table_once_they_are_more(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_keys, "FEW", 200)
    pair.source(*CREATE)
    pair.sync(deletes="hard")
    before = dict(catalog(pair))["pg_class"]
    pair.source("DELETE FROM t WHERE id > 97")
    assert pair.sync(deletes="hard").rows_deleted == 3
    assert dict(catalog(pair))["pg_class"] > before
    assert pair.is_exact()


def test_groups_that_find_nothing_add_none_either(pair: Pair) -> None:
    pair.source(*CREATE)
    names = [RelationName("public", name) for name in ("t", "other")]
    tables = [Table(name, name) for name in names]
    pair.engine().sync_group(tables)
    before = catalog(pair)
    for _ in range(3):
        pair.source("CREATE TABLE more (); DROP TABLE more")
        pair.engine().sync_group(tables)
    assert catalog(pair) == before


def test_a_group_makes_tables_for_the_members_that_have_rows(pair: Pair) -> None:
    pair.source(*CREATE)
    names = [RelationName("public", name) for name in ("t", "other")]
    tables = [Table(name, name) for name in names]
    pair.engine().sync_group(tables)
    before = dict(catalog(pair))["pg_class"]
    pair.source("UPDATE t SET v = 'x' WHERE id = 1")
    written = [receipt.rows_written for receipt in pair.engine().sync_group(tables)]
    assert written == [1, 0]
    # The table, and what large values of it would go to, with its index.
    assert dict(catalog(pair))["pg_class"] - before == 3
    assert pair.is_exact("public.t", "public.other")


EMPTIED: dict[str, dict[str, Any]] = {
    "whole": {"sync_mode": "full_sync"},
    "whole, without a key": {"sync_mode": "full_sync"},
    "whole, marking": {"sync_mode": "full_sync", "deletes": "soft"},
    "by xid": {"deletes": "hard"},
    "by xid, in scope": {"deletes": "hard", "where": "id > 0"},
    "by xid, marking": {"deletes": "soft"},
}
LIVE = {"soft": "SELECT count(*) FROM t WHERE deleted_at IS NULL"}


@pytest.mark.parametrize("way", EMPTIED)
def test_a_source_without_a_row_is_no_source_that_was_not_read(pair: Pair, way: str) -> None:
    options = {"sync_mode": "xmin_incremental", **EMPTIED[way]}
    key = "" if way == "whole, without a key" else " PRIMARY KEY"
    pair.source(CREATE[0].replace(" PRIMARY KEY", key), CREATE[1])
    pair.engine().copy_table_data("t", "t", **options)
    pair.source("DELETE FROM t")
    with pytest.raises(DeleteGuard, match=r"is empty and the target public\.t has 100 rows"):
        pair.engine().copy_table_data("t", "t", **options)
    receipt = pair.engine().copy_table_data("t", "t", **options, allow_empty=True)
    assert (receipt.rows_deleted, receipt.rows_in_target) == (100, 0)
    counted = LIVE.get(str(options.get("deletes")), "SELECT count(*) FROM t")
    assert pair.target(counted) == [(0,)]


def test_a_target_gains_a_column_though_no_row_is_read(pair: Pair) -> None:
    pair.source(*CREATE)
    pair.sync()
    pair.source(
        "DELETE FROM t WHERE id = 1", "ALTER TABLE t ADD w integer, ALTER v TYPE varchar(4)"
    )
    pair.source("DELETE FROM t")
    receipt = pair.sync(deletes="hard", allow_empty=True)
    assert receipt.rows_deleted == 100
    assert pair.target("SELECT w, v FROM t") == []


def test_rows_that_only_the_target_has_keep_a_column_from_narrowing_though_none_is_read(
    pair: Pair,
) -> None:
    pair.source("CREATE TABLE t (id integer PRIMARY KEY, v numeric(12,4))")
    pair.source("INSERT INTO t VALUES (1, 1.2345), (2, 1.5)")
    pair.sync()
    pair.source("DELETE FROM t")
    pair.source("ALTER TABLE t ALTER id TYPE bigint, ALTER v TYPE numeric(10,2)")
    with pytest.raises(SchemaConflict, match="1 row that only the target has would not keep"):
        pair.sync()


def test_a_filter_that_the_target_cannot_prove_any_more_is_refused_before_a_row_follows_it(
    pair: Pair,
) -> None:
    above = "RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN i > 10; END'"
    for end in (pair.source, pair.target):
        end(f"CREATE FUNCTION above(i integer) {above}")
    pair.source(*CREATE)
    pair.sync(where="above(id)")
    pair.target("ALTER FUNCTION above(integer) VOLATILE")
    pair.sync(where="above(id)")
    pair.source("UPDATE t SET v = 'x' WHERE id = 11")
    with pytest.raises(ConfigurationError, match="must depend on the row alone"):
        pair.sync(where="above(id)")
    assert pair.target("SELECT v FROM t WHERE id = 11") == [("v11",)]


def test_a_filter_that_only_whole_passes_could_use_is_proven_before_the_first_by_xid(
    pair: Pair,
) -> None:
    pair.source(*CREATE)
    pair.engine().copy_table_data("t", "t", where="id > random() * 10")
    with pytest.raises(ConfigurationError, match="must depend on the row alone"):
        pair.sync(where="id > random() * 10")


def test_steps_over_no_row_merge_nothing_and_make_nothing(pair: Pair) -> None:
    pair.source(*CREATE)
    mark = pair.sync().watermark
    before = catalog(pair)
    engine = pair.engine()
    exported = engine.export_to_csv_with_xmin("t", since=mark)
    temp = engine.import_csv_to_temp_table(exported)
    assert (temp.rows, temp.name.partition(".")[0]) == (0, "pg_temp")
    assert engine.execute_merge_with_xmin(temp) == Merged(0, 0)
    engine.cleanup_temp_table(temp)
    engine.cleanup_temp_files(exported)
    assert catalog(pair) == before


def test_a_repair_that_only_deletes_has_no_row_to_stage(pair: Pair) -> None:
    pair.source(*CREATE)
    pair.sync(deletes="hard")
    pair.target("INSERT INTO t (id, source_xmin) VALUES (500, 3)")
    found = pair.verify(repair=True, deletes=Deletes.HARD)
    assert (found.repaired is not None and found.repaired.rows_deleted, found.rows_left) == (1, 0)
    assert pair.is_exact()
