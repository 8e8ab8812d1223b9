"""The target: made like the source, taken as it is, or refused in words."""

from __future__ import annotations

import pytest

from sync_assets.engine import RelationName, Table, read_status
from sync_assets.engine.errors import (
    ConcurrentRun,
    ConfigurationError,
    NoSuchRelation,
    SchemaConflict,
    SyncError,
    UnsupportedRelation,
    UnusableKey,
)
from sync_assets_tests.fixtures.pair import Pair, eventually, reading_role
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v varchar(20), w text NOT NULL DEFAULT 'w')"
FILL = "INSERT INTO t (id, v) SELECT i, i::text FROM generate_series(1, 100) i"


def test_a_table_made_by_hand_is_taken_over_and_only_differences_are_written(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.target(
        "CREATE TABLE t (w text, extra text DEFAULT 'mine', id bigint PRIMARY KEY, v text)",
        "INSERT INTO t (id, v, w) SELECT i, i::text, 'w' FROM generate_series(1, 60) i",
        "GRANT SELECT ON t TO PUBLIC",
        "CREATE VIEW seen AS SELECT id FROM t",
    )
    receipt = pair.sync()
    assert (receipt.rows_unchanged, receipt.rows_inserted) == (60, 40)
    assert "was there before" in receipt.reason
    assert pair.is_exact()
    assert pair.target("SELECT count(*) FROM seen, t WHERE extra = 'mine' AND t.id = seen.id") == [
        (100,)
    ]
    assert pair.target("SELECT count(*) FROM t WHERE source_xmin IS NULL") == [(60,)]


def test_a_key_is_the_same_whatever_the_order_of_its_columns_on_the_target(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer, code text, v text, PRIMARY KEY (id, code))",
        "INSERT INTO t SELECT i, 'c' || i, 'v' FROM generate_series(1, 100) i",
    )
    pair.target("CREATE TABLE t (id integer, code text, v text, PRIMARY KEY (code, id))")
    pair.sync()
    pair.source("UPDATE t SET v = 'w' WHERE id = 7")
    # The rows that the first run saw newest are looked for by that key, and found.
    receipt = pair.sync()
    assert not receipt.full
    assert receipt.rows_updated == 1
    assert pair.is_exact()


