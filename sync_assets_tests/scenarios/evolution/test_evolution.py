"""The target follows a source whose columns change, and its rows end exact."""

from __future__ import annotations

from typing import Any

import pytest

from sync_assets.engine import Receipt
from sync_assets.engine.errors import SchemaConflict, SchemaNotApproved
from sync_assets.engine.table import OnSchemaChange
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v varchar(20) NOT NULL, n integer)"
FILL = "INSERT INTO t SELECT i, 'v' || i, i FROM generate_series(1, 50) i"
PLACES = "SELECT id, ctid, xmin FROM t ORDER BY id"


def synced(pair: Pair, *statements: str) -> None:
    pair.source(*(statements or (CREATE, FILL)))
    pair.sync()
    assert pair.is_exact()


def follow(pair: Pair, *statements: str, **options: Any) -> Receipt:
    """Change the source, sync, and see that both ends are the same."""
    pair.source(*statements)
    receipt = pair.sync(**options)
    assert pair.is_exact()
    assert pair.leftovers() == []
    return receipt


def type_of(pair: Pair, column: str) -> str:
    ((found,),) = pair.target(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
        f"WHERE attrelid = 't'::regclass AND attname = '{column}'"
    )
    return str(found)


@pytest.mark.parametrize(
    "column",
    [
        "c integer DEFAULT 7",
        "c integer",
        "c text NOT NULL DEFAULT 'it''s \"so\", {1}'",
        "c text DEFAULT ''",
        "c integer[] DEFAULT '{1,NULL,3}'",
        "c box DEFAULT '((1,1),(0,0))'",
        "c timestamptz DEFAULT '2026-01-02 03:04:05.678+09'",
        "c interval DEFAULT '-1 day -01:00'",
        "c mood DEFAULT 'b'",
        "c pair_of DEFAULT '(1,\"a,b\")'",
        "c numeric(30,10) DEFAULT 'NaN'",
        'c jsonb DEFAULT \'{"a": [1, "x,y"]}\'',
        "c bytea DEFAULT '\\x00ff'",
    ],
)
def test_an_added_column_s_default_reaches_the_rows_there_without_reading_or_rewriting_them(
    pair: Pair, column: str
) -> None:
    synced(
        pair,
        "CREATE TYPE mood AS ENUM ('a', 'b')",
        "CREATE TYPE pair_of AS (x integer, y text)",
        CREATE,
        FILL,
    )
    before = pair.target(PLACES)
    receipt = follow(pair, f"ALTER TABLE t ADD COLUMN {column}")
    assert receipt.rows_exported == 0
    assert pair.target(PLACES) == before
    if "NOT NULL" not in column:
        follow(pair, "INSERT INTO t (id, v, c) VALUES (51, 'x', NULL)")


def test_a_default_that_differs_by_row_is_read_from_the_source(pair: Pair) -> None:
    synced(pair)
    receipt = follow(pair, "ALTER TABLE t ADD COLUMN c float DEFAULT random()")
    assert receipt.rows_updated == 50


def test_a_default_before_a_rewrite_is_read_from_the_source(pair: Pair) -> None:
    synced(pair)
    receipt = follow(pair, "ALTER TABLE t ADD COLUMN c integer DEFAULT 5", "VACUUM FULL t")
    assert receipt.rows_updated == 50


def test_partitions_whose_old_rows_differ_are_read_whole(pair: Pair) -> None:
    synced(
        pair,
        "CREATE TABLE t (id integer PRIMARY KEY, gone integer, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (1) TO (100)",
        "CREATE TABLE t_2 (v text, old integer, id integer NOT NULL, gone integer)",
        "ALTER TABLE t_2 DROP COLUMN old",
        "ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM (100) TO (200)",
        "INSERT INTO t SELECT i, i, 'v' || i FROM generate_series(1, 150) i",
    )
    receipt = follow(pair, "ALTER TABLE t DROP COLUMN gone", "ALTER TABLE t ADD c int DEFAULT 1")
    assert receipt.rows_exported == 0
    receipt = follow(
        pair,
        "ALTER TABLE t DETACH PARTITION t_2",
        "ALTER TABLE t_2 ADD COLUMN d int DEFAULT 2",
        "ALTER TABLE t ADD COLUMN d int DEFAULT 3",
        "ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM (100) TO (200)",
    )
    assert receipt.rows_updated == 150
    # Under the same name another column of the partition, with rows as old as ever.
    receipt = follow(
        pair,
        "ALTER TABLE t DETACH PARTITION t_2",
        "ALTER TABLE t_2 DROP COLUMN d",
        "ALTER TABLE t_2 ADD COLUMN d int DEFAULT 4",
        "ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM (100) TO (200)",
    )
    assert receipt.rows_updated == 51


