"""Every kind of relation: read the way it can be, or refused in words before anything happens."""

from __future__ import annotations

from typing import Any

import pytest

from sync_assets.engine import Receipt
from sync_assets.engine.errors import (
    PrivilegeError,
    SchemaConflict,
    UnsupportedRelation,
    UnusableKey,
)
from sync_assets_tests.fixtures.pair import Pair, reading_role
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v text)"
FILL = "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 100) i"


def full(pair: Pair, name: str, **options: Any) -> Receipt:
    return pair.engine().copy_table_data(name, name, **options)


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_a_view_is_copied_whole_with_or_without_a_key(pair: Pair, kind: str) -> None:
    pair.source(
        CREATE, FILL, f"CREATE {kind} s AS SELECT id % 50 AS n, count(*) AS c FROM t GROUP BY 1"
    )
    refresh = ("REFRESH MATERIALIZED VIEW s",) if kind != "VIEW" else ()
    for options in ({}, {"key": "n"}):
        pair.target("DROP TABLE IF EXISTS s")
        assert full(pair, "s", **options).rows_inserted == 50
        pair.source(
            "DELETE FROM t WHERE id IN (1, 51)", "INSERT INTO t VALUES (152, 'x')", *refresh
        )
        receipt = full(pair, "s", **options)
        assert receipt.rows_written in {2, 3}
        assert pair.is_exact("public.s")
        assert pair.target("SELECT count(*) FROM s WHERE source_xmin IS NOT NULL") == [(0,)]
        assert full(pair, "s", **options).rows_written == 0
        pair.source(
            "INSERT INTO t VALUES (1, 'x'), (51, 'x')", "DELETE FROM t WHERE id = 152", *refresh
        )


def test_a_key_that_a_view_does_not_keep_is_told(pair: Pair) -> None:
    pair.source(CREATE, FILL, "CREATE VIEW s AS SELECT id % 50 AS n, v FROM t")
    with pytest.raises(SchemaConflict, match=r"duplicate key|could not create unique index"):
        full(pair, "s", key="n")
    assert pair.leftovers() == []


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("xmin_incremental", {}),
        ("xmin_incremental", {"key": ["id"]}),
        ("incremental_sync", {"cursor": "id"}),
    ],
)
def test_a_view_without_what_the_mode_needs_is_refused_in_words(
    pair: Pair, mode: str, options: dict[str, Any]
) -> None:
    pair.source(CREATE, "CREATE VIEW s AS SELECT * FROM t")
    with pytest.raises(
        (UnsupportedRelation, UnusableKey), match=r"s is (a view|not a table)"
    ) as caught:
        pair.engine().copy_table_data("s", "s", mode, **options)
    assert "full_sync" in caught.value.remedy


SERVER = """
DO $$ BEGIN EXECUTE format(
  'CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname %L, host %L)',
  current_database(), split_part(current_setting('unix_socket_directories'), ',', 1)
); END $$
"""
FOREIGN = (
    "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
    SERVER,
    "CREATE USER MAPPING FOR CURRENT_USER SERVER here OPTIONS (user 'postgres')",
)


def test_a_foreign_table_is_copied_whole(pair: Pair) -> None:
    pair.source(CREATE, FILL, *FOREIGN)
    pair.source("CREATE FOREIGN TABLE f (id integer, v text) SERVER here OPTIONS (table_name 't')")
    assert full(pair, "f", key="id").rows_inserted == 100
    pair.source("UPDATE t SET v = 'x' WHERE id = 5")
    assert full(pair, "f", key="id").rows_updated == 1
    assert pair.is_exact("public.f")


