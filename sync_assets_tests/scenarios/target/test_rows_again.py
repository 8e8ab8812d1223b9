"""A part is read again, compared and put right; the rest, and what the next run reads, stay as they are."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import pytest

from sync_assets.engine import RelationName, SyncMode, Table
from sync_assets.engine.errors import (
    ConfigurationError,
    DeleteGuard,
    SchemaConflict,
    SourceBehind,
    SourceIdentityChanged,
    SyncError,
    UnusableKey,
)
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways
from sync_assets_tests.fixtures.sessions import end_idle

pytestmark = both_ways

CREATE = "CREATE TABLE t (id integer PRIMARY KEY, day date NOT NULL, v text)"
FILL = "INSERT INTO t SELECT i, date '2025-01-01' + i, 'v' || i FROM generate_series(1, 730) i"
ROWS = "day >= '2026-01-01'"
PART = "id >= 365"
MARK = (
    "SELECT watermark, snapshot_xmax, snapshot_at, cursor_column, cursor_mark, positions, map, "
    "configuration, columns::text, synced_at, mode, run_id FROM sync_assets.state"
)
LEAVES = "SELECT * FROM sync_assets.state_leaf ORDER BY leaf"
OTHERS_SEEN = (
    "UPDATE sync_assets.state SET samples = (SELECT jsonb_agg(jsonb_build_array(9, "
    "jsonb_build_array(i::text))) FROM generate_series(5001, 5030) AS i)"
)
PLACES = "SELECT id, ctid::text, xmin::text FROM t WHERE NOT {} ORDER BY id"


def counts(receipt: Any) -> tuple[int, int, int, int]:
    """Rows read, inserted, updated, deleted."""
    return (
        receipt.rows_exported,
        receipt.rows_inserted,
        receipt.rows_updated,
        receipt.rows_deleted,
    )


def remembered(pair: Pair) -> list[Any]:
    return [pair.target(MARK), pair.target(LEAVES)]


def test_rows_changed_on_the_target_are_put_right_within_the_part_alone(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    pair.target(
        "UPDATE t SET v = 'by hand' WHERE id IN (5, 400)",
        "DELETE FROM t WHERE id IN (6, 401, 402)",
        "INSERT INTO t (id, day, v) VALUES (9001, '2026-05-05', 'extra')",
    )
    before, places = remembered(pair), pair.target(PLACES.format(PART))
    receipt = pair.sync(rows=ROWS)
    assert counts(receipt) == (366, 2, 1, 0)
    assert (receipt.mode, receipt.reason) == ("rows", f"rows again: {ROWS}")
    assert (receipt.full, receipt.exact) == (False, True)
    # The one that is missing outside of the part is missing, the one that only the target has is there.
    assert receipt.rows_in_target == 730
    assert receipt.watermark == receipt.watermark_before == before[0][0][0]
    assert pair.target("SELECT id, v FROM t WHERE id IN (5, 400, 401, 9001) ORDER BY id") == [
        (5, "by hand"),
        (400, "v400"),
        (401, "v401"),
        (9001, "extra"),
    ]
    assert pair.target("SELECT count(*) FROM t WHERE id = 6") == [(0,)]
    assert pair.target(PLACES.format(PART)) == places
    assert remembered(pair) == before
    own = pair.source("SELECT DISTINCT xmin::text::bigint FROM t")
    assert (
        pair.target("SELECT DISTINCT source_xmin % (1::bigint << 32) FROM t WHERE id = 401") == own
    )
    assert pair.sync().rows_written == 0
    assert pair.sync(rows="true").rows_written == 2


@pytest.mark.parametrize("deletes", ["hard", "soft"])
def test_of_the_part_goes_what_is_gone_from_the_source(pair: Pair, deletes: str) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes=deletes)
    pair.source("DELETE FROM t WHERE id IN (3, 500, 501)")
    pair.target(
        "INSERT INTO t (id, day, v) VALUES (9001, '2026-05-05', ''), (9002, '2025-05-05', '')"
    )
    before = remembered(pair)
    receipt = pair.sync(rows=ROWS, deletes=deletes)
    assert counts(receipt) == (364, 0, 0, 3)
    live = " AND deleted_at IS NULL" if deletes == "soft" else ""
    left = f"SELECT id FROM t WHERE id IN (3, 500, 501, 9001, 9002){live} ORDER BY id"
    assert pair.target(left) == [(3,), (9002,)]
    assert remembered(pair) == before
    assert pair.sync(deletes=deletes).rows_deleted == 2


def test_a_row_that_lives_on_the_source_is_not_deleted_wherever_the_target_has_it(
    pair: Pair,
) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes="hard")
    pair.target(
        "UPDATE t SET day = '2026-07-07' WHERE id = 7",
        "UPDATE t SET day = '2025-07-07' WHERE id = 600",
    )
    assert counts(pair.sync(rows=ROWS, deletes="hard")) == (366, 0, 1, 0)
    moved = "SELECT id, day::text FROM t WHERE id IN (7, 600) ORDER BY id"
    assert pair.target(moved) == [(7, "2026-07-07"), (600, "2026-08-24")]
    assert counts(pair.sync(rows="day < '2026-01-01'", deletes="hard")) == (364, 0, 1, 0)
    assert pair.is_exact()


def test_a_marked_row_that_the_source_has_is_live_again(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes="soft")
    pair.target("UPDATE t SET deleted_at = now() WHERE id IN (1, 700)")
    assert counts(pair.sync(rows=ROWS, deletes="soft")) == (366, 0, 1, 0)
    assert pair.target("SELECT id FROM t WHERE deleted_at IS NOT NULL") == [(1,)]


@pytest.mark.parametrize(
    "options",
    [
        {"sync_mode": "xmin_incremental"},
        {"sync_mode": "xmin_incremental", "deletes": "hard"},
        {"sync_mode": "incremental_sync", "cursor": "n"},
        {"sync_mode": "incremental_sync", "cursor": "n", "late_commits": "lookback"},
        {"sync_mode": "full_sync"},
    ],
    ids=lambda options: "-".join(options.values()),
)
@pytest.mark.parametrize("held", [False, True], ids=["", "held"])
def test_the_next_run_carries_all_that_it_would_have_carried(
    pair: Pair, options: dict[str, Any], held: bool
) -> None:
    """With a transaction open across the part that began since the last run, or one from before it."""
    pair.source(
        CREATE.replace("v text", "v text, n bigint DEFAULT 0"),
        FILL.replace("INTO t", "INTO t (id, day, v)"),
    )

    def sync(**more: Any) -> Any:
        return pair.engine().copy_table_data("t", "t", **options, **more)

    changed = "UPDATE t SET v = 'new', n = n + {} WHERE id IN ({})"
    with closing(psycopg2.connect(pair.source_url)) as early, early.cursor() as cursor:
        cursor.execute(changed.format(1, "1, 401"))
        if not held:
            early.commit()
        sync()
        before = remembered(pair)
        pair.source(changed.format(2, "2, 402"), "INSERT INTO t VALUES (801, '2026-09-09', '', 3)")
        with closing(psycopg2.connect(pair.source_url)) as late, late.cursor() as another:
            another.execute(changed.format(4, "3, 403"))
            receipt = sync(rows=ROWS)
            assert counts(receipt) == (367, 1, 1, 0)
            late.commit()
        early.commit()
    assert remembered(pair) == before
    assert pair.target("SELECT v FROM t WHERE id IN (2, 402) ORDER BY id") == [("v2",), ("new",)]
    receipt = sync()
    assert (receipt.rows_updated, receipt.rows_inserted) == (5 if held else 3, 0)
    assert pair.is_exact()


@pytest.mark.from_15
def test_a_map_of_keys_by_page_is_kept_only_while_it_knows_every_row(pair: Pair) -> None:
    """A row that a part has brought before the map knows of it, and that is gone by the next run, goes."""
    pair.source("CREATE EXTENSION pg_walinspect", CREATE, FILL)
    options = {"deletes": "hard", "changed_blocks": "require"}
    pair.sync(**options)
    pair.source("UPDATE t SET v = 'x' WHERE id = 1")
    pair.sync(**options)
    (mapped,) = pair.target("SELECT map FROM sync_assets.state")
    assert mapped != (None,)
    pair.target("UPDATE t SET v = 'by hand' WHERE id = 400")
    assert counts(pair.sync(rows=ROWS, **options)) == (366, 0, 1, 0)
    assert pair.target("SELECT map FROM sync_assets.state") == [mapped]
    pair.source("INSERT INTO t VALUES (801, '2026-09-09', 'soon gone')")
    assert counts(pair.sync(rows=ROWS, **options)) == (367, 1, 0, 0)
    assert pair.target("SELECT map FROM sync_assets.state") == [(None,)]
    pair.source("DELETE FROM t WHERE id IN (2, 801)")
    assert pair.sync(**options).rows_deleted == 2
    assert pair.is_exact()


def test_a_filter_and_expressions_hold_for_a_part_too(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    options: dict[str, Any] = {"where": "id % 2 = 0", "expressions": {"v": "md5(v)"}}
    pair.sync(**options)
    pair.source("UPDATE t SET v = 'x' WHERE id IN (500, 501)")
    pair.target(
        "UPDATE t SET v = 'plain' WHERE id = 400",
        "INSERT INTO t (id, day, v) VALUES (401, '2026-02-06', 'out of scope')",
    )
    receipt = pair.sync(rows="day >= '2026-01-01' AND v LIKE 'v%' OR v = 'x'", **options)
    assert counts(receipt) == (183, 0, 2, 0)
    assert receipt.rows_left_scope is None
    assert pair.target("SELECT count(*) FROM t WHERE v IN ('plain', 'x')") == [(0,)]
    assert pair.target("SELECT v FROM t WHERE id = 401") == [("out of scope",)]
    assert pair.sync(rows=ROWS, deletes="hard", **options).rows_deleted == 1


def test_a_condition_may_ask_other_tables_where_nothing_is_deleted(pair: Pair) -> None:
    pair.source(CREATE, FILL, "CREATE TABLE wanted AS SELECT 400 AS id")
    pair.sync()
    pair.target("UPDATE t SET v = 'by hand' WHERE id IN (399, 400)")
    assert counts(pair.sync(rows="id IN (SELECT id FROM wanted)")) == (1, 0, 1, 0)
    assert pair.target("SELECT id FROM t WHERE v = 'by hand'") == [(399,)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("id IN (SELECT 400)", "cannot use subquery"),
        ("day > now() - interval '7 days'", "IMMUTABLE"),
        ("v = 'v400'", 'column "v" does not exist'),
        ("own(id)", "does not exist"),
    ],
)
def test_rows_are_deleted_only_by_a_condition_that_the_target_can_judge(
    pair: Pair, rows: str, said: str
) -> None:
    pair.source(
        CREATE,
        FILL,
        "CREATE FUNCTION own(integer) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 > 1'",
    )
    options: dict[str, Any] = {"expressions": {"v": "md5(v)"}, "deletes": "hard"}
    pair.sync(**options)
    before = remembered(pair)
    with pytest.raises(ConfigurationError, match="asked by the same condition") as caught:
        pair.sync(rows=rows, **options)
    assert said in caught.value.message
    assert "created_at >= '2026-01-01'" in caught.value.remedy
    assert remembered(pair) == before
    assert pair.sync(rows=rows, expressions={"v": "md5(v)"}).rows_exported > 0


def test_a_part_that_would_delete_too_much_is_refused(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes="hard")
    pair.source("DELETE FROM t WHERE id >= 200")
    guarded = "531 of 730 rows of the target public.t would be deleted"
    with pytest.raises(DeleteGuard, match=guarded):
        pair.sync(rows="id > 100", deletes="hard", min_deletes=1)
    pair.sync(rows="id > 100", deletes="hard", confirm_deletes=531)
    assert pair.target("SELECT count(*) FROM t") == [(199,)]


def test_an_emptied_source_empties_no_part(pair: Pair) -> None:
    pair.source(CREATE, FILL.replace("730", "10"))
    pair.sync(deletes="hard")
    pair.source("DELETE FROM t")
    with pytest.raises(DeleteGuard, match=r"is empty and the target public\.t has 1 rows"):
        pair.sync(rows="id = 1", deletes="hard")
    assert pair.target("SELECT count(*) FROM t") == [(10,)]


def test_a_table_that_was_never_synced_has_no_part(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.target("CREATE TABLE t (id integer PRIMARY KEY, day date, v text)")
    with pytest.raises(ConfigurationError, match="never synced") as caught:
        pair.sync(rows=ROWS)
    assert "without --rows" in caught.value.remedy
    pair.target("DROP TABLE t")
    with pytest.raises(ConfigurationError, match="never synced"):
        pair.sync(rows=ROWS)
    assert pair.target("SELECT to_regclass('t') IS NULL") == [(True,)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("day >", "refuses the rows asked for"),
        ("nowhere = 1", 'column "nowhere" does not exist'),
        ("id", "must be type boolean"),
        ("id = 1; DROP TABLE t", "semicolon"),
        ("id = 1) OR (true", "parenthesis"),
        ("id = 1 -- all", "comment"),
        ("", "empty"),
    ],
)
def test_a_condition_that_is_none_is_refused(pair: Pair, rows: str, said: str) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    with pytest.raises(ConfigurationError, match=said) as caught:
        pair.sync(rows=rows)
    assert caught.value.remedy
    assert pair.sync().rows_exported == 0


@pytest.mark.parametrize("name", ["full_refresh", "accept_source"])
def test_a_part_is_not_asked_for_with_what_is_about_all_rows(pair: Pair, name: str) -> None:
    options: dict[str, Any] = {name: True}
    with pytest.raises(ConfigurationError, match=f"rows and {name} contradict"):
        pair.sync(rows=ROWS, **options)


def test_rows_without_a_key_have_no_part(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id integer)", "INSERT INTO t VALUES (1), (1)")
    pair.engine().copy_table_data("t", "t")
    with pytest.raises(UnusableKey, match="has no key"):
        pair.engine().copy_table_data("t", "t", rows="id = 1")


def test_a_target_that_has_yet_to_follow_its_source_is_synced_first(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    pair.source("ALTER TABLE t ADD w integer DEFAULT 7")
    with pytest.raises(SchemaConflict, match='follow its source first: add column "w"'):
        pair.sync(rows=ROWS)
    pair.sync()
    pair.target("UPDATE t SET w = 0 WHERE id = 500")
    assert pair.sync(rows=ROWS).rows_updated == 1


@pytest.mark.parametrize(
    ("meanwhile", "options", "why"),
    [
        ("TRUNCATE t", {}, "the target table itself changed"),
        ("SELECT 1", {"where": "id > 1"}, "the configuration of the table changed"),
        ("UPDATE sync_assets.state SET timeline = 99", {}, "the source's timeline changed"),
        (
            OTHERS_SEEN,
            {},
            "none of the 30 newest rows is on the source",
        ),
    ],
)
def test_where_the_next_run_reads_every_row_no_part_hides_that(
    pair: Pair, meanwhile: str, options: dict[str, Any], why: str
) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    pair.target(meanwhile)
    before = remembered(pair)
    with pytest.raises(ConfigurationError, match="must read every row") as caught:
        pair.sync(rows=ROWS, **options)
    assert why in caught.value.message
    assert remembered(pair) == before
    assert why in pair.sync(**options).reason


@pytest.mark.parametrize(
    ("seen", "error"),
    [
        ("system_identifier = '1'", SourceIdentityChanged),
        ("source_lsn = source_lsn + (1::bigint << 40)", SourceBehind),
    ],
)
def test_another_source_or_an_older_one_is_refused(
    pair: Pair, seen: str, error: type[SyncError]
) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    pair.target(f"UPDATE sync_assets.state SET {seen}")
    with pytest.raises(error):
        pair.sync(rows=ROWS)


def test_no_later_source_may_fall_behind_what_a_part_has_brought(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    seen = "SELECT source_lsn, samples FROM sync_assets.state"
    ((before, _),) = pair.target(seen)
    pair.source("UPDATE t SET v = 'new' WHERE id BETWEEN 700 AND 702")
    receipt = pair.sync(rows=ROWS)
    ((after, samples),) = pair.target(seen)
    assert after > before
    newest = {key for xid, (key,) in samples if xid == receipt.source_max_xmin}
    assert newest == {"700", "701", "702"}


def test_a_dry_run_says_what_it_would_put_right(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes="hard")
    pair.target("UPDATE t SET v = '' WHERE id = 400", "DELETE FROM t WHERE id = 401")
    pair.source("DELETE FROM t WHERE id = 402")
    before = (pair.target("SELECT * FROM t ORDER BY id"), pair.target("TABLE sync_assets.state"))
    receipt = pair.sync(rows=ROWS, deletes="hard", dry_run=True)
    assert (counts(receipt), receipt.dry_run) == ((365, 1, 1, 1), True)
    after = (pair.target("SELECT * FROM t ORDER BY id"), pair.target("TABLE sync_assets.state"))
    assert after == before


def test_a_plan_says_that_a_part_is_read(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    name = RelationName("public", "t")
    planned = pair.engine().plan(Table(name, name, rows=ROWS))
    assert (planned.mode, planned.reason, planned.full) == ("rows", f"rows again: {ROWS}", False)
    assert [leaf.how for leaf in planned.leaves] == ["full"]


def test_a_view_has_parts_by_the_key_it_is_given(pair: Pair) -> None:
    pair.source(CREATE.replace("t (", "base ("), FILL.replace("INTO t", "INTO base"))
    pair.source("CREATE VIEW t AS SELECT * FROM base WHERE id > 1")
    options: dict[str, Any] = {"key": ["id"]}
    pair.engine().copy_table_data("t", "t", **options)
    pair.target("UPDATE t SET v = '' WHERE id IN (2, 400)", "DELETE FROM t WHERE id = 500")
    pair.target("INSERT INTO t (id, day) VALUES (1, '2025-01-02'), (9001, '2026-01-01')")
    assert counts(pair.engine().copy_table_data("t", "t", rows=ROWS, **options)) == (366, 1, 1, 1)
    assert pair.target("SELECT id FROM t WHERE v = '' OR id = 1 ORDER BY id") == [(1,), (2,)]


def test_partitions_old_and_new_are_read_for_a_part(pair: Pair) -> None:
    pair.source(
        CREATE.replace("PRIMARY KEY", "").replace("v text", "v text, PRIMARY KEY (id, day)")
        + " PARTITION BY RANGE (day)",
        "CREATE TABLE t_2025 PARTITION OF t FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
        "CREATE TABLE t_2026 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        FILL.replace("730", "700"),
        "CREATE TABLE t_2027 (LIKE t)",
        "INSERT INTO t_2027 VALUES (9001, '2027-01-01', 'old, and new here')",
    )
    pair.sync(deletes="hard")
    pair.source(
        "ALTER TABLE t ATTACH PARTITION t_2027 FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')"
    )
    pair.target("DELETE FROM t WHERE id IN (1, 400)")
    before = remembered(pair)
    assert counts(pair.sync(rows=ROWS, deletes="hard")) == (337, 2, 0, 0)
    assert remembered(pair) == before
    receipt = pair.sync(deletes="hard")
    assert "t_2027 is new" in receipt.reason


def test_the_tables_of_a_group_are_put_right_together(pair: Pair) -> None:
    pair.source(
        CREATE,
        FILL,
        "CREATE TABLE line (id integer PRIMARY KEY, t integer REFERENCES t, day date)",
        "INSERT INTO line SELECT id, id, day FROM t",
    )
    names = [RelationName("public", name) for name in ("line", "t")]
    group = [Table(name, name) for name in names]
    pair.engine().sync_group(group)
    pair.target("DELETE FROM line WHERE id IN (300, 400)", "DELETE FROM t WHERE id IN (300, 400)")
    pair.target("ALTER TABLE line ADD FOREIGN KEY (t) REFERENCES t")
    part = [Table(name, name, rows=ROWS) for name in names]
    assert [counts(each) for each in pair.engine().sync_group(part)] == [(366, 1, 0, 0)] * 2
    with pytest.raises(ConfigurationError, match=r"public\.line refuses the rows asked for"):
        pair.engine().sync_group([Table(name, name, rows="v = ''") for name in names])
    assert pair.target("SELECT count(*) FROM t") == [(729,)]


def test_values_that_two_rows_have_swapped_are_put_right(pair: Pair) -> None:
    pair.source(CREATE.replace("v text", "v text UNIQUE"), FILL)
    pair.sync()
    pair.target("ALTER TABLE t ADD UNIQUE (v)")
    pair.target("UPDATE t SET v = 'x' WHERE id = 400", "UPDATE t SET v = 'v400' WHERE id = 401")
    assert pair.sync(rows=ROWS).rows_updated == 2
    assert pair.is_exact()


def test_a_trigger_that_keeps_a_part_from_being_put_right_is_named(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes="hard")
    pair.target(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER keep BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION keep()",
    )
    pair.source("DELETE FROM t WHERE id IN (300, 400)")
    with pytest.raises(SchemaConflict, match="1 rows that had to go are there: the trigger keep"):
        pair.sync(rows=ROWS, deletes="hard")


def test_an_index_of_the_source_tells_a_part_of_a_large_table(pair: Pair) -> None:
    """Which is else read in the order of its pages, whatever indexes there are."""
    pair.source(
        CREATE.replace("PRIMARY KEY", "PRIMARY KEY, kind integer"),
        # 20 MB, and the fixture's servers have a cache of 64.
        "INSERT INTO t SELECT i, i % 1000, now(), repeat('x', 160) FROM generate_series(1, 100000) i",
        "CREATE INDEX ON t (kind)",
        "VACUUM ANALYZE t",
    )
    pair.sync()
    read = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 't'"
    end_idle()
    before = pair.source(read)
    assert pair.sync(rows="kind = 7").rows_exported == 100
    end_idle()
    assert pair.source(read) == before


@pytest.mark.parametrize("mode", list(SyncMode))
def test_every_mode_has_parts(pair: Pair, mode: SyncMode) -> None:
    pair.source(CREATE, FILL)
    options = {"cursor": "id"} if mode is SyncMode.INCREMENTAL_SYNC else {}
    pair.engine().copy_table_data("t", "t", mode, **options)
    pair.target("UPDATE t SET v = 'by hand' WHERE id = 400")
    receipt = pair.engine().copy_table_data("t", "t", mode, rows=ROWS, **options)
    assert (receipt.rows_exported, receipt.rows_updated) == (366, 1)
    assert pair.is_exact()