def test_a_dropped_column_stays_on_the_target_and_is_written_no_more(pair: Pair) -> None:
    synced(pair)
    follow(pair, "ALTER TABLE t DROP COLUMN v", "INSERT INTO t VALUES (51, 51)")
    assert pair.target("SELECT count(v), count(*) FROM t") == [(50, 51)]


def test_a_column_dropped_and_added_again_is_loaded_anew(pair: Pair) -> None:
    synced(pair)
    follow(pair, "ALTER TABLE t DROP COLUMN n", "ALTER TABLE t DROP v", "ALTER TABLE t ADD v text")
    follow(pair, "ALTER TABLE t DROP v", "ALTER TABLE t ADD v integer", deletes="hard")
    follow(pair, "ALTER TABLE t ADD COLUMN n text DEFAULT 'x'", deletes="hard")


def test_renamed_columns_are_renamed_and_no_row_is_read(pair: Pair) -> None:
    synced(pair)
    before = pair.target(PLACES)
    receipt = follow(
        pair, "ALTER TABLE t RENAME COLUMN v TO w", "ALTER TABLE t ALTER w TYPE varchar(30)"
    )
    assert receipt.rows_exported == 0
    assert pair.target(PLACES) == before
    assert type_of(pair, "w") == "character varying(30)"
    follow(
        pair, "ALTER TABLE t RENAME COLUMN id TO key", "DELETE FROM t WHERE key = 1", deletes="hard"
    )


def test_columns_that_take_each_other_s_names_keep_their_values(pair: Pair) -> None:
    synced(pair)
    follow(
        pair,
        "ALTER TABLE t RENAME COLUMN v TO x",
        "ALTER TABLE t RENAME COLUMN n TO v",
        "ALTER TABLE t RENAME COLUMN x TO n",
    )
    assert type_of(pair, "v") == "integer"


def test_a_dropped_column_makes_way_for_the_one_that_takes_its_name(pair: Pair) -> None:
    synced(pair)
    before = pair.target(PLACES)
    follow(pair, "ALTER TABLE t DROP COLUMN n", "ALTER TABLE t RENAME COLUMN v TO n")
    assert type_of(pair, "n") == "character varying(20)"
    assert pair.target("SELECT sum(n_dropped) FROM t") == [(1275,)]
    assert pair.target(PLACES) == before
    follow(pair, "ALTER TABLE t RENAME COLUMN n TO v", "ALTER TABLE t ADD COLUMN n integer")
    follow(pair, "ALTER TABLE t DROP COLUMN n", "ALTER TABLE t RENAME COLUMN v TO n")
    assert pair.target("SELECT count(n_dropped), count(n_dropped_2) FROM t") == [(50, 0)]


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("n", ["ALTER TABLE t DROP COLUMN n", "ALTER TABLE t RENAME COLUMN id TO n"]),
        (
            "id",
            [
                "ALTER TABLE t DROP COLUMN id",
                "ALTER TABLE t RENAME COLUMN n TO id",
                "ALTER TABLE t ADD PRIMARY KEY (id)",
            ],
        ),
    ],
    ids=["the key takes a name", "the key gives its name away"],
)
def test_a_key_is_followed_when_it_changes_names_with_a_dropped_column(
    pair: Pair, key: str, changes: list[str]
) -> None:
    synced(pair, CREATE.replace("n integer", "n integer NOT NULL"), FILL)
    before = pair.target("SELECT ctid FROM t ORDER BY id")
    follow(pair, *changes)
    assert pair.target(f"SELECT ctid FROM t ORDER BY {key}") == before
    follow(
        pair,
        f"INSERT INTO t ({key}, v) VALUES (51, 'x')",
        f"DELETE FROM t WHERE {key} = 1",
        deletes="hard",
    )


def test_a_column_whose_name_the_target_has_from_a_dropped_one_is_loaded_anew(pair: Pair) -> None:
    synced(pair, CREATE.replace("n integer", "n varchar(20)"), FILL)
    pair.target("ALTER TABLE t RENAME COLUMN v TO mine")
    follow(pair, "ALTER TABLE t DROP COLUMN n", "ALTER TABLE t RENAME COLUMN v TO n")


@pytest.mark.parametrize(
    ("column", "type_", "using"),
    [
        ("n", "bigint", "n"),
        ("n", "text", "n::text"),
        ("n", "numeric(12,2)", "n"),
        ("n", "boolean", "n > 20"),
        ("n", "timestamptz", "to_timestamp(n)"),
        ("v", "text", "v"),
        ("v", "varchar(3)", "v"),
        ("v", "integer", "substr(v, 2)::integer"),
        ("id", "bigint", "id"),
        ("id", "text", "id::text"),
    ],
)
def test_a_changed_type_is_followed(pair: Pair, column: str, type_: str, using: str) -> None:
    synced(pair)
    follow(pair, f"ALTER TABLE t ALTER {column} TYPE {type_} USING {using}", deletes="hard")
    follow(
        pair, "UPDATE t SET v = DEFAULT WHERE false", "DELETE FROM t WHERE id = '3'", deletes="hard"
    )