def test_a_foreign_partition_is_read_whole_in_every_run(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE p (id integer NOT NULL, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (101)",
        "INSERT INTO p SELECT i, 'here' FROM generate_series(1, 100) i",
        "CREATE TABLE far (id integer NOT NULL, v text)",
        "INSERT INTO far SELECT i, 'far' FROM generate_series(101, 120) i",
        *FOREIGN,
        "CREATE FOREIGN TABLE p_2 PARTITION OF p FOR VALUES FROM (101) TO (1000) "
        "SERVER here OPTIONS (table_name 'far')",
        # A unique index cannot span foreign partitions, so the key is on the whole tree only.
    )
    assert full(pair, "p").rows_inserted == 120
    pair.source("UPDATE far SET v = 'new' WHERE id = 110", "UPDATE p_1 SET v = 'x' WHERE id = 1")
    full(pair, "p")
    assert pair.is_exact("public.p")


def test_an_inheritance_parent_is_read_alone_or_with_its_children(pair: Pair) -> None:
    pair.source(
        CREATE,
        FILL,
        "CREATE TABLE child (extra text) INHERITS (t)",
        "INSERT INTO child SELECT i, 'child', 'x' FROM generate_series(101, 110) i",
    )
    with pytest.raises(UnsupportedRelation, match="inherit") as caught:
        pair.sync()
    assert "only: true" in caught.value.remedy
    assert pair.sync(only=True).rows_inserted == 100
    pair.source("UPDATE child SET v = 'y'", "UPDATE ONLY t SET v = 'z' WHERE id = 1")
    assert pair.sync(only=True).rows_exported == 1
    assert full(pair, "t", key="id").rows_inserted == 10
    assert pair.is_exact()


def test_a_table_without_a_key_is_kept_equal_row_by_row(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (n numeric, j json, p point, v text)",
        "INSERT INTO t SELECT i % 10, json_build_object('a', i % 3), point(i % 2, 0), NULLIF(i % 4, 0)::text "
        "FROM generate_series(1, 200) i",
    )
    with pytest.raises(UnusableKey, match="neither a primary key"):
        pair.sync()
    assert full(pair, "t").rows_inserted == 200
    before = pair.target("SELECT ctid, xmin FROM t ORDER BY ctid")
    pair.source(
        "DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 7)",
        "INSERT INTO t SELECT * FROM t LIMIT 3",
        "UPDATE t SET n = 1.0 WHERE ctid = (SELECT ctid FROM t WHERE n = 1 LIMIT 1)",
        "UPDATE t SET v = '' WHERE ctid = (SELECT ctid FROM t WHERE v IS NULL LIMIT 1)",
    )
    receipt = full(pair, "t")
    assert receipt.rows_deleted - receipt.rows_inserted == 4
    assert receipt.rows_deleted <= 9
    assert pair.is_exact()
    after = set(pair.target("SELECT ctid, xmin FROM t"))
    assert len(set(before) - after) == receipt.rows_deleted
    assert full(pair, "t").rows_written == 0


def test_a_role_with_rights_to_the_parent_alone_reads_through_it(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (51)",
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (51) TO (1000)",
        FILL,
        "CREATE TABLE t_3 (id integer NOT NULL, v text)",
        "INSERT INTO t_3 VALUES (1000, 'old')",
    )
    with reading_role(pair) as reader:
        assert reader.sync(deletes="hard").rows_inserted == 100
        pair.source(
            "UPDATE t SET v = 'x' WHERE id IN (3, 60)",
            "DELETE FROM t WHERE id = 7",
            "ALTER TABLE t ATTACH PARTITION t_3 FOR VALUES FROM (1000) TO (2000)",
        )
        receipt = reader.sync(deletes="hard")
        assert (receipt.rows_updated, receipt.rows_inserted, receipt.rows_deleted) == (2, 1, 1)
        assert receipt.rows_exported == 3
        assert pair.is_exact()


def test_column_grants_are_not_enough_and_the_grant_is_named(pair: Pair) -> None:
    pair.source(CREATE)
    with (
        reading_role(pair, "SELECT (id, v) ON t") as reader,
        pytest.raises(PrivilegeError, match="GRANT SELECT ON"),
    ):
        reader.sync()


def test_a_table_swapped_by_rename_is_read_whole(pair: Pair) -> None:
    pair.source(
        CREATE,
        FILL,
        "CREATE TABLE next (LIKE t INCLUDING ALL)",
        "INSERT INTO next VALUES (1, 'new'), (200, 'n')",
    )
    pair.sync(deletes="hard")
    pair.source("ALTER TABLE t RENAME TO last", "ALTER TABLE next RENAME TO t")
    receipt = pair.sync(deletes="hard", confirm_deletes=99)
    assert "t is new" in receipt.reason
    assert "1 partition is gone" in receipt.events
    assert (receipt.rows_updated, receipt.rows_inserted, receipt.rows_deleted) == (1, 1, 99)
    assert pair.is_exact()


@pytest.mark.parametrize("change", ["VACUUM FULL t", "CLUSTER t USING t_pkey"])
def test_a_rewritten_table_is_not_sent_again(pair: Pair, change: str) -> None:
    moved(pair, change)


def test_a_table_moved_to_another_tablespace_is_not_sent_again(pair: Pair) -> None:
    pair.source(
        "SET allow_in_place_tablespaces = on",
        "DROP TABLESPACE IF EXISTS elsewhere",
        "CREATE TABLESPACE elsewhere LOCATION ''",
    )
    moved(pair, "ALTER TABLE t SET TABLESPACE elsewhere")
    pair.source("DROP TABLE t", "DROP TABLESPACE elsewhere")


def moved(pair: Pair, change: str) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes="hard")
    pair.source(change, "UPDATE t SET v = 'x' WHERE id = 1", "DELETE FROM t WHERE id = 2")
    receipt = pair.sync(deletes="hard")
    assert (receipt.rows_exported, receipt.rows_deleted) == (1, 1)
    assert receipt.events == ("public.t was truncated or rewritten",)
    assert pair.is_exact()


def test_a_truncate_is_an_event_under_ignore_and_a_delete_under_hard(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    pair.source("TRUNCATE t", "INSERT INTO t VALUES (1, 'again')")
    receipt = pair.sync()
    assert receipt.events == ("public.t was truncated or rewritten",)
    assert (receipt.rows_updated, receipt.rows_deleted) == (1, 0)
    assert pair.target("SELECT count(*) FROM t") == [(100,)]
    assert pair.sync(deletes="hard").rows_deleted == 99
    assert pair.is_exact()


def test_a_detached_partition_is_an_event_and_its_rows_stay_under_ignore(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (51)",
        "CREATE TABLE t_2 PARTITION OF t DEFAULT",
        FILL,
    )
    pair.sync()
    pair.source("ALTER TABLE t DETACH PARTITION t_1")
    receipt = pair.sync()
    assert receipt.events == ("1 partition is gone",)
    assert pair.target("SELECT count(*) FROM t") == [(100,)]
    assert pair.sync(deletes="hard").rows_deleted == 50
    assert pair.is_exact()


@pytest.mark.parametrize(
    ("create", "said"),
    [
        ("CREATE SEQUENCE s", "a sequence"),
        ("CREATE TYPE s AS (x integer)", "a composite type"),
        ("CREATE TABLE t (id integer PRIMARY KEY); CREATE INDEX s ON t (id)", "an index"),
    ],
)
def test_what_holds_no_rows_is_refused(pair: Pair, create: str, said: str) -> None:
    pair.source(create)
    with pytest.raises(UnsupportedRelation, match=said):
        full(pair, "s")