def test_a_column_added_on_the_source_arrives_with_all_its_values(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    pair.source("ALTER TABLE t ADD COLUMN added integer DEFAULT 7")
    assert pair.sync().rows_exported == 0
    assert pair.is_exact()


def test_a_target_dropped_or_truncated_by_somebody_is_filled_again(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    pair.target("TRUNCATE t")
    assert pair.sync().rows_inserted == 100
    pair.target("DROP TABLE t")
    assert pair.sync().rows_inserted == 100
    assert pair.is_exact()


def test_partitions_are_read_one_by_one_and_an_attached_one_is_loaded_whole(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
        "CREATE TABLE t_d PARTITION OF t DEFAULT PARTITION BY HASH (id)",
        "CREATE TABLE t_d1 PARTITION OF t_d FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE t_d2 PARTITION OF t_d FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "INSERT INTO t SELECT i, date '2026-01-01' + i % 60, 'x' FROM generate_series(1, 1000) i",
        "CREATE TABLE t_2 (v text, day date NOT NULL, gone int, id integer NOT NULL)",
        "ALTER TABLE t_2 DROP COLUMN gone",
        "INSERT INTO t_2 SELECT 'old', '2020-01-01', i FROM generate_series(1, 10) i",
    )
    assert pair.sync().leaves == 3
    pair.source(
        "ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')",
        "UPDATE t SET day = '2026-03-15' WHERE id = 1 AND day > '2026-01-01'",
        "UPDATE t SET v = 'y' WHERE id = 7",
    )
    receipt = pair.sync()
    assert "t_2 is new" in receipt.reason
    pair.engine().copy_table_data("t", "t")
    assert pair.is_exact()


def test_an_empty_table_is_created_empty(pair: Pair) -> None:
    pair.source(CREATE)
    receipt = pair.sync()
    assert (receipt.rows_exported, receipt.source_max_xmin) == (0, None)
    assert pair.engine().get_source_max_xmin("t") is None
    pair.source(FILL)
    assert pair.sync().rows_inserted == 100
    assert pair.is_exact()


REFUSALS: list[tuple[list[str], list[str], dict[str, str], type[SyncError], str]] = [
    ([], [], {}, NoSuchRelation, "no table public.t"),
    (["CREATE TABLE T2 (id int)"], [], {}, NoSuchRelation, "no table public.t"),
    (["CREATE TABLE t (v text)"], [], {}, UnusableKey, "neither a primary key"),
    (["CREATE TABLE t (id int UNIQUE)"], [], {}, UnusableKey, "neither a primary key"),
    (
        ["CREATE TABLE t (id int NOT NULL)", "CREATE UNIQUE INDEX ON t (id) WHERE id > 0"],
        [],
        {},
        UnusableKey,
        "neither a primary key",
    ),
    ([CREATE], [], {"key": "v"}, UnusableKey, "covers exactly v"),
    ([CREATE], [], {"key": "nope"}, UnusableKey, "'nope'"),
    (["CREATE VIEW t AS SELECT 1 AS id"], [], {}, UnsupportedRelation, "a view"),
    (["CREATE MATERIALIZED VIEW t AS SELECT 1 AS id"], [], {}, UnsupportedRelation, "materialized"),
    (
        ["CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE child () INHERITS (t)"],
        [],
        {},
        UnsupportedRelation,
        "inherit",
    ),
    (
        ["CREATE TABLE t (id int PRIMARY KEY, source_xmin int)"],
        [],
        {},
        ConfigurationError,
        "xmin_column",
    ),
    ([CREATE], ["CREATE TABLE t (id int, v text, w text)"], {}, SchemaConflict, "no unique index"),
    (
        [CREATE],
        ["CREATE TABLE t (id int PRIMARY KEY, v varchar(5), w text)"],
        {},
        SchemaConflict,
        "'v' is character varying",
    ),
    ([CREATE], ["CREATE VIEW t AS SELECT 1"], {}, SchemaConflict, "not a table"),
    (
        [CREATE],
        ["CREATE TABLE t (id int PRIMARY KEY, v text, w text, source_xmin text)"],
        {},
        SchemaConflict,
        "not bigint",
    ),
]


@pytest.mark.parametrize(("source", "target", "options", "kind", "said"), REFUSALS)
def test_what_cannot_be_synced_is_refused_before_anything_is_written(
    pair: Pair,
    source: list[str],
    target: list[str],
    options: dict[str, str],
    kind: type[SyncError],
    said: str,
) -> None:
    pair.source(*source)
    pair.target(*target)
    objects = "SELECT relname::text FROM pg_class WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_') ORDER BY 1"
    before = pair.target(objects)
    with pytest.raises(kind, match=said) as caught:
        pair.sync(**options)
    assert caught.value.table == "public.t"
    assert caught.value.remedy
    assert pair.target(objects) == before
    assert pair.leftovers() == []


@pytest.mark.from_15
def test_a_table_is_not_synced_into_itself(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    engine = Pair(pair.source_url, pair.source_url).engine()
    with pytest.raises(ConfigurationError, match="one and the same"):
        engine.copy_table_data("t", "t")


def test_a_role_without_the_right_to_read_is_told_the_grant(pair: Pair) -> None:
    pair.source(CREATE, "DROP ROLE IF EXISTS sync_reader", "CREATE ROLE sync_reader LOGIN")
    reader = Pair(pair.source_url.replace("postgres@", "sync_reader@"), pair.target_url)
    with pytest.raises(SyncError, match=r'GRANT SELECT ON "public"\."t" TO "sync_reader"'):
        reader.sync()
    pair.source("GRANT SELECT ON t TO sync_reader", FILL)
    assert reader.sync().rows_inserted == 100
    pair.source("DROP OWNED BY sync_reader", "DROP ROLE sync_reader")


def test_rows_hidden_by_a_policy_are_an_error_not_a_loss(pair: Pair) -> None:
    pair.source(
        CREATE,
        FILL,
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY half ON t USING (id < 50)",
    )
    with reading_role(pair) as reader, pytest.raises(SyncError, match="row-level security"):
        reader.sync()
    assert pair.leftovers() == []


def test_two_runs_of_one_table_one_works_and_the_other_says_so(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    refused: list[SyncError] = []

    def second(progress: object) -> None:
        if getattr(progress, "phase", "") == "merge":
            with pytest.raises(ConcurrentRun, match=r"another run works on public\.t") as caught:
                pair.sync()
            refused.append(caught.value)

    pair.engine(on_progress=second).copy_table_data("t", "t")
    assert len(refused) == 1
    assert pair.is_exact()


def test_the_same_run_asked_for_again_returns_what_it_did(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    first = pair.engine(run_id="r1").copy_table_data("t", "t")
    pair.source("UPDATE t SET v = 'x'")
    again = pair.engine(run_id="r1").copy_table_data("t", "t")
    assert again.rows_inserted == first.rows_inserted == 100
    assert pair.target("SELECT count(*) FROM t WHERE v = 'x'") == [(0,)]


def test_the_status_tells_how_old_the_data_is(pair: Pair) -> None:
    table = Table(RelationName.parse("t"), RelationName.parse("t"))
    pair.source(CREATE, FILL)
    (never,) = read_status(pair.source_url, pair.target_url, [table])
    assert never.synced_at is None
    receipt = pair.sync()
    pair.source("UPDATE t SET v = 'x'")
    (status,) = read_status(pair.source_url, pair.target_url, [table])
    assert (status.watermark, status.rows_in_target) == (receipt.watermark, 100)
    assert status.run_id == receipt.run_id
    assert status.age_seconds is not None
    assert status.age_seconds > 0
    assert status.lag_bytes is not None
    assert status.lag_bytes > 0
    assert status.lag_xids == 1


def test_a_plain_role_with_ready_made_schemas_is_enough(pair: Pair) -> None:
    pair.source("CREATE TYPE mood AS ENUM ('a')", "CREATE TABLE t (id int PRIMARY KEY, m mood)")
    pair.target(
        "DROP ROLE IF EXISTS sync_writer",
        "CREATE ROLE sync_writer LOGIN",
        "CREATE SCHEMA sync_assets AUTHORIZATION sync_writer",
        "GRANT CREATE, USAGE ON SCHEMA public TO sync_writer",
    )
    writer = Pair(pair.source_url, pair.target_url.replace("postgres@", "sync_writer@"))
    writer.sync()
    pair.source("INSERT INTO t VALUES (1, 'a')")
    assert writer.sync().rows_inserted == 1
    assert pair.is_exact()
    pair.target("DROP OWNED BY sync_writer", "DROP ROLE sync_writer")


def test_a_row_that_changes_stays_on_its_page_in_a_table_that_a_run_has_created(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, 'first' FROM generate_series(1, 2000) i",
    )
    pair.sync()
    pair.source("UPDATE t SET v = 'other' WHERE id % 100 = 0")
    assert pair.sync().rows_updated == 20
    # No index had to be told.
    told = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 't'"
    assert eventually(lambda: pair.target(told) == [(20, 20)])
