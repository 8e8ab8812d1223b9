"""Each version of a row that a sync saw is kept, from when to when, whatever way the run has taken."""

from __future__ import annotations

from typing import Any

import pytest

from sync_assets.engine import Receipt, SyncError, errors
from sync_assets.engine.inspection.idle import idle_among
from sync_assets.engine.run.first_load import by_pieces
from sync_assets.engine.table import SyncMode, table_of
from sync_assets_tests.fixtures.histories import broken
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import (
    SETTINGS,
    NewDatabase,
    both_ways,
    running_server,
)
from sync_assets_tests.scenarios.first_load.test_pieces import interrupt, load

pytestmark = both_ways

VERSIONS = "SELECT id, v, ended_by FROM t_history ORDER BY id, valid_from, valid_to"


def made(pair: Pair, rows: int = 4) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        f"INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, {rows}) i",
    )


def kept(pair: Pair, **options: Any) -> Receipt:
    """One run that keeps history, after which all holds that must."""
    receipt = pair.sync(**{"history": True, "deletes": "hard", **options})
    assert broken(pair) == []
    return receipt


def counts(receipt: Receipt) -> tuple[int | None, int | None]:
    return receipt.versions_opened, receipt.versions_closed


def test_versions_follow_inserts_updates_deletes_and_changes_of_key(pair: Pair) -> None:
    made(pair)
    assert counts(kept(pair)) == (4, 0)
    pair.source(
        "UPDATE t SET v = 'new' WHERE id = 1",
        "DELETE FROM t WHERE id = 2",
        "UPDATE t SET id = 30 WHERE id = 3",
        "INSERT INTO t VALUES (5, 'v5')",
    )
    assert counts(kept(pair)) == (3, 3)
    assert pair.target(VERSIONS) == [
        (1, "v1", "update"),
        (1, "new", None),
        (2, "v2", "delete"),
        (3, "v3", "delete"),
        (4, "v4", None),
        (5, "v5", None),
        (30, "v3", None),
    ]
    pair.source("INSERT INTO t VALUES (2, 'again')", "UPDATE t SET v = v WHERE id = 4")
    assert counts(kept(pair)) == (1, 0)
    assert counts(kept(pair)) == (0, 0)
    assert pair.target("SELECT v, ended_by FROM t_history WHERE id = 2 ORDER BY valid_from") == [
        ("v2", "delete"),
        ("again", None),
    ]


def test_values_that_rows_swap_and_take_over_are_versions_like_any(pair: Pair) -> None:
    made(pair)
    pair.source("ALTER TABLE t ADD UNIQUE (v)")
    kept(pair)
    pair.target("ALTER TABLE t ADD UNIQUE (v)")
    pair.source(
        "UPDATE t SET v = 'x' WHERE id = 1",
        "UPDATE t SET v = 'v1' WHERE id = 2",
        "UPDATE t SET v = 'v2' WHERE id = 1",
    )
    assert counts(kept(pair)) == (2, 2)
    pair.source("DELETE FROM t WHERE id = 3", "INSERT INTO t VALUES (9, 'v3')")
    # Only the row that is in the way goes, as nobody looks for deleted ones.
    receipt = kept(pair, deletes="ignore")
    assert "made way" in receipt.events[0]
    assert counts(receipt) == (1, 1)


def test_a_marked_row_ends_its_version_and_one_that_returns_begins_another(pair: Pair) -> None:
    made(pair)
    kept(pair, deletes="soft")
    pair.source("DELETE FROM t WHERE id <= 2")
    assert counts(kept(pair, deletes="soft")) == (0, 2)
    pair.source("INSERT INTO t VALUES (1, 'v1')")
    assert counts(kept(pair, deletes="soft")) == (1, 0)
    assert counts(kept(pair, deletes="soft", full_refresh=True)) == (0, 0)


