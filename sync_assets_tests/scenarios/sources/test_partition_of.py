"""Many sources come into one table, each into its own partition, and none is in another's way."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sync_assets.engine import PartitionOf, Receipt, RelationName, errors
from sync_assets.engine.inspection.idle import idle_among
from sync_assets.engine.inspection.why import why
from sync_assets.engine.run.first_load import by_pieces
from sync_assets.engine.table import SyncMode, table_of
from sync_assets_tests.fixtures.histories import broken
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways
from sync_assets_tests.scenarios.first_load.test_pieces import SMALL_PIECES

pytestmark = both_ways

XMIN = SyncMode.XMIN_INCREMENTAL

REGIONS = ("eu", "us", "apac")


def made(pair: Pair, *regions: str, rows: int = 4, columns: str = "v text NOT NULL") -> None:
    for region in regions or REGIONS:
        pair.source(
            f"CREATE SCHEMA {region}",
            f"CREATE TABLE {region}.orders (id integer PRIMARY KEY, {columns})",
            f"INSERT INTO {region}.orders (id, v) "
            f"SELECT i, '{region}' || i FROM generate_series(1, {rows}) i",
        )


def options(region: str, **more: Any) -> dict[str, Any]:
    part = PartitionOf(RelationName("public", "orders"), "region", region)
    return {"deletes": "hard", "partition_of": part, **more}


def synced(pair: Pair, region: str, mode: str = "xmin_incremental", **more: Any) -> Receipt:
    names = (f"{region}.orders", f"public.orders_{region}")
    engine = pair.engine(limits=SMALL_PIECES)
    return engine.copy_table_data(*names, mode, **options(region, **more))


def there(pair: Pair, *regions: str, columns: str = "id, v") -> bool:
    """Whether the table of all holds what these sources hold, and nothing else."""
    found = pair.target(f"SELECT region, {columns} FROM orders ORDER BY 1, 2")
    wanted = [
        (region, *row)
        for region in sorted(regions or REGIONS)
        for row in pair.source(f"SELECT {columns} FROM {region}.orders ORDER BY 1")
    ]
    return found == wanted


def test_rows_of_each_source_are_in_one_table_under_a_key_that_others_have_too(pair: Pair) -> None:
    made(pair)
    for region in REGIONS:
        synced(pair, region)
    assert there(pair)
    pair.source(
        "UPDATE eu.orders SET v = 'new' WHERE id = 1",
        "DELETE FROM us.orders WHERE id = 2",
        "INSERT INTO apac.orders VALUES (5, 'five')",
    )
    receipts = [synced(pair, region) for region in REGIONS]
    assert [(r.rows_updated, r.rows_deleted, r.rows_inserted) for r in receipts] == [
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
    ]
    assert there(pair)
    plan = pair.target("EXPLAIN (COSTS OFF) SELECT FROM orders WHERE region = 'eu' AND id = 1")
    assert "orders_us" not in str(plan)
    assert synced(pair, "eu").rows_exported == 0
    named = "SELECT DISTINCT conname FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0"
    assert pair.target(named) == [("sync_assets_region",)]


def test_first_loads_at_one_time_make_the_table_once(pair: Pair) -> None:
    for number, region in enumerate(REGIONS):
        made(pair, region, columns=f"v text, only_{number} integer")
    with ThreadPoolExecutor(len(REGIONS)) as threads:
        receipts = list(threads.map(lambda region: synced(pair, region), REGIONS))
    assert [receipt.rows_inserted for receipt in receipts] == [4, 4, 4]
    assert there(pair)
    assert pair.target("SELECT only_0, only_1, only_2 FROM orders LIMIT 1") == [(None, None, None)]


def test_a_source_that_is_emptied_or_down_leaves_the_others_rows_alone(pair: Pair) -> None:
    made(pair, rows=200)
    for region in REGIONS:
        synced(pair, region)
    pair.source(
        "DELETE FROM eu.orders", "DROP SCHEMA us CASCADE", "DELETE FROM apac.orders WHERE id = 1"
    )
    with pytest.raises(errors.DeleteGuard):
        synced(pair, "eu")
    with pytest.raises(errors.SyncError, match=r"us\.orders"):
        synced(pair, "us")
    assert synced(pair, "apac").rows_deleted == 1
    counted = pair.target("SELECT region, count(*) FROM orders GROUP BY 1 ORDER BY 1")
    assert counted == [("apac", 199), ("eu", 200), ("us", 200)]
    synced(pair, "eu", allow_empty=True, max_delete_ratio=1)
    assert pair.target("SELECT count(*) FROM orders") == [(399,)]


def test_columns_are_the_union_of_all_sources_columns(pair: Pair) -> None:
    made(pair)
    for region in REGIONS:
        synced(pair, region)
    pair.source(
        "ALTER TABLE eu.orders ADD note text",
        "ALTER TABLE us.orders ADD rank integer DEFAULT 7",
        "ALTER TABLE us.orders ADD note text",
        "UPDATE us.orders SET note = 'n' WHERE id = 1",
    )
    # Nothing is read again for a column that older rows have nothing in.
    assert synced(pair, "eu").rows_exported == 0
    assert synced(pair, "us").rows_exported == 4
    synced(pair, "apac")
    assert there(pair)
    assert there(pair, "us") is False
    assert pair.target("SELECT region, id, note FROM orders WHERE note IS NOT NULL") == [
        ("us", 1, "n")
    ]
    ranks = pair.target("SELECT region, rank, count(*) FROM orders GROUP BY 1, 2 ORDER BY 1")
    assert ranks == [("apac", None, 4), ("eu", None, 4), ("us", 7, 4)]


def test_a_column_that_two_sources_gain_at_one_time_is_that_of_both(pair: Pair) -> None:
    made(pair)
    for region in REGIONS:
        synced(pair, region)
    for region, type_ in zip(REGIONS, ("text", "text", "real"), strict=True):
        pair.source(
            f"ALTER TABLE {region}.orders ADD note {type_}",
            f"UPDATE {region}.orders SET note = 1.5",
        )
    parts = [
        table_of(f"{region}.orders", f"public.orders_{region}", XMIN, options(region))
        for region in REGIONS
    ]
    *same, other = pair.engine().sync_each(parts)
    assert [each.rows_updated for each in same if isinstance(each, Receipt)] == [4, 4]
    assert isinstance(other, errors.ConcurrentRun)
    assert "'note'" in other.message
    with pytest.raises(errors.SchemaConflict, match="'note' is real"):
        synced(pair, "apac")
    assert there(pair, "eu", "us", columns="id, v, note") is False
    synced(pair, "apac", expressions={"note": "note::text"})
    assert pair.target("SELECT region, note FROM orders WHERE id = 1 ORDER BY 1") == [
        ("apac", "1.5"),
        ("eu", "1.5"),
        ("us", "1.5"),
    ]


def test_a_column_that_one_source_renames_keeps_its_name_for_the_others(pair: Pair) -> None:
    made(pair, "eu", "us")
    for region in ("eu", "us"):
        synced(pair, region)
    pair.source("ALTER TABLE eu.orders RENAME v TO w")
    synced(pair, "eu")
    synced(pair, "us")
    assert pair.target("SELECT region, id, v, w FROM orders WHERE id = 1 ORDER BY 1") == [
        ("eu", 1, "eu1", "eu1"),
        ("us", 1, "us1", None),
    ]
    pair.source("INSERT INTO eu.orders VALUES (5, 'five')")
    assert synced(pair, "eu").rows_inserted == 1
    # By now the new name is there, and empty.
    pair.source("ALTER TABLE us.orders RENAME v TO w")
    synced(pair, "us")
    assert pair.target("SELECT count(*) FROM orders WHERE w IS NULL") == [(0,)]


def test_types_that_differ_between_sources_are_followed_or_refused_by_name(pair: Pair) -> None:
    made(pair, "eu", columns="v text, amount bigint")
    made(pair, "us", columns="v text, amount integer")
    made(pair, "apac", columns="v text, amount numeric(10,2)")
    synced(pair, "eu")
    synced(pair, "us")
    with pytest.raises(errors.SchemaConflict, match="amount") as refused:
        synced(pair, "apac")
    statement = str(refused.value.remedy).partition("ALTER")
    pair.target(statement[1] + statement[2].partition(";")[0])
    synced(pair, "apac")
    assert there(pair, columns="id, v, amount")
    pair.source("ALTER TABLE us.orders ALTER amount TYPE numeric(10,2)")
    synced(pair, "us")
    assert there(pair, columns="id, v, amount")
    pair.source("ALTER TABLE us.orders ALTER amount TYPE text")
    with pytest.raises(errors.SchemaConflict, match="amount"):
        synced(pair, "us")


def test_a_target_of_another_type_than_the_others_joins_them_once_it_is_changed(pair: Pair) -> None:
    made(pair, "eu", columns="v text, amount integer")
    made(pair, "apac", columns="v text, amount smallint")
    made(pair, "us", columns="v text, amount bigint")
    for region in ("apac", "us"):
        synced(pair, region, partition_of=None)
    for region in ("eu", "apac"):
        synced(pair, region)
    with pytest.raises(errors.SchemaConflict, match="'amount' is bigint") as refused:
        synced(pair, "us")
    for statement in re.findall(r"ALTER TABLE [^;]+;", str(refused.value.remedy)):
        pair.target(statement)
    synced(pair, "us")
    assert there(pair, columns="id, v, amount")


@pytest.mark.parametrize("types", [("uuid", "integer"), ("text", "uuid"), ("eu.tiny", "us.tiny")])
def test_types_that_have_nothing_in_common_meet_as_text(pair: Pair, types: tuple[str, str]) -> None:
    for region, type_ in zip(("eu", "us"), types, strict=True):
        pair.source(
            f"CREATE SCHEMA {region}",
            f"CREATE DOMAIN {region}.tiny AS smallint",
            f"CREATE TABLE {region}.orders (id integer PRIMARY KEY, v {type_})",
            f"INSERT INTO {region}.orders VALUES (1, NULL)",
        )
    synced(pair, "eu")
    with pytest.raises(errors.SchemaConflict, match="'v' is") as refused:
        synced(pair, "us")
    for statement in re.findall(r"ALTER TABLE [^;]+;", str(refused.value.remedy)):
        pair.target(statement)
    for region in ("eu", "us"):
        with contextlib.suppress(errors.SchemaConflict):
            synced(pair, region)
            continue
        with pytest.raises(errors.SchemaConflict, match='by expressions: v: "v"::text'):
            synced(pair, region)
        synced(pair, region, expressions={"v": '"v"::text'})
    assert pair.target("SELECT region, v FROM orders ORDER BY 1") == [("eu", None), ("us", None)]


def test_an_enum_of_each_source_meets_the_others_as_text(pair: Pair) -> None:
    for region in ("eu", "us"):
        pair.source(
            f"CREATE SCHEMA {region}",
            f"CREATE TYPE {region}.mood AS ENUM ('{region}', 'well')",
            f"CREATE TABLE {region}.orders (id integer PRIMARY KEY, v {region}.mood)",
            f"INSERT INTO {region}.orders VALUES (1, '{region}'), (2, 'well')",
        )
    text: dict[str, Any] = {"expressions": {"v": '"v"::text'}}
    assert [synced(pair, region, **text).full for region in ("eu", "us")] == [True, True]
    pair.source("UPDATE us.orders SET v = 'us' WHERE id = 2")
    changed = synced(pair, "us", **text)
    assert (changed.full, changed.rows_updated) == (False, 1)
    # No row tells of it.
    pair.source("ALTER TYPE eu.mood RENAME VALUE 'well' TO 'fine'")
    assert synced(pair, "eu", **text).rows_updated == 1
    assert not synced(pair, "us", **text).full
    assert there(pair, "eu", "us", columns="id, v::text")


@pytest.mark.parametrize("mode", ["xmin_incremental", "full_sync"])
def test_a_table_that_was_a_target_of_its_own_becomes_a_partition(pair: Pair, mode: str) -> None:
    made(pair, "eu", "us")
    for region in ("eu", "us"):
        synced(pair, region, mode, partition_of=None)
    pair.source("INSERT INTO us.orders VALUES (5, 'five')")
    for region in ("eu", "us"):
        synced(pair, region, mode)
    assert there(pair, "eu", "us")
    assert synced(pair, "eu").rows_exported == 0


def test_a_first_load_by_pieces_ends_as_a_partition(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_pieces, "LEAST", 2)
    made(pair, "eu", rows=3)
    made(pair, "us", rows=60_000)
    synced(pair, "eu")
    receipt = synced(pair, "us")
    assert "pieces" in receipt.reason
    pair.source("UPDATE us.orders SET v = 'x' WHERE id < 9")
    synced(pair, "us")
    receipt = synced(pair, "us", full_refresh=True)
    assert "pieces" in receipt.reason
    assert there(pair, "eu", "us")


def test_verify_and_why_know_one_source_and_leave_the_other_alone(pair: Pair) -> None:
    made(pair, "eu", "us")
    for region in ("eu", "us"):
        synced(pair, region, history=True)
    pair.target("UPDATE orders SET v = 'by hand' WHERE id = 1", "DELETE FROM orders WHERE id = 2")
    kept = {"history": True, **options("eu")}
    table = table_of("eu.orders", "public.orders_eu", XMIN, kept)
    ends = (pair.source_url, pair.target_url)
    assert "by hand" not in why(*ends, table, ["1"]).sentence
    assert why(*ends, table, ["1"]).equal is False
    assert "removed there" in why(*ends, table, ["2"]).sentence
    assert why(*ends, table, ["3"]).equal
    seen = pair.engine().verify(table, sync=False)
    assert (seen.rows_source, seen.rows_differing, seen.rows_only_in_source) == (4, 1, 1)
    assert pair.engine().verify(table, sync=True, repair=True).repaired
    assert pair.engine().verify(table, sync=False).equal
    assert pair.target("SELECT id, v FROM orders WHERE region = 'us' AND id < 3") == [
        (1, "by hand")
    ]
    assert broken(pair, "public.orders_eu") == []


def test_what_is_carried_and_kept_of_history_is_each_partitions_own(pair: Pair) -> None:
    made(pair, "eu", "us", columns="v text NOT NULL DEFAULT 'none' CHECK (v <> '')")
    pair.source("CREATE INDEX ON eu.orders (v)")
    for _ in range(2):
        for region in ("eu", "us"):
            receipt = synced(pair, region, carry="all", history=True)
    assert receipt.rows_exported == 0
    pair.source("UPDATE eu.orders SET v = 'new' WHERE id = 1")
    synced(pair, "eu", carry="all", history=True)
    assert there(pair, "eu", "us")
    assert pair.target("SELECT count(*) FROM orders_eu_history") == [(5,)]
    assert pair.target("SELECT count(*) FROM orders_us_history") == [(4,)]


def test_a_plan_shows_what_makes_it_a_partition_and_a_dry_run_makes_nothing(pair: Pair) -> None:
    made(pair, "eu", "us")
    synced(pair, "eu")
    forecast = pair.engine().plan(table_of("us.orders", "public.orders_us", XMIN, options("us")))
    assert 'ALTER TABLE "public"."orders" ATTACH PARTITION "public"."orders_us"' in forecast.ddl[-1]
    synced(pair, "us", dry_run=True)
    assert there(pair, "eu")


WHOLE = "CREATE TABLE orders (id integer, v text, source_xmin bigint, region text) PARTITION BY LIST (region)"
REFUSED = {
    "a plain table": (["CREATE TABLE orders (id integer)"], "not partitioned by a list"),
    "another column": ([WHOLE.replace("LIST (region)", "LIST (v)")], "not partitioned by a list"),
    "ranges": ([WHOLE.replace("LIST", "RANGE")], "not partitioned by a list"),
    "a partition itself": (
        [
            WHOLE.replace("orders", "above"),
            "CREATE TABLE orders PARTITION OF above FOR VALUES IN ('eu') PARTITION BY LIST (region)",
        ],
        "itself a partition of public.above",
    ),
    "NOT NULL": (
        [WHOLE.replace("region text", "region text, n integer NOT NULL")],
        "'n' of public",
    ),
    "an identity column": (
        [WHOLE.replace("region text", "region text, n integer GENERATED ALWAYS AS IDENTITY")],
        "'n' of public",
    ),
    "a primary key": (
        [WHOLE.replace("region text", "region text, PRIMARY KEY (region, id)")],
        "primary",
    ),
    "a default partition with its rows": (
        [
            WHOLE,
            """CREATE TABLE "the rest" PARTITION OF orders DEFAULT""",
            "INSERT INTO orders VALUES (1, 'eu', 1, 'eu'), (2, 'us', 1, 'us')",
        ],
        "the rest, the default partition of public.orders, holds rows of 'eu'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_cannot_take_it_is_refused_before_a_row_is_read(pair: Pair, case: str) -> None:
    statements, said = REFUSED[case]
    made(pair, "eu")
    pair.target(*statements)
    with pytest.raises(errors.SchemaConflict, match=said) as refused:
        synced(pair, "eu")
    assert pair.target("SELECT to_regclass('orders_eu')") == [(None,)]
    for statement in re.findall(r"(?:ALTER TABLE|DELETE FROM) [^;]+;", str(refused.value.remedy)):
        pair.target(statement)
    synced(pair, "eu")
    pair.target("DELETE FROM orders WHERE region = 'us'")
    assert there(pair, "eu")


OURS = {
    "xmin_column": ["source_xmin integer", "source_xmin numeric", "source_xmin date DEFAULT now()"],
    "deleted_column": ["deleted_at date", "deleted_at timestamptz(0)", "deleted_at text"],
}
COLUMNS = [(option, column) for option, columns in OURS.items() for column in columns]


@pytest.mark.parametrize("was_there", [True, False])
@pytest.mark.parametrize(("option", "column"), COLUMNS)
def test_a_column_that_cannot_be_ours_in_all_is_refused_until_it_can(
    pair: Pair, option: str, column: str, was_there: bool
) -> None:
    made(pair, "eu")
    if was_there:
        synced(pair, "eu", deletes="soft", partition_of=None)
    whole = WHOLE.replace(" source_xmin bigint,", "").replace("id integer", f"id integer, {column}")
    pair.target(whole)
    with pytest.raises(errors.SchemaConflict, match=r"of public\.orders is") as refused:
        synced(pair, "eu", deletes="soft")
    assert f"{option}: …" in str(refused.value.remedy)
    if not was_there:
        synced(pair, "eu", deletes="soft", **{option: "ours"})
        pair.target("DROP TABLE orders", whole)
    for statement in re.findall(r"ALTER TABLE [^;]+;", str(refused.value.remedy)):
        pair.target(statement)
    for _ in range(2):
        synced(pair, "eu", deletes="soft")
        assert there(pair, "eu")
        pair.source("UPDATE eu.orders SET v = v || '.'")


def test_a_value_is_one_partitions_alone_and_stays_that_until_it_is_taken_out(pair: Pair) -> None:
    made(pair, "eu", "us")
    synced(pair, "eu")
    taken = PartitionOf(RelationName("public", "orders"), "region", "eu")
    with pytest.raises(errors.SchemaConflict, match="already"):
        synced(pair, "us", partition_of=taken)
    other = PartitionOf(taken.table, "region", "it's {eu}")
    with pytest.raises(errors.SchemaConflict, match="FOR VALUES IN") as refused:
        synced(pair, "eu", partition_of=other)
    for statement in re.findall(r"ALTER TABLE [^;]+;", str(refused.value.remedy)):
        pair.target(statement)
    synced(pair, "eu", partition_of=other)
    assert pair.target("SELECT DISTINCT region FROM orders") == [("it's {eu}",)]
    assert synced(pair, "eu", partition_of=other).rows_exported == 0


def test_names_that_cannot_stand_beside_each_other_are_refused(pair: Pair) -> None:
    made(pair, "eu", columns="v text, region text")
    with pytest.raises(errors.ConfigurationError, match="'region' of its own"):
        synced(pair, "eu")
    for column, said in (("source_xmin", "one column"), ("ctid", "every table")):
        taken = PartitionOf(RelationName("public", "orders"), column, "eu")
        with pytest.raises(errors.ConfigurationError, match=said):
            synced(pair, "eu", partition_of=taken)
    itself = PartitionOf(RelationName("public", "orders_eu"), "area", "eu")
    with pytest.raises(errors.ConfigurationError, match="of itself"):
        synced(pair, "eu", partition_of=itself)


def test_readers_of_all_sources_and_runs_of_other_ones_do_not_wait_in_a_circle(pair: Pair) -> None:
    made(pair, rows=500)
    for region in REGIONS:
        synced(pair, region)

    def churn(region: str) -> None:
        for number in range(6):
            pair.source(
                f"ALTER TABLE {region}.orders ADD {region}_{number} integer",
                f"UPDATE {region}.orders SET v = v || '.' WHERE id % 3 = {number % 3}",
            )
            synced(pair, region)
            pair.target("SELECT count(*), max(region) FROM orders WHERE id < 100")

    with ThreadPoolExecutor(len(REGIONS)) as threads:
        list(threads.map(churn, REGIONS))
    assert there(pair)


def test_of_many_tables_at_once_none_is_left_out_for_having_nothing_new(pair: Pair) -> None:
    made(pair, "eu", "us")
    names = [(f"{region}.orders", f"public.orders_{region}", region) for region in ("eu", "us")]
    parts = [
        table_of(source, target, XMIN, options(region, deletes="ignore"))
        for source, target, region in names
    ]
    alone = [dataclasses.replace(table, partition_of=None) for table in parts]
    for tables in (alone, parts):
        assert not idle_among(pair.source_url, pair.target_url, tables)
        outcomes = pair.engine().sync_each(tables)
        assert [each for each in outcomes if isinstance(each, errors.SyncError)] == []
    assert there(pair, "eu", "us")
    assert len(idle_among(pair.source_url, pair.target_url, parts)) == 2
