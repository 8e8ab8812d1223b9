"""Runs that read only the pages which the source's WAL names, deletes included."""

from __future__ import annotations

import dataclasses
import threading
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from sync_assets.engine import Deletes, Receipt, RelationName, Table
from sync_assets.engine.check.check import check
from sync_assets.engine.errors import (
    BlockingOthers,
    ChangesUnknown,
    ConfigurationError,
    DeleteGuard,
)
from sync_assets.engine.table import ChangedBlocks, LateCommits, SyncMode
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair, eventually, execute, reading_role
from sync_assets_tests.fixtures.servers import NewDatabase, Servers
from sync_assets_tests.fixtures.ways import Way

ROWS = 30_000
CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v text) WITH (autovacuum_enabled = off)"
FILL = f"INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i"
PARTITIONED = (
    "CREATE TABLE t (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id)",
    "CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (0) TO (10000)",
    "CREATE TABLE t_high PARTITION OF t FOR VALUES FROM (10000) TO (100000)",
)
T = RelationName("public", "t")
READING = (
    "SELECT count(*)::int FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessShareLock'"
)
MAPS = "SELECT relname::text FROM pg_class WHERE relname LIKE 'keys_by_page%' AND relkind = 'r'"


@pytest.fixture
def blocks(way_by_page: Way, servers: Servers, new_database: NewDatabase) -> Pair:
    """A source whose WAL can be asked, and a target."""
    source, target = way_by_page
    pair = Pair(new_database(servers(source, summaries=True)), new_database(servers(target)))
    pair.source("CREATE EXTENSION pg_walinspect")
    return pair


def sync(pair: Pair, **options: Any) -> Receipt:
    chosen = {"changed_blocks": "require", "deletes": "hard", **options}
    receipt = pair.sync(**chosen)
    assert pair.is_exact()
    return receipt


def begun(pair: Pair, *statements: str, **options: Any) -> None:
    """Load a table, and run once more: that run builds the map of keys."""
    pair.source(*(statements or (CREATE, FILL)))
    sync(pair, **options)
    sync(pair, **options)


def test_a_run_reads_the_pages_of_changed_rows_and_finds_what_was_deleted(blocks: Pair) -> None:
    begun(blocks)
    blocks.source(
        "UPDATE t SET v = 'x' WHERE id IN (1, 20000)",
        "DELETE FROM t WHERE id IN (7, 15000)",
        "UPDATE t SET id = -5 WHERE id = 12000",
        f"INSERT INTO t VALUES ({ROWS + 1}, 'new')",
    )
    receipt = sync(blocks)
    assert (receipt.rows_updated, receipt.rows_inserted, receipt.rows_deleted) == (2, 2, 3)
    assert receipt.rows_exported == 4
    assert receipt.changed_pages is not None
    assert receipt.changed_pages <= 12
    assert f"in {receipt.changed_pages} changed pages" in receipt.reason
    assert receipt.rows_in_target == ROWS - 1


def test_a_partition_that_the_wal_does_not_tell_of_keeps_its_rows_on_an_idle_source(
    blocks: Pair,
) -> None:
    unlogged = "CREATE UNLOGGED TABLE t_other PARTITION OF t FOR VALUES FROM (100000) TO (200000)"
    more = "INSERT INTO t SELECT i, md5(i::text) FROM generate_series(100000, 100050) i"
    begun(blocks, *PARTITIONED, unlogged, FILL, more, changed_blocks="auto")
    blocks.source("UPDATE t SET v = 'x' WHERE id = 1")
    for _ in range(3):
        receipt = sync(blocks, changed_blocks="auto")
        assert "changed pages" in receipt.reason
        assert receipt.rows_deleted == 0


def test_a_table_that_was_not_written_is_not_read(blocks: Pair) -> None:
    begun(blocks)
    receipt = sync(blocks)
    assert receipt.changed_pages == receipt.chunks == receipt.bytes == 0