def test_what_nobody_looks_for_stays_open(pair: Pair) -> None:
    made(pair)
    kept(pair, deletes="ignore")
    pair.source("DELETE FROM t WHERE id = 1", "UPDATE t SET v = 'new' WHERE id = 2")
    assert counts(kept(pair, deletes="ignore")) == (1, 1)
    assert counts(kept(pair, deletes="ignore", full_refresh=True)) == (0, 0)


def test_a_run_that_a_guard_refuses_closes_nothing(pair: Pair) -> None:
    made(pair, 300)
    kept(pair)
    before = pair.target("SELECT * FROM t_history ORDER BY id")
    pair.source("DELETE FROM t WHERE id > 20", "UPDATE t SET v = 'new'")
    with pytest.raises(errors.DeleteGuard):
        kept(pair)
    pair.source("DELETE FROM t")
    with pytest.raises(errors.DeleteGuard, match="is empty"):
        kept(pair)
    assert pair.target("SELECT * FROM t_history ORDER BY id") == before
    assert counts(kept(pair, confirm_deletes=300)) == (0, 300)


def test_a_failure_in_the_middle_leaves_history_as_it_was(pair: Pair) -> None:
    made(pair)
    kept(pair)
    before = pair.target("SELECT * FROM t_history ORDER BY id")
    pair.target(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'not this one'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON t_history FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    pair.source("UPDATE t SET v = 'new'")
    with pytest.raises(SyncError, match="not this one"):
        pair.sync(history=True)
    assert pair.target("SELECT * FROM t_history ORDER BY id") == before
    assert pair.target("SELECT v FROM t WHERE id = 1") == [("v1",)]
    pair.target("DROP TRIGGER refuse ON t_history")
    assert counts(kept(pair)) == (4, 4)


def test_a_full_pass_makes_no_version_of_what_it_reads_again(pair: Pair) -> None:
    made(pair)
    kept(pair)
    pair.source(
        "UPDATE t SET v = v", "UPDATE t SET v = 'new' WHERE id = 1", "DELETE FROM t WHERE id = 2"
    )
    assert counts(kept(pair, full_refresh=True)) == (1, 2)
    pair.source("INSERT INTO t VALUES (7, 'v7')", "DELETE FROM t WHERE id = 4")
    receipt = pair.engine().copy_table_data("t", "t", "full_sync", history=True)
    assert counts(receipt) == (1, 1)
    assert broken(pair) == []


def test_loads_and_full_passes_by_pieces_keep_it_too(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_pieces, "LEAST", 2)
    made(pair, 0)
    rows = "INSERT INTO t SELECT i, repeat('x', 110) FROM generate_series(1, 40000) i"
    pair.source(rows, "ANALYZE t")
    options = {"history": True, "deletes": "hard"}
    interrupt(pair, **options)
    pair.source("UPDATE t SET v = 'new' WHERE id = 7", "DELETE FROM t WHERE id = 8")
    receipt = load(pair, **options)
    assert "pieces" in receipt.reason
    assert counts(receipt) == (39_999, 0)
    assert broken(pair) == []
    pair.source("UPDATE t SET v = 'newer' WHERE id < 7", "DELETE FROM t WHERE id = 10")
    receipt = load(pair, **options, full_refresh=True)
    assert "pieces" in receipt.reason
    assert counts(receipt) == (6, 7)
    assert broken(pair) == []


def test_history_that_is_turned_on_later_begins_with_every_row(pair: Pair) -> None:
    made(pair)
    pair.sync()
    pair.source("UPDATE t SET v = 'new' WHERE id = 1")
    receipt = kept(pair)
    assert (receipt.rows_exported, *counts(receipt)) == (1, 4, 0)
    (at,) = pair.target("SELECT DISTINCT valid_from, time_from FROM t_history")
    assert at == (*pair.target("SELECT snapshot_at FROM sync_assets.state")[0], "snapshot")
    # Turned off for a while, it has missed what one pass over both tables finds.
    pair.source("UPDATE t SET v = 'missed' WHERE id = 2")
    pair.sync()
    assert counts(kept(pair)) == (1, 1)


def test_a_table_that_is_idle_gets_its_history_all_the_same(pair: Pair) -> None:
    made(pair)
    pair.source("CREATE TABLE other (id integer PRIMARY KEY)")
    for history in (False, True, True):
        tables = [
            table_of(n, n, SyncMode.XMIN_INCREMENTAL, {"history": history}) for n in ("t", "other")
        ]
        idle = idle_among(pair.source_url, pair.target_url, tables)
        outcomes = [o for o in pair.engine().sync_each(tables) if isinstance(o, Receipt)]
        assert len(outcomes) == 2
    assert len(idle) == 2
    assert broken(pair) == []


@pytest.mark.parametrize("meddled", ["DROP TABLE t_history", "TRUNCATE t_history"])
def test_a_history_that_somebody_removed_is_made_again(pair: Pair, meddled: str) -> None:
    made(pair)
    kept(pair)
    pair.target(meddled)
    pair.source("UPDATE t SET v = 'new' WHERE id = 1")
    assert counts(kept(pair)) == (4, 0)


def test_versions_that_somebody_deleted_are_opened_by_the_next_full_pass(pair: Pair) -> None:
    made(pair)
    kept(pair)
    pair.target("DELETE FROM t_history WHERE id < 3", "DELETE FROM t WHERE id = 4")
    assert counts(kept(pair, full_refresh=True)) == (2, 0)


def test_history_follows_the_target_s_columns(pair: Pair) -> None:
    made(pair)
    pair.source("ALTER TABLE t ADD n integer DEFAULT 5, ADD gone text")
    kept(pair)
    pair.source(
        "ALTER TABLE t ADD later text",
        "ALTER TABLE t RENAME v TO word",
        "ALTER TABLE t ALTER n TYPE bigint",
        "ALTER TABLE t DROP gone",
        "UPDATE t SET later = 'x' WHERE id = 1",
    )
    assert counts(kept(pair)) == (1, 1)
    assert pair.target(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 't_history'::regclass AND attnum > 0 AND NOT attisdropped"
        " AND attname IN ('word', 'n', 'gone', 'later', 'v') ORDER BY 1"
    ) == [("gone", "text"), ("later", "text"), ("n", "bigint"), ("word", "text")]
    # A value that all rows get makes a version of each: they had none before.
    pair.source("ALTER TABLE t ADD w integer DEFAULT 7")
    assert counts(kept(pair)) == (4, 4)


def test_a_type_that_old_versions_cannot_have_is_refused_with_what_mends_it(pair: Pair) -> None:
    made(pair)
    kept(pair)
    pair.source("UPDATE t SET v = id")
    kept(pair)
    pair.source("ALTER TABLE t ALTER v TYPE integer USING v::integer")
    with pytest.raises(errors.SchemaConflict, match="not every value") as refused:
        kept(pair)
    remedy = refused.value.remedy
    pair.target(remedy[remedy.index("ALTER TABLE") : remedy.index(";")])
    assert counts(kept(pair)) == (4, 4)
    assert pair.target("SELECT count(v_before), count(v) FROM t_history") == [(8, 4)]


def test_another_key_of_the_source_tells_versions_apart_from_then_on(pair: Pair) -> None:
    made(pair)
    pair.source("ALTER TABLE t ADD code text UNIQUE", "UPDATE t SET code = 'c' || id")
    kept(pair)
    pair.source(
        "ALTER TABLE t DROP CONSTRAINT t_pkey",
        "ALTER TABLE t ADD PRIMARY KEY (code)",
        "UPDATE t SET id = 10 - id WHERE id < 3",
    )
    assert counts(kept(pair)) == (2, 2)
    pair.source("UPDATE t SET v = 'new' WHERE code = 'c1'")
    assert counts(kept(pair)) == (1, 1)


def test_a_dry_run_counts_versions_and_leaves_no_trace(pair: Pair) -> None:
    made(pair)
    assert pair.sync(history=True, dry_run=True).dry_run
    assert pair.target("SELECT to_regclass('t_history')") == [(None,)]
    kept(pair)
    pair.source("UPDATE t SET v = 'new'")
    before = pair.target("SELECT * FROM t_history ORDER BY id")
    assert counts(pair.sync(history=True, dry_run=True)) == (4, 4)
    assert pair.target("SELECT * FROM t_history ORDER BY id") == before


def test_a_clock_that_was_set_back_makes_no_version_end_before_it_begins(pair: Pair) -> None:
    made(pair)
    kept(pair)
    pair.target("UPDATE t_history SET valid_from = valid_from + interval '1 hour'")
    pair.source("UPDATE t SET v = 'new' WHERE id = 1", "DELETE FROM t WHERE id = 2")
    kept(pair)
    pair.source("INSERT INTO t VALUES (2, 'again')")
    kept(pair)
    assert pair.target(
        "SELECT id FROM t_history WHERE valid_to - valid_from = '1 microsecond' ORDER BY 1"
    ) == [(1,), (2,)]


def test_parts_and_repairs_keep_it_too(pair: Pair) -> None:
    made(pair)
    kept(pair)
    pair.source("UPDATE t SET v = 'new' WHERE id < 3", "DELETE FROM t WHERE id = 3")
    assert counts(kept(pair, rows="id IN (1, 3)")) == (1, 2)
    pair.target("UPDATE t SET v = 'by hand' WHERE id = 4")
    assert pair.verify(repair=True, sync=True, history=True, deletes="hard").repaired
    assert broken(pair) == []


def test_what_is_no_history_of_this_table_is_left_alone(pair: Pair) -> None:
    made(pair)
    pair.target("CREATE TABLE t_history (id integer)")
    with pytest.raises(errors.SchemaConflict, match="something else"):
        kept(pair)
    pair.source("CREATE TABLE u (id integer PRIMARY KEY)")
    kept_elsewhere = {"history": "versions"}
    pair.sync("public.u", **kept_elsewhere)
    with pytest.raises(errors.SchemaConflict, match=r"versions of the rows of public\.u, not"):
        pair.sync(**kept_elsewhere)


def test_what_can_have_no_history_is_refused(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer, v text)",
        "CREATE TABLE u (id integer PRIMARY KEY, valid_to date)",
    )
    with pytest.raises(errors.UnusableKey, match="have a history"):
        pair.engine().copy_table_data("t", "t", "full_sync", history=True)
    with pytest.raises(errors.SchemaConflict, match="'valid_to'"):
        pair.sync("public.u", history=True)
    with pytest.raises(errors.ConfigurationError, match="in that table itself"):
        pair.sync(history="t")