def test_a_value_that_does_not_convert_is_never_lost_without_being_told(pair: Pair) -> None:
    synced(pair)
    pair.source("ALTER TABLE t ALTER v TYPE integer USING length(v)")
    with pytest.raises(SchemaConflict, match="does not allow it") as caught:
        pair.sync()
    assert "on the target" in caught.value.remedy
    assert pair.target("SELECT v FROM t WHERE id = 1") == [("v1",)]
    pair.sync(deletes="hard")
    assert pair.is_exact()


@pytest.mark.parametrize(
    ("deletes", "before", "value", "after", "kept"),
    [
        ("ignore", "numeric(12,4)", "1.2345", "numeric(10,2)", "1.5"),
        ("soft", "double precision", "0.1", "real", "0.5"),
        ("ignore", "timestamptz", "2026-01-02 03:04:05+09", "date", "2026-01-02 00:00:00+00"),
        ("ignore", "text", "007", "integer", "7"),
        ("soft", "text", "no number", "integer", "7"),
        ("ignore", "json", '{"a":1,"a":2}', "jsonb", '{"a": 1}'),
    ],
)
def test_a_row_that_only_the_target_has_loses_nothing_by_another_type(
    pair: Pair, deletes: str, before: str, value: str, after: str, kept: str
) -> None:
    synced(
        pair,
        f"CREATE TABLE t (id integer PRIMARY KEY, v {before})",
        f"INSERT INTO t VALUES (1, '{value}'), (2, '{kept}'), (3, '{kept}'), (4, NULL)",
    )
    pair.source("DELETE FROM t WHERE id < 3", "UPDATE t SET id = 33 WHERE id = 3")
    pair.sync(deletes=deletes)
    pair.source(
        "ALTER TABLE t ALTER id TYPE bigint, "
        f"ALTER v TYPE {after} USING '{kept}'::{before}::{after}"
    )
    with pytest.raises(SchemaConflict, match="that only the target has would not keep") as caught:
        pair.sync(deletes=deletes)
    assert "on the target" in caught.value.remedy
    assert pair.target(f"SELECT v::text = '{value}'::{before}::text FROM t WHERE id = 1") == [
        (True,)
    ]
    pair.target("DELETE FROM t WHERE id = 1")
    pair.sync(deletes=deletes)
    assert type_of(pair, "v") == after
    gone = "ARRAY(SELECT id FROM t ORDER BY id), count(v)"
    assert pair.target(f"SELECT {gone} FROM t") == [([2, 3, 4, 33], 4)]


def test_a_view_on_the_target_that_holds_a_type_is_named(pair: Pair) -> None:
    synced(pair)
    pair.target("CREATE VIEW watched AS SELECT n FROM t")
    pair.source("ALTER TABLE t ALTER n TYPE text")
    with pytest.raises(SchemaConflict, match=r"view public\.watched"):
        pair.sync()


def test_grants_views_and_foreign_keys_survive_what_changes_beside_them(pair: Pair) -> None:
    synced(pair)
    pair.target(
        "GRANT SELECT ON t TO PUBLIC",
        "CREATE VIEW watched AS SELECT id, v FROM t",
        "CREATE TABLE child (t integer REFERENCES t)",
        "INSERT INTO child VALUES (1)",
    )
    follow(
        pair,
        "ALTER TABLE t RENAME v TO w",
        "ALTER TABLE t ADD c int DEFAULT 1",
        "ALTER TABLE t ALTER n TYPE bigint",
    )
    assert pair.target("SELECT count(*) FROM watched, child WHERE t = id") == [(1,)]
    assert pair.target("SELECT has_table_privilege('public', 't', 'SELECT')") == [(True,)]


def test_not_null_is_dropped_with_the_source_and_not_added(pair: Pair) -> None:
    synced(pair)
    follow(
        pair,
        "ALTER TABLE t ALTER v DROP NOT NULL",
        "UPDATE t SET v = NULL WHERE id = 1",
        "UPDATE t SET n = 0",
        "ALTER TABLE t ALTER n SET NOT NULL",
    )
    assert pair.target(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = 't'::regclass "
        "AND attnum > 0 AND attnotnull"
    ) == [("id",)]


