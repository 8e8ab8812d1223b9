"""`why`: the sentence for every way a row can be, or not be, on the target."""

from __future__ import annotations

from typing import Any

import pytest

from sync_assets.engine import errors
from sync_assets.engine.inspection.why import Why, why
from sync_assets.engine.names import RelationName
from sync_assets.engine.table import Deletes, LateCommits, SyncMode, Table
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import Connect, both_ways

T = RelationName("public", "t")


def asked(pair: Pair, *values: str, **options: Any) -> Why:
    return why(pair.source_url, pair.target_url, Table(T, T, **options), values)


@pytest.fixture
def synced(pair: Pair) -> Pair:
    """A table with the rows 1, 2 and 3 on both ends."""
    pair.source(
        "CREATE TABLE t (id int PRIMARY KEY, note text)", "INSERT INTO t VALUES (1), (2), (3)"
    )
    pair.sync()
    return pair


@both_ways
def test_a_row_on_both_ends_is_in_the_source_s_version(synced: Pair) -> None:
    found = asked(synced, "1")
    assert found.sentence == "on the target, in the source's version"
    assert found.source_xmin == found.target_source_xmin
    (xmin,) = synced.source("SELECT xmin::text::bigint FROM t WHERE id = 1")[0]
    assert found.source_xmin
    assert found.source_xmin % (1 << 32) == xmin
    assert found.key == {"id": "1"}
    (run,) = found.runs
    assert (run.rows_exported, run.watermark) == (3, found.watermark)


@both_ways
def test_a_row_of_later_is_brought_by_the_next_run(synced: Pair) -> None:
    synced.source("INSERT INTO t VALUES (4)", "UPDATE t SET note = 'new' WHERE id = 2")
    assert asked(synced, "4").sentence == (
        "committed after the last run's snapshot: the next run brings it"
    )
    assert "the next run reads it again" in asked(synced, "2").sentence
    synced.sync()
    for key in ("2", "4"):
        assert asked(synced, key).sentence == "on the target, in the source's version"


def test_a_row_of_a_transaction_that_was_open_is_explained(synced: Pair, connect: Connect) -> None:
    session = connect(synced.source_url)
    session.autocommit = False
    session.cursor().execute("INSERT INTO t VALUES (4)")
    # A later transaction moves the snapshot's end past the open one.
    synced.source("INSERT INTO t VALUES (5)")
    synced.sync()
    assert asked(synced, "4").sentence == "not in the source, and not on the target"
    session.commit()
    found = asked(synced, "4")
    assert "by a transaction that it may not have seen committed" in found.sentence
    assert found.watermark == found.source_xmin
    synced.sync()
    assert asked(synced, "4").on_target


@both_ways
def test_a_deleted_row_is_explained_by_what_deletes_says(synced: Pair) -> None:
    synced.source("DELETE FROM t WHERE id = 1")
    said = {deletes: asked(synced, "1", deletes=deletes).sentence for deletes in Deletes}
    assert said[Deletes.IGNORE].endswith("deletes: ignore keeps it")
    assert said[Deletes.HARD] == "not in the source: the next run deletes it"
    assert said[Deletes.SOFT] == "not in the source: the next run marks it as deleted"
    assert asked(synced, "1", mode=SyncMode.FULL_SYNC).sentence.endswith("the next run deletes it")
    synced.sync(deletes=Deletes.SOFT)
    found = asked(synced, "1", deletes=Deletes.SOFT)
    assert found.deleted_at
    assert found.sentence.startswith("not in the source: marked as deleted on the target")
    synced.source("INSERT INTO t VALUES (1)")
    assert "clears its mark" in asked(synced, "1", deletes=Deletes.SOFT).sentence


def test_a_row_that_was_removed_on_the_target_is_told_from_a_late_one(synced: Pair) -> None:
    synced.source("INSERT INTO t VALUES (4)")
    synced.sync()
    synced.target("DELETE FROM t WHERE id = 1")
    found = asked(synced, "1")
    assert found.source_xmin
    assert found.watermark
    assert found.source_xmin < found.watermark
    assert "it was removed there" in found.sentence