OF_SEVEN = """
SELECT valid_from, valid_to, ended_by, time_from FROM t_history WHERE id = 7 ORDER BY valid_from
"""
SEEN = "SELECT snapshot_at FROM sync_assets.state WHERE target_table = 't'"


def test_versions_begin_and_end_with_the_source_s_commits_and_deletes_with_the_snapshot(
    pair: Pair,
) -> None:
    made(pair, 7)
    kept(pair)
    ((begun,),) = pair.target(SEEN)
    pair.source("UPDATE t SET v = 'new' WHERE id = 7")
    ((committed,),) = pair.source("SELECT pg_xact_commit_timestamp(xmin) FROM t WHERE id = 7")
    kept(pair)
    pair.source("DELETE FROM t WHERE id = 7")
    kept(pair)
    ((gone,),) = pair.target(SEEN)
    assert pair.target(OF_SEVEN) == [
        (begun, committed, "update", "snapshot"),
        (committed, gone, "delete", "commit"),
    ]
    # What was written before the last run is new here alone: the source's commit tells nothing of it.
    pair.target("UPDATE t_history SET v = 'other' WHERE id = 1")
    kept(pair, full_refresh=True)
    assert pair.target(
        "SELECT time_from FROM t_history WHERE id = 1 ORDER BY valid_from DESC LIMIT 1"
    ) == [("snapshot",)]