def test_a_row_deleted_put_back_and_deleted_again(blocks: Pair) -> None:
    begun(blocks)
    for statement, counts in (
        ("DELETE FROM t WHERE id = 7", (0, 1)),
        ("INSERT INTO t VALUES (7, 'again')", (1, 0)),
        ("DELETE FROM t WHERE id = 7", (0, 1)),
    ):
        blocks.source(statement)
        receipt = sync(blocks)
        assert receipt.changed_pages is not None
        assert (receipt.rows_inserted, receipt.rows_deleted) == counts


def test_soft_deletes_are_marked_from_changed_pages(blocks: Pair) -> None:
    blocks.source(CREATE, FILL)
    options: dict[str, Any] = {"changed_blocks": "require", "deletes": "soft"}
    blocks.sync(**options)
    blocks.sync(**options)
    blocks.source("DELETE FROM t WHERE id IN (7, 8)")
    receipt = blocks.sync(**options)
    assert (receipt.rows_deleted, receipt.changed_pages) == (2, 1)
    marked = "SELECT id FROM t WHERE deleted_at IS NOT NULL ORDER BY id"
    assert blocks.target(marked) == [(7,), (8,)]
    blocks.source("INSERT INTO t VALUES (8, 'again')")
    blocks.sync(**options)
    assert blocks.target(marked) == [(7,)]


def test_a_rewritten_table_is_scanned_and_its_map_renewed(blocks: Pair) -> None:
    begun(blocks)
    blocks.source("DELETE FROM t WHERE id < 100", "VACUUM FULL t")
    receipt = sync(blocks)
    assert receipt.changed_pages is None
    assert (receipt.rows_exported, receipt.rows_deleted) == (0, 99)
    blocks.source("DELETE FROM t WHERE id = 20000")
    again = sync(blocks)
    assert again.rows_deleted == 1
    assert again.changed_pages is not None


def test_rows_that_move_between_partitions_and_partitions_that_come_and_go(blocks: Pair) -> None:
    begun(blocks, *PARTITIONED, FILL)
    blocks.source("UPDATE t SET id = 40000 WHERE id = 5", "DELETE FROM t WHERE id = 20000")
    moved = sync(blocks)
    assert (moved.rows_inserted, moved.rows_deleted) == (1, 2)
    assert moved.changed_pages is not None
    blocks.source(
        "CREATE TABLE t_new PARTITION OF t FOR VALUES FROM (100000) TO (200000)",
        "INSERT INTO t VALUES (150000, 'new')",
        "TRUNCATE t_low",
    )
    truncated = sync(blocks)
    assert (truncated.rows_inserted, truncated.rows_deleted) == (1, 9998)
    assert truncated.changed_pages is not None
    blocks.source("ALTER TABLE t DETACH PARTITION t_new", "DELETE FROM t WHERE id = 25000")
    detached = sync(blocks)
    assert detached.rows_deleted == 2
    assert detached.changed_pages is not None


def test_a_key_of_several_columns_of_awkward_types(blocks: Pair) -> None:
    blocks.source(
        'CREATE TABLE t ("a b" numeric(9,3), leaf varchar(7), page timestamptz, '
        'd "char", v text, PRIMARY KEY ("a b", leaf, page, d))',
        "INSERT INTO t SELECT i / 7.0, (i % 7)::text || ',\"x', now() + i * interval '1 s', 'q', "
        "md5(i::text) FROM generate_series(1, 9000) i",
    )
    sync(blocks)
    sync(blocks)
    blocks.source("DELETE FROM t WHERE v = md5('77')", "UPDATE t SET leaf = '' WHERE v = md5('78')")
    receipt = sync(blocks)
    assert (receipt.rows_deleted, receipt.rows_inserted) == (2, 1)
    assert receipt.changed_pages is not None