def test_enum_labels_domains_and_composites_are_followed(pair: Pair) -> None:
    synced(
        pair,
        "CREATE TYPE mood AS ENUM ('a', 'b', 'c')",
        "CREATE DOMAIN small AS integer NOT NULL CHECK (VALUE < 10)",
        "CREATE TYPE pair_of AS (x integer, y text)",
        "CREATE TABLE t (id integer PRIMARY KEY, m mood, s small, p pair_of, ms mood[])",
        "INSERT INTO t VALUES (1, 'a', 1, '(1,a)', '{a,b}'), (2, 'b', 2, NULL, NULL)",
    )
    before = pair.target(PLACES)
    receipt = follow(
        pair,
        "ALTER TYPE mood RENAME VALUE 'a' TO 'x'",
        "ALTER TYPE mood RENAME VALUE 'b' TO 'a'",
        "ALTER TYPE mood RENAME VALUE 'x' TO 'b'",
        "ALTER TYPE mood ADD VALUE 'd' BEFORE 'c'",
        "ALTER DOMAIN small DROP CONSTRAINT small_check",
        "ALTER TYPE pair_of RENAME ATTRIBUTE x TO z",
    )
    assert receipt.rows_exported == 0
    assert pair.target(PLACES) == before
    follow(
        pair,
        "ALTER TYPE pair_of ADD ATTRIBUTE w integer",
        "INSERT INTO t VALUES (3, 'd', 100, '(3,c,4)', '{d}')",
    )
    follow(pair, "ALTER TYPE mood RENAME TO feeling", "INSERT INTO t VALUES (4, 'c', 1)")


def test_another_primary_key_is_followed(pair: Pair) -> None:
    synced(pair, CREATE.replace("n integer", "n integer NOT NULL"), FILL)
    follow(
        pair,
        "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (n)",
        "UPDATE t SET id = 1 WHERE n < 5",
    )
    assert pair.sync().rows_exported == 0


def test_any_difference_is_refused_where_the_table_says_so(pair: Pair) -> None:
    synced(pair)
    strict = {"on_schema_change": OnSchemaChange.FAIL}
    pair.sync(**strict)
    pair.source(
        "ALTER TABLE t ADD c integer",
        "ALTER TABLE t RENAME v TO w",
        "ALTER TABLE t ALTER n TYPE bigint",
    )
    with pytest.raises(SchemaConflict) as caught:
        pair.sync(**strict)
    for said in (
        '"c" integer was added',
        '"v" was renamed to "w"',
        '"n" was integer and is bigint',
    ):
        assert said in caught.value.message
    pair.sync()
    pair.sync(**strict)
    assert pair.is_exact()


def test_a_change_is_taken_once_that_very_change_is_approved(pair: Pair) -> None:
    synced(pair)
    asks: dict[str, Any] = {"on_schema_change": OnSchemaChange.ASK}
    assert pair.sync(**asks).schema_changes == ()
    pair.source("ALTER TABLE t ADD c integer DEFAULT 7")
    with pytest.raises(SchemaNotApproved, match=r"sync-assets approve public\.t") as caught:
        pair.sync(**asks)
    assert caught.value.changes == ('"c" integer was added',)
    approved = {**asks, "approved_changes": (caught.value.change,)}
    assert pair.target("SELECT count(*) FROM pg_attribute WHERE attname = 'c'") == [(0,)]
    pair.source("ALTER TABLE t ADD d integer")
    with pytest.raises(SchemaNotApproved) as more:
        pair.sync(**approved)
    assert more.value.changes == (*caught.value.changes, '"d" integer was added')
    pair.source("ALTER TABLE t DROP d")
    receipt = pair.sync(**approved)
    assert receipt.schema_changes == caught.value.changes
    assert pair.sync(**asks).schema_changes == ()
    assert pair.is_exact()


def test_all_columns_that_do_not_fit_are_named_at_once(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.target("CREATE TABLE t (id smallint PRIMARY KEY, v varchar(10), n text)")
    with pytest.raises(SchemaConflict) as caught:
        pair.sync()
    assert all(f"column '{name}'" in caught.value.message for name in ("id", "v", "n"))


def test_a_generated_column_and_an_identity_arrive_as_plain_ones_with_comments(pair: Pair) -> None:
    synced(
        pair,
        "CREATE TABLE t (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a integer, "
        "twice integer GENERATED ALWAYS AS (a * 2) STORED)",
        "INSERT INTO t (a) VALUES (1), (2)",
        "COMMENT ON TABLE t IS 'it''s a table'",
        "COMMENT ON COLUMN t.a IS 'a, 100 %'",
    )
    assert pair.target(
        "SELECT obj_description('t'::regclass, 'pg_class'), col_description('t'::regclass, 2)"
    ) == [("it's a table", "a, 100 %")]