def test_where_the_source_keeps_no_times_versions_begin_with_the_snapshot(
    target_url: str, new_database: NewDatabase
) -> None:
    with running_server("18", {**SETTINGS, "track_commit_timestamp": "off"}) as server:
        pair = Pair(server.create_database("shop"), target_url)
        made(pair, 7)
        kept(pair)
        pair.source("UPDATE t SET v = 'new' WHERE id = 7")
        kept(pair)
        ((seen,),) = pair.target(SEEN)
        assert pair.target(OF_SEVEN)[1] == (seen, None, None, "snapshot")
        log = server.log.read_text()
        assert "commit timestamp" not in log


WAYS: dict[str, dict[str, Any]] = {
    "a filter": {"where": "v <> 'out'", "deletes": "ignore"},
    "a filter, with deletes": {"where": "v <> 'out'"},
    "a cursor": {"sync_mode": "incremental_sync", "cursor": "id", "lookback": "100"},
    "without commits that were late": {
        "sync_mode": "incremental_sync",
        "cursor": "id",
        "lookback": "100",
        "late_commits": "lookback",
    },
    "by page": {"changed_blocks": "require"},
    "an expression and a mask": {"expressions": {"more": "id * 2"}, "mask": {"v": "redact"}},
}


@pytest.mark.from_15
@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_whatever_finds_the_rows_their_versions_follow(pair: Pair, options: dict[str, Any]) -> None:
    pair.source("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
    made(pair, 9)
    wanted = {"sync_mode": "xmin_incremental", "history": True, "deletes": "hard", **options}
    for change in (
        "SELECT",
        "SELECT",
        "UPDATE t SET v = 'new' WHERE id = 2",
        "UPDATE t SET v = 'out' WHERE id = 3",
        "DELETE FROM t WHERE id = 4",
        "UPDATE t SET v = 'in again' WHERE id = 3",
        "UPDATE t SET id = 40 WHERE id = 5",
    ):
        pair.source(change, "SELECT pg_logical_emit_message(true, 'flush', '')")
        pair.engine().copy_table_data("t", "t", **wanted)
        assert broken(pair) == [], change


def test_a_view_and_partitions_have_versions_like_any_table(pair: Pair) -> None:
    made(pair)
    pair.source(
        "CREATE VIEW v AS SELECT id, v FROM t",
        "CREATE TABLE p (id integer, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)",
        "INSERT INTO p SELECT i, 'p' || i FROM generate_series(1, 19) i",
    )
    full = {"key": ["id"], "history": True}
    for change in ("SELECT", "UPDATE t SET v = 'x' WHERE id = 1", "DELETE FROM t WHERE id = 2"):
        pair.source(change)
        pair.engine().copy_table_data("v", "v", "full_sync", **full)
        assert broken(pair, "public.v") == []
    for change in ("SELECT", "UPDATE p SET v = NULL WHERE id = 3", "DROP TABLE p1"):
        pair.source(change, "UPDATE p SET v = v || '!' WHERE id > 10")
        pair.sync("public.p", history=True, deletes="hard", max_delete_ratio=1)
        assert broken(pair, "public.p") == []


def test_tables_of_a_group_have_their_versions_in_one_transaction(pair: Pair) -> None:
    made(pair)
    pair.source("CREATE TABLE u (id integer PRIMARY KEY, v text)", "INSERT INTO u SELECT * FROM t")
    options = {"history": True, "deletes": "hard"}
    group = [table_of(name, name, SyncMode.XMIN_INCREMENTAL, options) for name in ("t", "u")]
    pair.engine().sync_group(group)
    pair.source(
        "UPDATE t SET v = 'x' WHERE id < 3", "UPDATE u SET v = 'x'", "DELETE FROM u WHERE id = 1"
    )
    assert [counts(each) for each in pair.engine().sync_group(group)] == [(2, 2), (3, 4)]
    assert broken(pair) == broken(pair, "public.u") == []