def test_a_key_of_arrays_is_compared_as_a_whole(blocks: Pair) -> None:
    blocks.source(
        "CREATE TABLE t (id integer[] PRIMARY KEY)",
        "INSERT INTO t SELECT ARRAY[i, i] FROM generate_series(1, 5000) i",
    )
    sync(blocks)
    blocks.source("DELETE FROM t WHERE id = '{5,5}'", "INSERT INTO t VALUES ('[3:4]={1,1}')")
    receipt = sync(blocks)
    assert (receipt.rows_deleted, receipt.rows_inserted) == (1, 1)
    assert blocks.target(MAPS) == []


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("pair_of_ints", "ROW(i, i)"),
        ("domain_of_int", "i"),
        ("int2vector", "i::text"),
        ("t2", "ROW(i)"),
    ],
)
def test_a_key_that_no_map_can_hold_is_compared_as_a_whole(
    blocks: Pair, type_: str, value: str
) -> None:
    blocks.target("CREATE TABLE t2 (i int)")
    blocks.source(
        "CREATE TYPE pair_of_ints AS (a int, b int)",
        "CREATE DOMAIN domain_of_int AS int CHECK (VALUE > 0)",
        "CREATE TABLE t2 (i int)",
        f"CREATE TABLE t (id {type_} PRIMARY KEY, n int)",
        f"INSERT INTO t SELECT ({value})::{type_}, i FROM generate_series(1, 30000) i",
    )
    sync(blocks)
    sync(blocks)
    blocks.source("DELETE FROM t WHERE n IN (7, 20000)", "UPDATE t SET n = -n WHERE n = 9")
    receipt = sync(blocks)
    assert (receipt.rows_deleted, receipt.rows_updated) == (2, 1)
    assert receipt.changed_pages is not None
    assert blocks.target(MAPS) == []


def test_a_key_whose_type_has_changed_has_its_map_made_anew(blocks: Pair) -> None:
    begun(
        blocks,
        'CREATE TABLE t (id varchar(9) COLLATE "C" PRIMARY KEY, v text)',
        FILL.replace("SELECT i,", "SELECT i::text,"),
    )
    blocks.source(
        'ALTER TABLE t ALTER id TYPE varchar(12) COLLATE "POSIX"', "DELETE FROM t WHERE id = '7'"
    )
    assert sync(blocks).rows_deleted == 1
    blocks.source("DELETE FROM t WHERE id = '8'")
    receipt = sync(blocks)
    assert receipt.rows_deleted == 1
    assert receipt.changed_pages is not None


def test_pages_written_before_the_database_was_moved_are_not_lost(blocks: Pair) -> None:
    begun(blocks)
    server = psycopg2.extensions.make_dsn(blocks.source_url, dbname="postgres")
    name = psycopg2.extensions.parse_dsn(blocks.source_url)["dbname"]
    execute(server, "SET allow_in_place_tablespaces = on", "CREATE TABLESPACE another LOCATION ''")
    try:
        blocks.source("UPDATE t SET v = 'x' WHERE id = 5", "DELETE FROM t WHERE id = 6")
        execute(server, f"ALTER DATABASE {name} SET TABLESPACE another")
        receipt = sync(blocks)
        assert (receipt.rows_updated, receipt.rows_deleted) == (1, 1)
        blocks.source("UPDATE t SET v = 'y' WHERE id = 5")
        assert sync(blocks).changed_pages is not None
    finally:
        execute(
            server, f"ALTER DATABASE {name} SET TABLESPACE pg_default", "DROP TABLESPACE another"
        )


def test_a_partition_changed_while_it_was_detached_is_read_by_its_pages(blocks: Pair) -> None:
    begun(blocks, *PARTITIONED, FILL)
    blocks.source(
        "ALTER TABLE t DETACH PARTITION t_low",
        "DELETE FROM t_low WHERE id = 5",
        "UPDATE t_low SET v = 'x' WHERE id = 6",
        "ALTER TABLE t ATTACH PARTITION t_low FOR VALUES FROM (0) TO (10000)",
    )
    receipt = sync(blocks)
    assert (receipt.rows_updated, receipt.rows_deleted) == (1, 1)
    assert receipt.changed_pages is not None


def test_what_is_not_in_the_wal_is_scanned(blocks: Pair) -> None:
    begun(blocks, CREATE.replace("CREATE", "CREATE UNLOGGED"), FILL, changed_blocks="auto")
    blocks.source("DELETE FROM t WHERE id = 5", "UPDATE t SET v = 'x' WHERE id = 6")
    receipt = sync(blocks, changed_blocks="auto")
    assert (receipt.rows_updated, receipt.rows_deleted, receipt.changed_pages) == (1, 1, None)
    assert "not in the WAL" in receipt.reason


