"""A full pass over a target that is there goes by pieces, too: it shows at its end, and goes on where it was ended."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sync_assets.engine.errors import DeleteGuard, PrivilegeError
from sync_assets.engine.limits import Limits
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways
from sync_assets_tests.scenarios.first_load.test_pieces import SMALL_PIECES, interrupt
from sync_assets_tests.scenarios.first_load.test_pieces import load as run

pytestmark = both_ways

ROWS = 40_000
TAMPERED = (
    "DELETE FROM t WHERE id % 10 = 1",
    "UPDATE t SET v = 'tampered' WHERE id % 10 = 2",
    "INSERT INTO t SELECT -i, 'made up', 1, 0 FROM generate_series(1, 300) i",
)


def made(pair: Pair) -> Pair:
    """A table that is in step, and whose target has been tampered with since."""
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text, n integer)",
        f"INSERT INTO t SELECT i, repeat('x', 100), i % 7 FROM generate_series(1, {ROWS}) i",
        "ANALYZE t",
    )
    run(pair)
    pair.target(*TAMPERED)
    return pair


FULL: dict[str, dict[str, Any]] = {
    "asked for": {"full_refresh": True, "deletes": "hard"},
    "of another scope": {"exclude": ["n"], "deletes": "hard"},
}


@pytest.mark.parametrize("options", FULL.values(), ids=FULL)
def test_a_full_pass_of_a_large_table_mends_the_target_by_pieces(
    pair: Pair, options: dict[str, Any]
) -> None:
    made(pair)
    interrupt(pair, **options)
    seen = pair.target("SELECT count(*) FILTER (WHERE v = 'tampered'), count(*) FROM t")
    assert seen == [(ROWS // 10, ROWS * 9 // 10 + 300)]
    pair.source(
        "UPDATE t SET v = 'new' WHERE id % 9 = 0",
        "DELETE FROM t WHERE id % 7 = 0",
        "UPDATE t SET id = -id WHERE id < 200",
    )
    receipt = run(pair, **options)
    assert receipt.full
    assert any("loaded by earlier runs" in event for event in receipt.events)
    (left,) = pair.source("SELECT count(*) FROM t")
    assert (receipt.rows_in_target,) == left
    moved = receipt.rows_inserted + receipt.rows_updated + receipt.rows_unchanged
    assert moved == receipt.rows_exported
    columns = "id, v" if "exclude" in options else "id, v, n"
    rows = f"SELECT {columns} FROM t ORDER BY id"
    assert pair.target(rows) == pair.source(rows)
    assert pair.leftovers() == []
    assert pair.target("SELECT count(*) FROM sync_assets.load") == [(0,)]
    pair.source("UPDATE t SET v = 'later' WHERE id = 500")
    assert run(pair, **{**options, "full_refresh": False}).rows_exported == 1


def test_what_every_run_reads_whole_leaves_the_source_s_cache_to_others(pair: Pair) -> None:
    made(pair)
    receipt = pair.engine(limits=SMALL_PIECES).copy_table_data("t", "t", "full_sync")
    assert receipt.full
    assert "pieces" not in receipt.reason
    assert pair.is_exact()


def test_a_run_in_between_leaves_it_be(pair: Pair) -> None:
    made(pair)
    interrupt(pair, full_refresh=True)
    pair.source("UPDATE t SET v = 'between' WHERE id % 100 = 5")
    assert run(pair).rows_exported == ROWS // 100
    pair.source("UPDATE t SET v = 'after' WHERE id % 100 = 6")
    receipt = run(pair, full_refresh=True, deletes="hard")
    assert any("loaded by earlier runs" in event for event in receipt.events)
    assert pair.is_exact()


def test_what_a_guard_refuses_is_loaded_and_not_read_again(pair: Pair) -> None:
    made(pair)
    pair.source(f"DELETE FROM t WHERE id > {ROWS // 4}")
    options = {"full_refresh": True, "deletes": "hard", "max_delete_ratio": 0.1}
    with pytest.raises(DeleteGuard, match="100% of it is loaded"):
        run(pair, **options)
    assert pair.target("SELECT count(*) FROM t WHERE v = 'tampered'") == [(ROWS // 10,)]
    receipt = run(pair, **options, confirm_deletes=ROWS)
    assert receipt.rows_exported == ROWS // 4
    assert pair.is_exact()


def test_the_target_follows_its_source_at_the_end_of_a_full_pass(pair: Pair) -> None:
    made(pair)
    pair.source("ALTER TABLE t ADD w integer DEFAULT 7")
    receipt = run(pair, deletes="hard", full_refresh=True)
    assert "pieces" in receipt.reason
    assert pair.is_exact()


UNLIKE = (
    "DROP TABLE t",
    "CREATE TABLE t (note text DEFAULT 'ours', v text, id bigint PRIMARY KEY, n numeric NOT NULL)",
    "INSERT INTO t (id, v, n) VALUES (1, 'old', 1), (-1, 'made up', 1)",
)


def test_a_target_of_wider_types_and_columns_of_its_own_is_mended(pair: Pair) -> None:
    made(pair)
    pair.target(*UNLIKE)
    interrupt(pair, deletes="hard", full_refresh=True)
    pair.source("UPDATE t SET v = 'new' WHERE id % 100 = 3")
    receipt = run(pair, deletes="hard", full_refresh=True)
    assert any("loaded by earlier runs" in event for event in receipt.events)
    rows = "SELECT id, v, n::integer FROM t ORDER BY id"
    assert pair.target(rows) == pair.source(rows)
    assert pair.target("SELECT DISTINCT note FROM t") == [("ours",)]
    assert run(pair, deletes="hard", full_refresh=True).rows_updated == 0


def test_what_was_loaded_for_a_target_of_other_types_is_read_again(pair: Pair) -> None:
    made(pair)
    interrupt(pair, full_refresh=True, deletes="hard")
    pair.target("ALTER TABLE t ALTER n TYPE bigint")
    receipt = run(pair, full_refresh=True, deletes="hard")
    assert any("the columns of public.t changed" in event for event in receipt.events)
    assert pair.is_exact()


def test_what_the_target_generates_itself_is_not_read_whole_by_the_last_step(pair: Pair) -> None:
    table = (
        "CREATE TABLE t (id integer PRIMARY KEY, v text,"
        " n integer GENERATED ALWAYS AS (length(v)) STORED)"
    )
    pair.source(
        table,
        f"INSERT INTO t (id, v) SELECT i, repeat('x', 100) FROM generate_series(1, {ROWS}) i",
        "ANALYZE t",
    )
    pair.target(table)
    interrupt(pair)
    pair.source("UPDATE t SET v = 'new' WHERE id = 5")
    receipt = run(pair)
    assert any("loaded by earlier runs" in event for event in receipt.events)
    assert receipt.rows_exported <= ROWS + 1
    assert pair.is_exact()


@pytest.mark.parametrize("first", [True, False], ids=["first load", "full pass"])
def test_what_another_role_began_is_named_with_it_and_given_up_as_it(
    pair: Pair, first: bool
) -> None:
    made(pair)
    if first:
        pair.target("DROP TABLE t")
    interrupt(pair, full_refresh=True)
    another = with_role(pair, "loader")
    with pytest.raises(PrivilegeError, match="role postgres began a load") as said:
        run(another, full_refresh=True)
    (drop,) = re.findall(r"DROP TABLE .*;", said.value.remedy)
    pair.target(drop)
    receipt = run(another, full_refresh=True, deletes="hard")
    assert any("started over" in event for event in receipt.events)
    assert pair.is_exact()


def with_role(pair: Pair, role: str) -> Pair:
    """The pair with a target that this role, and no superuser, writes to."""
    pair.target(
        f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        f"ALTER TABLE IF EXISTS t OWNER TO {role}",
        f"GRANT ALL ON SCHEMA sync_assets TO {role}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA sync_assets TO {role}",
    )
    return Pair(pair.source_url, pair.target_url.replace("postgres@", f"{role}@"))


def test_a_role_that_may_make_no_table_reads_on_one_snapshot(pair: Pair) -> None:
    made(pair)
    narrow = with_role(pair, "loader")
    pair.target("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    receipt = run(narrow, full_refresh=True, deletes="hard")
    assert "pieces" not in receipt.reason
    assert pair.is_exact()


def test_a_schema_that_is_published_gets_no_table_that_subscribers_lack(pair: Pair) -> None:
    made(pair)
    pair.target("CREATE PUBLICATION everything FOR TABLES IN SCHEMA public")
    receipt = run(pair, full_refresh=True, deletes="hard")
    assert "pieces" not in receipt.reason
    assert pair.is_exact()


def test_what_is_loaded_becomes_the_target_where_that_is_dropped_meanwhile(pair: Pair) -> None:
    made(pair)
    interrupt(pair, full_refresh=True)
    pair.target("DROP TABLE t")
    receipt = run(pair)
    assert any("loaded by earlier runs" in event for event in receipt.events)
    assert pair.is_exact()


@pytest.mark.parametrize("before", ["SELECT", "ALTER TABLE t ALTER n TYPE bigint"])
def test_what_was_loaded_for_a_target_of_other_columns_does_not_become_the_target(
    pair: Pair, before: str
) -> None:
    made(pair)
    pair.source("ALTER TABLE t ALTER v SET NOT NULL")
    pair.target(before)
    interrupt(pair, full_refresh=True)
    pair.target("DROP TABLE t")
    receipt = run(pair)
    assert any("the columns of public.t changed" in event for event in receipt.events)
    columns = (
        "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
        "WHERE attrelid = 't'::regclass AND attname IN ('id', 'v', 'n') ORDER BY 1"
    )
    assert pair.target(columns) == pair.source(columns)
    assert pair.is_exact()


def test_a_table_that_somebody_made_meanwhile_is_filled(pair: Pair) -> None:
    made(pair)
    pair.target("DROP TABLE t", "DELETE FROM sync_assets.state")
    interrupt(pair)
    pair.target("CREATE TABLE t (id integer PRIMARY KEY, v text, n integer)")
    receipt = run(pair)
    assert any("loaded by earlier runs" in event for event in receipt.events)
    assert pair.is_exact()


def test_a_run_on_one_snapshot_takes_its_place(pair: Pair) -> None:
    made(pair)
    interrupt(pair, full_refresh=True)
    engine = pair.engine(limits=Limits(piece_mb=0))
    engine.copy_table_data_with_xmin("t", "t", full_refresh=True, deletes="hard")
    assert pair.is_exact()
    assert pair.leftovers() == []
    assert pair.target("SELECT count(*) FROM sync_assets.load") == [(0,)]
