"""A partition, or the table of all sources, that hands other than ours have made or changed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import pytest

from sync_assets.engine import PartitionOf, RelationName, errors
from sync_assets.engine.merge import merge
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.session import Cursor
from sync_assets.engine.run.first_load import by_pieces
from sync_assets_tests.fixtures.pair import Pair, eventually, let_backslashes_escape
from sync_assets_tests.fixtures.servers import both_ways
from sync_assets_tests.scenarios.sources.test_partition_of import WHOLE, made, synced, there

pytestmark = both_ways

ORDERS = RelationName("public", "orders")
EUROPE = PartitionOf(ORDERS, "region", "europe")


def mend(pair: Pair, refused: pytest.ExceptionInfo[errors.SyncError]) -> None:
    """Run the statements of a remedy on the target."""
    statements = re.findall(r"ALTER TABLE [^;]+;", str(refused.value.remedy))
    assert statements
    pair.target(*statements)


def test_tables_of_many_sources_in_a_new_schema_are_made_at_one_time(pair: Pair) -> None:
    names = [f"kind_{number}" for number in range(6)]
    for name in names:
        pair.source(
            f"CREATE TABLE {name} (id integer PRIMARY KEY)", f"INSERT INTO {name} VALUES (1)"
        )

    def first(name: str) -> int:
        whole = PartitionOf(RelationName("analytics", name), "region", "eu")
        engine, ends = pair.engine(), (f"public.{name}", f"public.{name}_eu")
        return engine.copy_table_data(*ends, "xmin_incremental", partition_of=whole).rows_inserted

    with ThreadPoolExecutor(len(names)) as threads:
        assert list(threads.map(first, names)) == [1] * len(names)


def test_a_load_that_is_ended_goes_on_under_another_value(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_pieces, "LEAST", 2)
    made(pair, "eu", rows=60_000)
    pair.target(
        WHOLE,
        "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'not now'; END $$",
        "CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION no()",
    )
    with pytest.raises(errors.SyncError):
        synced(pair, "eu")
    pair.target("DROP EVENT TRIGGER no")
    assert "pieces" in synced(pair, "eu", partition_of=EUROPE).reason
    assert pair.target("SELECT region, count(*) FROM orders GROUP BY 1") == [("europe", 60_000)]
    pair.source("INSERT INTO eu.orders VALUES (0, 'new')")
    assert synced(pair, "eu", partition_of=EUROPE).rows_inserted == 1


@pytest.mark.parametrize("definition", ["text", "varchar(9) DEFAULT 'eu'", "text DEFAULT 'us'"])
def test_a_column_that_does_not_say_the_value_is_not_taken_for_ours(
    pair: Pair, definition: str
) -> None:
    made(pair, "eu")
    synced(pair, "eu", partition_of=None)
    pair.target(f"ALTER TABLE orders_eu ADD region {definition}")
    with pytest.raises(errors.SchemaConflict, match="'region' of public") as refused:
        synced(pair, "eu")
    mend(pair, refused)
    synced(pair, "eu")
    assert there(pair, "eu")


def test_a_partition_whose_table_is_no_longer_named_follows_once_it_is_taken_out(
    pair: Pair,
) -> None:
    made(pair, "eu", "us")
    for region in ("eu", "us"):
        synced(pair, region)
    for region, change in (("eu", "ADD note text DEFAULT 'n'"), ("us", "RENAME v TO w")):
        pair.source(f"ALTER TABLE {region}.orders {change}")
        with pytest.raises(errors.SchemaConflict, match=r"partition of public\.orders") as refused:
            synced(pair, region, partition_of=None)
        mend(pair, refused)
        synced(pair, region, partition_of=None)
    assert pair.target("SELECT DISTINCT note FROM orders_eu") == [("n",)]
    assert pair.target("SELECT count(w) FROM orders_us") == [(4,)]


def test_a_partition_of_another_table_joins_once_it_is_taken_out(pair: Pair) -> None:
    made(pair, "eu")
    synced(pair, "eu")
    pair.target("ALTER TABLE orders RENAME TO everything")
    pair.source("INSERT INTO eu.orders VALUES (5, 'five')")
    with pytest.raises(errors.SchemaConflict, match=r"partition of public\.everything") as refused:
        synced(pair, "eu")
    mend(pair, refused)
    assert synced(pair, "eu").rows_inserted == 1
    assert there(pair, "eu")


IN_THE_WAY = {
    "a collation": (WHOLE.replace("region text", 'region text COLLATE "C"'), "the collation of"),
    "a generated column": (
        WHOLE.replace("region text", "region text, g integer GENERATED ALWAYS AS (id) STORED"),
        '"g"',
    ),
    "a check": (WHOLE.replace("region text", "region text, CONSTRAINT c CHECK (id > 0)"), '"c"'),
    "a partition": (
        f"{WHOLE}; CREATE TABLE two PARTITION OF orders FOR VALUES IN ('eu', 'us')",
        '"two"',
    ),
    "another table's rows": (
        f"CREATE TABLE ids (id integer PRIMARY KEY); {WHOLE.replace('integer', 'integer REFERENCES ids')}",
        '"orders_id_fkey"',
    ),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_keeps_the_target_from_being_a_partition_is_named(pair: Pair, case: str) -> None:
    statement, said = IN_THE_WAY[case]
    made(pair, "eu")
    pair.target(statement)
    with pytest.raises(errors.SchemaConflict, match=said) as refused:
        synced(pair, "eu")
    assert refused.value.phase == ("merge" if "rows" in case else "plan")
    assert "DROP TABLE" not in str(refused.value.remedy)
    assert "in partition_of" in str(refused.value.remedy)


def test_a_partition_that_somebody_else_has_made_takes_rows(pair: Pair) -> None:
    made(pair, "eu")
    pair.target(
        WHOLE,
        "CREATE TABLE orders_eu PARTITION OF orders (PRIMARY KEY (id)) FOR VALUES IN ('eu')",
    )
    synced(pair, "eu")
    assert there(pair, "eu")
    pair.source("INSERT INTO eu.orders VALUES (5, 'five')")
    assert synced(pair, "eu", history=True).rows_inserted == 1


def test_a_partition_is_not_told_by_another_column_than_it_is(pair: Pair) -> None:
    made(pair, "eu")
    synced(pair, "eu")
    with pytest.raises(errors.SchemaConflict, match='a list of "area"'):
        synced(pair, "eu", partition_of=PartitionOf(ORDERS, "area", "eu"))


@pytest.mark.parametrize("change", ["ALTER v DROP NOT NULL", "DROP v"])
def test_a_column_that_must_not_be_null_for_all_is_named_once_one_lets_it(
    pair: Pair, change: str
) -> None:
    made(pair, "eu")
    pair.target(WHOLE.replace("v text", "v text NOT NULL"))
    synced(pair, "eu")
    pair.source(f"ALTER TABLE eu.orders {change}", "INSERT INTO eu.orders (id) VALUES (5)")
    with pytest.raises(errors.SchemaConflict, match="'v' of public") as refused:
        synced(pair, "eu")
    mend(pair, refused)
    assert synced(pair, "eu").rows_inserted == 1


def test_a_partition_that_is_half_out_waits_and_nobody_gains_a_column_meanwhile(pair: Pair) -> None:
    made(pair, "eu", "us")
    for region in ("eu", "us"):
        synced(pair, region)
    detach = "ALTER TABLE orders DETACH PARTITION orders_eu CONCURRENTLY"
    pending = "SELECT bool_or(inhdetachpending) FROM pg_inherits"
    cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '% CONCURRENTLY'"
    with closing(psycopg2.connect(pair.target_url)) as reader, ThreadPoolExecutor() as threads:
        with reader.cursor() as cursor:
            cursor.execute("SELECT FROM orders")
        detaching = threads.submit(pair.target, detach)
        assert eventually(lambda: pair.target(pending) == [(True,)])
        pair.target(cancel)
        with pytest.raises(psycopg2.errors.QueryCanceled):
            detaching.result()
    pair.source("ALTER TABLE us.orders ADD note text", "INSERT INTO eu.orders VALUES (5, 'five')")
    for region in ("us", "eu"):
        with pytest.raises(errors.SchemaConflict, match="CONCURRENTLY") as refused:
            synced(pair, region)
    mend(pair, refused)
    for region in ("us", "eu"):
        synced(pair, region)
    assert there(pair, "eu", "us")


def test_a_table_of_all_that_goes_while_a_run_reads_has_it_run_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(pair, "eu")
    synced(pair, "eu")
    pair.source("INSERT INTO eu.orders VALUES (5, 'five')")

    lock_wholes = merge.lock_wholes

    def late(cursor: Cursor, plans: Iterable[Plan]) -> None:
        pair.target("ALTER TABLE orders DETACH PARTITION orders_eu", "DROP TABLE orders")
        lock_wholes(cursor, plans)

    with monkeypatch.context() as context:
        context.setattr(merge, "lock_wholes", late)
        with pytest.raises(errors.ConcurrentRun, match="gone"):
            synced(pair, "eu")
    assert synced(pair, "eu").rows_inserted == 1
    assert there(pair, "eu")


def test_who_reads_a_partition_and_then_all_is_not_caught_in_a_circle(pair: Pair) -> None:
    made(pair, "eu", "us")
    for region in ("eu", "us"):
        synced(pair, region)
    pair.source("ALTER TABLE us.orders ADD note text", "UPDATE us.orders SET note = 'n'")
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with closing(psycopg2.connect(pair.target_url)) as reader, ThreadPoolExecutor() as threads:
        with reader.cursor() as cursor:
            cursor.execute("SELECT FROM orders_eu")
            run = threads.submit(synced, pair, "us")
            assert eventually(lambda: pair.target(waits) == [(1,)])
            for _ in range(3):
                cursor.execute("SELECT FROM orders")
        reader.rollback()
        assert run.result().rows_updated == 4
    assert there(pair, "us", "eu", columns="id, v")


def test_a_value_with_a_backslash_is_itself_whatever_a_backslash_means_to_the_role(
    pair: Pair,
) -> None:
    made(pair, "eu")
    ((database,),) = pair.target("SELECT current_database()")
    let_backslashes_escape(pair.target_url)
    odd = PartitionOf(ORDERS, "region", "a\\b' || version() || '\\")
    for _ in range(2):
        synced(pair, "eu", partition_of=odd)
        pair.source("UPDATE eu.orders SET v = v || '.'")
    pair.target(f"ALTER DATABASE {database} RESET standard_conforming_strings")
    assert pair.target("SELECT DISTINCT region FROM orders") == [(odd.value,)]