def test_a_map_restored_from_a_backup_is_made_anew(blocks: Pair) -> None:
    begun(blocks)
    ((name,),) = blocks.target(MAPS)
    own = ("state", "state_leaf", name)
    blocks.target(*(f"CREATE TABLE saved_{each} AS TABLE sync_assets.{each}" for each in own))
    blocks.source("INSERT INTO t VALUES (-5, 'came and went')")
    sync(blocks)
    blocks.source("DELETE FROM t WHERE id = -5")
    blocks.target(
        f"DROP TABLE sync_assets.{name}",
        f"CREATE TABLE sync_assets.{name} AS TABLE saved_{name}",
        "DELETE FROM sync_assets.state",
        *(f"INSERT INTO sync_assets.{each} TABLE saved_{each}" for each in own[:2]),
    )
    assert sync(blocks).rows_deleted == 1


def test_rows_that_somebody_merged_by_hand_are_in_no_map(blocks: Pair) -> None:
    begun(blocks)
    engine, since = blocks.engine(), blocks.target("SELECT watermark FROM sync_assets.state")
    blocks.source("INSERT INTO t VALUES (-5, 'came and went')")
    exported = engine.export_to_csv_with_xmin("t", since=since[0][0])
    temp = engine.import_csv_to_temp_table(exported)
    assert engine.execute_merge_with_xmin(temp).inserted == 1
    engine.cleanup_temp_table(temp)
    engine.cleanup_temp_files(exported)
    blocks.source("DELETE FROM t WHERE id = -5")
    assert sync(blocks).rows_deleted == 1


def test_a_run_that_waits_for_a_summary_gives_way(
    summarizing: PostgresServer, server18: PostgresServer, new_database: NewDatabase
) -> None:
    pair = Pair(new_database(summarizing), new_database(server18))
    pair.source(CREATE, FILL, "VACUUM t", "CHECKPOINT")
    pair.sync(changed_blocks="auto")
    pair.source("UPDATE t SET v = 'x' WHERE id = 5")
    table = Table(T, T, changed_blocks=ChangedBlocks.AUTO, blocks_wait=60.0)

    def alter() -> None:
        assert eventually(lambda: pair.source(READING) == [(1,)])
        pair.source("ALTER TABLE t ADD w int")

    impatient = threading.Thread(target=alter)
    impatient.start()
    with pytest.raises(BlockingOthers):
        pair.engine(max_blocking=1.0).sync(table)
    impatient.join()


def test_rows_that_leave_a_filter_are_found_too(blocks: Pair) -> None:
    blocks.source(CREATE, FILL)
    options: dict[str, Any] = {
        "changed_blocks": "require",
        "deletes": "hard",
        "where": "v <> 'hidden'",
    }
    blocks.sync(**options)
    blocks.sync(**options)
    blocks.source("UPDATE t SET v = 'hidden' WHERE id IN (7, 8)")
    receipt = blocks.sync(**options)
    assert (receipt.rows_deleted, receipt.rows_exported) == (2, 0)
    assert receipt.changed_pages is not None
    assert blocks.target("SELECT count(*) FROM t") == [(ROWS - 2,)]


def test_deletes_are_guarded_as_ever(blocks: Pair) -> None:
    begun(blocks)
    blocks.source("DELETE FROM t WHERE id > 1000")
    with pytest.raises(DeleteGuard, match="max_delete_ratio"):
        blocks.sync(changed_blocks="require", deletes="hard")
    blocks.source("DELETE FROM t")
    with pytest.raises(DeleteGuard, match="is empty"):
        blocks.sync(changed_blocks="require", deletes="hard")
    sync(blocks, confirm_deletes=ROWS)


def test_a_transaction_open_across_runs_arrives_from_its_own_pages(blocks: Pair) -> None:
    begun(blocks)
    with closing(psycopg2.connect(blocks.source_url)) as slow:
        slow.cursor().execute("UPDATE t SET v = 'late' WHERE id = 7; DELETE FROM t WHERE id = 9")
        for key in range(3):
            blocks.source(f"UPDATE t SET v = 'quick' WHERE id = {20000 + key}")
            sync(blocks)
        slow.commit()
    blocks.source("UPDATE t SET v = 'last' WHERE id = 25000")
    receipt = sync(blocks)
    assert receipt.rows_deleted == 1
    assert receipt.changed_pages is not None


