"""What identifies a row: keys that PostgreSQL enforces, and those that only look like it."""

from __future__ import annotations

import pytest

from sync_assets.engine.errors import UnusableKey
from sync_assets_tests.fixtures.pair import Pair

from_18 = pytest.mark.parametrize(
    "versions", [("18", "15"), ("18", "18")], indirect=True, ids="-to-".join
)


@from_18
def test_a_constraint_that_is_not_validated_lets_null_through(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id int PRIMARY KEY, a int)",
        "INSERT INTO t VALUES (1, NULL), (2, 2)",
        "ALTER TABLE t ADD CONSTRAINT a_not_null NOT NULL a NOT VALID",
    )
    pair.sync()
    assert pair.is_exact()
    pair.source("UPDATE t SET a = 1 WHERE id = 1", "ALTER TABLE t VALIDATE CONSTRAINT a_not_null")
    pair.sync()
    pair.source("ALTER TABLE t ALTER a DROP NOT NULL", "UPDATE t SET a = NULL")
    pair.sync()
    assert pair.is_exact()


@from_18
def test_a_target_made_not_null_follows_a_constraint_that_is_made_anew_unvalidated(
    pair: Pair,
) -> None:
    pair.source(
        "CREATE TABLE p (id int, a int NOT NULL, PRIMARY KEY (id)) PARTITION BY RANGE (id)",
        "CREATE TABLE p_1 PARTITION OF p DEFAULT",
        "INSERT INTO p VALUES (1, 1), (2, 2)",
    )
    pair.sync("public.p")
    pair.source(
        "ALTER TABLE p ALTER a DROP NOT NULL",
        "UPDATE p SET a = NULL WHERE id = 1",
        "ALTER TABLE p ADD CONSTRAINT a_not_null NOT NULL a NOT VALID",
    )
    pair.sync("public.p")
    assert pair.is_exact("public.p")


@pytest.mark.parametrize("versions", [("18", "18")], indirect=True)
def test_a_unique_index_over_such_a_column_is_no_key(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (a int UNIQUE, b int NOT NULL UNIQUE)",
        "INSERT INTO t VALUES (NULL, 1), (NULL, 2)",
        "ALTER TABLE t ADD CONSTRAINT a_not_null NOT NULL a NOT VALID",
    )
    assert pair.sync().rows_inserted == 2
    with pytest.raises(UnusableKey, match="exactly a"):
        pair.sync(key=("a",))
    pair.source("ALTER TABLE t DROP b")
    with pytest.raises(UnusableKey, match="neither a primary key"):
        pair.sync()


@from_18
def test_a_domain_that_forbids_null_may_hold_it(pair: Pair) -> None:
    pair.source(
        "CREATE DOMAIN d AS int NOT NULL",
        "CREATE TABLE t (id int PRIMARY KEY, a d)",
        # The manual, "CREATE DOMAIN": a column of such a type may read as null nevertheless.
        "INSERT INTO t VALUES (1, 1), (2, (SELECT a FROM t WHERE false))",
    )
    pair.sync()
    assert pair.is_exact()


@from_18
@pytest.mark.parametrize("deletes", ["hard", "ignore"])
def test_a_key_without_overlaps_identifies_rows(pair: Pair, deletes: str) -> None:
    pair.source(
        "CREATE EXTENSION btree_gist",
        "CREATE TABLE t (id int, valid daterange, v text,"
        " PRIMARY KEY (id, valid WITHOUT OVERLAPS))",
        "INSERT INTO t SELECT i % 10, daterange(day, day + 1), 'v'"
        " FROM generate_series(1, 100) i, LATERAL (SELECT date '2026-01-01' + i AS day) AS each",
    )
    assert pair.sync(deletes=deletes).rows_inserted == 100
    pair.source("UPDATE t SET v = 'w' WHERE id = 3", "DELETE FROM t WHERE id = 4")
    receipt = pair.sync(deletes=deletes)
    assert (receipt.full, receipt.rows_updated) == (False, 10)
    assert pair.is_exact() == (deletes == "hard")


@from_18
def test_a_unique_constraint_without_overlaps_over_a_multirange_is_a_key(pair: Pair) -> None:
    pair.source(
        "CREATE EXTENSION btree_gist",
        "CREATE DOMAIN named AS text",
        "CREATE TABLE t (name named NOT NULL, valid datemultirange NOT NULL, v int,"
        " UNIQUE (name, valid WITHOUT OVERLAPS))",
        "INSERT INTO t VALUES ('a', '{[2026-01-01,2026-02-01)}', 1),"
        " ('a', '{[2026-02-01,2026-03-01)}', 2)",
    )
    pair.sync(deletes="hard")
    pair.source(
        "UPDATE t SET valid = '{[2026-02-01,2026-04-01)}', v = 3 WHERE v = 2",
        "UPDATE t SET v = 4 WHERE v = 1",
    )
    receipt = pair.sync(deletes="hard")
    assert (receipt.rows_updated, receipt.rows_inserted, receipt.rows_deleted) == (1, 1, 1)
    assert pair.is_exact()
    pair.source("ALTER TABLE t ALTER valid DROP NOT NULL")
    with pytest.raises(UnusableKey, match="neither a primary key"):
        pair.sync()


@pytest.mark.parametrize("versions", [("18", "18")], indirect=True)
def test_a_target_with_the_source_s_own_temporal_key_is_taken_over(pair: Pair) -> None:
    table = (
        "CREATE EXTENSION btree_gist",
        "CREATE TABLE t (id int, valid int4range, PRIMARY KEY (id, valid WITHOUT OVERLAPS), v text)",
    )
    pair.source(*table, "INSERT INTO t SELECT i, '[1,9)', 'v' FROM generate_series(1, 50) i")
    pair.target(*table)
    pair.sync(deletes="hard")
    pair.source(
        "UPDATE t SET valid = '[1,5)' WHERE id = 7", "INSERT INTO t VALUES (7, '[5,9)', 'w')"
    )
    receipt = pair.sync(deletes="hard")
    assert (receipt.rows_deleted, receipt.rows_inserted) == (1, 2)
    assert pair.is_exact()