@both_ways
def test_a_row_that_was_changed_on_the_target_is_not_called_the_source_s(synced: Pair) -> None:
    # The mark must leave the rows behind.
    synced.source("INSERT INTO t VALUES (4)")
    synced.sync()
    assert asked(synced, "1").equal is True
    synced.target("UPDATE t SET note = 'by hand' WHERE id = 1")
    found = asked(synced, "1")
    assert (found.equal, found.source_xmin) == (False, found.target_source_xmin)
    assert found.sentence.endswith("put it right with verify --repair")
    assert "puts it right" in asked(synced, "1", mode=SyncMode.FULL_SYNC).sentence
    synced.source("UPDATE t SET note = 'new' WHERE id = 1")
    assert "the next run reads it again" in asked(synced, "1").sentence
    synced.target("ALTER TABLE t DROP note")
    assert asked(synced, "1").equal is None


def test_a_row_written_without_a_change_keeps_its_older_version(synced: Pair) -> None:
    synced.source("UPDATE t SET note = note WHERE id = 1")
    synced.sync()
    # The mark must leave the rewritten row behind.
    synced.source("INSERT INTO t VALUES (4)")
    synced.sync()
    assert "changed none of the columns" in asked(synced, "1").sentence


def test_an_adopted_row_has_no_version_until_it_changes(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    pair.target("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    assert asked(pair, "1").on_target
    pair.sync()
    pair.source("INSERT INTO t VALUES (2)")
    pair.sync()
    found = asked(pair, "1")
    assert found.target_source_xmin is None
    assert "before the first run" in found.sentence


def test_a_filter_leaves_a_row_out(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    pair.sync(where="id > 1")
    found = asked(pair, "1", where="id > 1")
    assert (found.on_source, found.in_scope, found.on_target) == (True, False, False)
    assert found.sentence == "left out by where, and not on the target"
    assert asked(pair, "2", where="id > 1").sentence.startswith("on the target")


def test_where_the_cursor_alone_is_trusted_the_sentence_says_so(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY, at int)", "INSERT INTO t VALUES (1, 1)")
    options = {
        "cursor": "at",
        "late_commits": LateCommits.LOOKBACK,
        "mode": SyncMode.INCREMENTAL_SYNC,
    }
    pair.engine().sync(Table(T, T, **options))  # type: ignore[arg-type]
    pair.source("INSERT INTO t VALUES (2, 0)")
    assert "if its cursor is not older" in asked(pair, "2", **options).sentence


def test_a_partition_of_later_is_loaded_whole(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE t2 (id int PRIMARY KEY)",
        "INSERT INTO t2 VALUES (15)",
    )
    pair.sync()
    pair.source("ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (10) TO (20)")
    found = asked(pair, "15")
    assert found.source_leaf == "public.t2"
    assert "which the last run did not see" in found.sentence


@both_ways
def test_composite_keys_are_cast_by_the_server(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (day date, name text, PRIMARY KEY (day, name))",
        "INSERT INTO t VALUES ('2026-01-31', 'Kim, Minji'), ('2026-01-31', 'a')",
    )
    assert asked(pair, "31 January 2026", "Kim, Minji").on_source
    assert asked(pair, "2026-01-31,a").on_source
    found = asked(pair, '2026-01-31,"Kim, Minji"')
    assert found.on_source
    assert found.sentence == "the table was never synced: its first run brings the row"
    with pytest.raises(errors.ConfigurationError, match="2 values, not 3"):
        asked(pair, "2026-01-31,Kim, Minji")
    with pytest.raises(errors.ConfigurationError, match="no row can have the key"):
        asked(pair, "someday", "a")


def test_a_view_s_row_has_no_version(pair: Pair) -> None:
    pair.source("CREATE VIEW t AS SELECT 1 AS id")
    found = asked(pair, "1", mode=SyncMode.FULL_SYNC, key=("id",))
    assert (found.on_source, found.source_xmin) == (True, None)


def test_a_relation_without_a_key_has_no_row_to_name(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id int)")
    with pytest.raises(errors.UnusableKey, match="no row of it can be named"):
        asked(pair, "1", mode=SyncMode.FULL_SYNC)