def test_the_map_goes_where_nothing_keeps_it_up(blocks: Pair) -> None:
    begun(blocks)
    assert len(blocks.target(MAPS)) == 1
    blocks.source("DELETE FROM t WHERE id = 5")
    sync(blocks, changed_blocks="off")
    assert blocks.target(MAPS) == []
    blocks.source("DELETE FROM t WHERE id = 6")
    assert sync(blocks).rows_deleted == 1
    blocks.source("DELETE FROM t WHERE id = 7")
    assert sync(blocks).rows_deleted == 1


def test_without_deletes_no_map_is_kept(blocks: Pair) -> None:
    blocks.source(CREATE, FILL)
    blocks.sync(changed_blocks="require")
    blocks.source("UPDATE t SET v = 'x' WHERE id = 5")
    receipt = blocks.sync(changed_blocks="require")
    assert (receipt.rows_exported, receipt.rows_updated) == (1, 1)
    assert receipt.changed_pages is not None
    assert blocks.target(MAPS) == []


def test_what_cannot_be_known_fails_where_it_is_required_and_is_scanned_else(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    with pytest.raises(ConfigurationError, match=r"(neither|nothing that).*changed_blocks: auto"):
        pair.sync(changed_blocks="require")
    pair.sync()
    pair.source("UPDATE t SET v = 'x' WHERE id = 5")
    with pytest.raises(ConfigurationError, match=r"neither|nothing that"):
        pair.sync(changed_blocks="require")
    receipt = pair.sync()
    assert receipt.rows_updated == 1
    assert receipt.changed_pages is None
    assert receipt.reason == f"changes since transaction {receipt.watermark_before}"


def test_what_was_written_after_the_last_summary_may_be_known_later(
    summarizing: PostgresServer, server18: PostgresServer, new_database: NewDatabase
) -> None:
    pair = Pair(new_database(summarizing), new_database(server18))
    pair.source(CREATE, FILL)
    pair.sync(changed_blocks="require")
    pair.source("UPDATE t SET v = 'x' WHERE id = 5")
    with pytest.raises(ChangesUnknown, match="no summary covers the last"):
        pair.sync(changed_blocks="require")


REQUIRED = Table(T, T, changed_blocks=ChangedBlocks.REQUIRE)
BY_CURSOR = dataclasses.replace(REQUIRED, mode=SyncMode.INCREMENTAL_SYNC, cursor="id")
NEVER = {
    "is unlogged": ("ALTER TABLE t SET UNLOGGED", REQUIRED),
    "carry no version": (
        "ALTER TABLE t RENAME TO u; CREATE VIEW t AS SELECT * FROM u",
        dataclasses.replace(BY_CURSOR, key=("id",)),
    ),
    "by the cursor alone": (
        "SELECT 1",
        dataclasses.replace(BY_CURSOR, late_commits=LateCommits.LOOKBACK, lookback="10"),
    ),
}


@pytest.mark.parametrize("said", NEVER)
def test_what_can_never_be_known_is_refused_by_the_first_run_and_by_check(
    blocks: Pair, said: str
) -> None:
    statements, table = NEVER[said]
    blocks.source(CREATE, FILL, statements)
    with pytest.raises(ConfigurationError, match=said):
        blocks.engine().sync(table)
    found = check(blocks.source_url, blocks.target_url, [table], max_workers=1).findings
    (mend,) = [each.mend for each in found if said in each.what]
    if mend.endswith(";"):
        blocks.source(mend)
    else:
        option, _, value = mend.partition(": ")
        kind = {"changed_blocks": ChangedBlocks, "late_commits": LateCommits}[option]
        table = dataclasses.replace(table, **{option: kind(value)})
    assert blocks.engine().sync(table).rows_inserted == ROWS


def test_partitions_that_only_their_parent_opens_can_never_be_read_by_pages(blocks: Pair) -> None:
    blocks.source(*PARTITIONED, FILL, "CREATE ROLE through LOGIN", "GRANT SELECT ON t TO through")
    blocks.source("GRANT pg_read_server_files TO through")
    try:
        reader = Pair(blocks.source_url.replace("postgres@", "through@"), blocks.target_url)
        with pytest.raises(ConfigurationError, match="only through their parent") as failed:
            reader.sync(changed_blocks="require")
        printed = failed.value.remedy.removeprefix("Run on the source: ").partition(". Or let")[0]
        blocks.source(
            printed,
            "GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint() TO through",
        )
        assert reader.sync(changed_blocks="require").rows_inserted == ROWS
    finally:
        blocks.source("DROP OWNED BY through", "DROP ROLE through")


def test_it_is_the_default_where_the_source_offers_it(blocks: Pair) -> None:
    blocks.source(CREATE, FILL, "CHECKPOINT")
    for _ in range(2):
        blocks.sync(deletes="hard")
    blocks.source("UPDATE t SET v = 'x' WHERE id = 5", "DELETE FROM t WHERE id = 20000")
    receipt = blocks.sync(deletes="hard")
    assert (receipt.rows_updated, receipt.rows_deleted, receipt.changed_pages) == (1, 1, 3)
    assert blocks.is_exact()


def test_a_role_that_may_not_create_the_map_does_without(blocks: Pair) -> None:
    blocks.source(CREATE, FILL)
    sync(blocks)
    blocks.target("CREATE ROLE writer LOGIN", "GRANT ALL ON t TO writer")
    try:
        blocks.target(
            "GRANT USAGE ON SCHEMA sync_assets TO writer",
            "GRANT ALL ON ALL TABLES IN SCHEMA sync_assets TO writer",
        )
        writer = Pair(blocks.source_url, blocks.target_url.replace("postgres@", "writer@"))
        for key in (5, 6):
            blocks.source(f"DELETE FROM t WHERE id = {key}")
            receipt = sync(writer)
            assert receipt.rows_deleted == 1
            assert receipt.changed_pages is not None
        assert blocks.target(MAPS) == []
    finally:
        blocks.target("DROP OWNED BY writer", "DROP ROLE writer")


def test_auto_takes_the_scan_when_many_pages_changed(blocks: Pair) -> None:
    begun(blocks, changed_blocks="auto")
    blocks.source("UPDATE t SET v = 'x' WHERE id = 5")
    assert sync(blocks, changed_blocks="auto").changed_pages == 2
    blocks.source("UPDATE t SET v = 'y' WHERE id % 50 = 0")
    receipt = sync(blocks, changed_blocks="auto")
    assert receipt.changed_pages is None
    assert "many pages changed" in receipt.reason


def test_a_role_that_may_only_select_gets_it_by_waiting_for_a_checkpoint(
    summarizing: PostgresServer, server18: PostgresServer, new_database: NewDatabase
) -> None:
    owner = Pair(new_database(summarizing), new_database(server18))
    # Or the load would be in the same summary as what is written after it.
    owner.source(CREATE, FILL, "VACUUM t", "CHECKPOINT")
    with reading_role(owner) as reader:
        reader.sync(changed_blocks="auto")
        owner.source("UPDATE t SET v = 'x' WHERE id = 5")
        unknown = reader.sync(changed_blocks="auto")
        assert unknown.changed_pages is None
        assert "no summary covers" in unknown.reason
        owner.source("UPDATE t SET v = 'y' WHERE id = 6")
        checkpoint = threading.Timer(0.5, owner.source, ("CHECKPOINT",))
        checkpoint.start()
        receipt = reader.sync(changed_blocks="auto", blocks_wait=60)
        checkpoint.join()
        assert receipt.rows_updated == 1
        assert receipt.changed_pages is not None
        assert "WAL summaries" in receipt.reason


def test_a_forecast_says_which_pages_would_be_read(blocks: Pair) -> None:
    begun(blocks)
    blocks.source("UPDATE t SET v = 'x' WHERE id = 5")
    table = Table(
        T, T, deletes=Deletes.HARD, changed_blocks=ChangedBlocks.REQUIRE, blocks_wait=30.0
    )
    (leaf,) = blocks.engine().plan(table).leaves
    assert (leaf.how, leaf.pages) == ("blocks", 2)
