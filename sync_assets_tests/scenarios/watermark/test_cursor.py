"""`incremental_sync`: rows from the last cursor on, and what commits late all the same."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import pytest

from sync_assets.engine import Receipt
from sync_assets.engine.errors import ConfigurationError
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v text, at timestamptz); CREATE INDEX ON t (at)"
FILL = (
    "INSERT INTO t SELECT i, 'v', timestamptz '2026-01-01 00:00Z' + i * interval '1 minute' "
    "FROM generate_series(1, 1000) i"
)


@pytest.fixture(autouse=True)
def _filled(pair: Pair) -> None:
    pair.source(CREATE, FILL)


def by_cursor(pair: Pair, cursor: str = "at", **options: Any) -> Receipt:
    return pair.engine().copy_table_data("t", "t", "incremental_sync", cursor=cursor, **options)


LOOKBACK: dict[str, Any] = {"late_commits": "lookback", "lookback": "10 minutes"}


def test_only_the_range_from_the_last_cursor_is_read(pair: Pair) -> None:
    first = by_cursor(pair, **LOOKBACK)
    assert (first.rows_inserted, first.exact) == (1000, True)
    assert first.cursor_mark == "2026-01-01 16:40:00+00"
    pair.source("INSERT INTO t VALUES (1001, 'new', '2026-01-01 16:41Z')")
    receipt = by_cursor(pair, **LOOKBACK)
    # 10 minutes back: eleven known rows, and the new one.
    assert (receipt.rows_exported, receipt.rows_inserted, receipt.rows_unchanged) == (12, 1, 11)
    assert receipt.cursor_mark == "2026-01-01 16:41:00+00"
    assert not receipt.exact
    assert "at from 2026-01-01 16:30:00+00" in receipt.reason
    assert pair.is_exact()


def test_a_late_commit_with_an_old_cursor_is_not_lost(pair: Pair) -> None:
    by_cursor(pair)
    with closing(psycopg2.connect(pair.source_url)) as slow:
        slow.cursor().execute("INSERT INTO t VALUES (2000, 'late', '2026-01-01 01:00Z')")
        pair.source("INSERT INTO t VALUES (1001, 'new', '2026-01-02')")
        assert by_cursor(pair).rows_inserted == 1
        slow.commit()
    receipt = by_cursor(pair)
    assert (receipt.rows_inserted, receipt.exact) == (1, True)
    assert pair.is_exact()


def test_with_lookback_alone_a_late_commit_before_it_waits_for_another_mode(pair: Pair) -> None:
    by_cursor(pair, **LOOKBACK)
    with closing(psycopg2.connect(pair.source_url)) as slow:
        slow.cursor().execute("INSERT INTO t VALUES (2000, 'late', '2026-01-01 01:00Z')")
        by_cursor(pair, **LOOKBACK)
        slow.commit()
    assert by_cursor(pair, **LOOKBACK).rows_inserted == 0
    # Switching the mode loses nothing: its mark was never moved past what was not read.
    assert pair.sync().rows_inserted == 1
    assert pair.is_exact()


def test_rows_without_a_cursor_are_read_again_where_only_the_cursor_is_trusted(pair: Pair) -> None:
    pair.source("INSERT INTO t VALUES (2000, 'null', NULL)")
    by_cursor(pair, **LOOKBACK)
    pair.source("UPDATE t SET v = 'x' WHERE id = 2000", "INSERT INTO t VALUES (2001, 'n', NULL)")
    receipt = by_cursor(pair, **LOOKBACK)
    assert (receipt.rows_updated, receipt.rows_inserted) == (1, 1)
    assert pair.is_exact()


def test_a_cursor_in_the_future_does_not_hide_what_comes_before_it(pair: Pair) -> None:
    pair.source("INSERT INTO t VALUES (2000, 'typo', '9999-01-01'), (2001, 'x', 'infinity')")
    first = by_cursor(pair, **LOOKBACK)
    assert first.cursor_mark is not None
    assert first.cursor_mark < "2100"
    pair.source("INSERT INTO t VALUES (2002, 'now', clock_timestamp())")
    assert by_cursor(pair, **LOOKBACK).rows_inserted == 1
    assert pair.is_exact()


def test_modes_are_switched_back_and_forth_without_loss_or_full_pass(pair: Pair) -> None:
    pair.sync()
    pair.source("UPDATE t SET v = 'a' WHERE id = 1")
    assert by_cursor(pair).rows_exported == 1
    pair.source("UPDATE t SET v = 'b', at = now() WHERE id = 2")
    assert by_cursor(pair, **LOOKBACK).rows_updated == 1
    pair.source("UPDATE t SET v = 'c' WHERE id = 3")
    assert by_cursor(pair, **LOOKBACK).rows_updated == 0
    assert pair.sync().rows_updated == 1
    pair.source("DELETE FROM t WHERE id = 4")
    assert pair.engine().copy_table_data("t", "t").rows_deleted == 1
    assert by_cursor(pair, deletes="hard").rows_deleted == 0
    assert pair.is_exact()


@pytest.mark.parametrize(
    ("type_", "value", "lookback"),
    [
        ("bigint", "i", "3"),
        ("numeric(12,2)", "i", "2.5"),
        ("date", "date '2026-01-01' + i", "2 days"),
        ("timestamp(3)", "timestamp '2026-01-01' + i * interval '1 hour'", "2 hours"),
        ("text", "to_char(date '2026-01-01' + i, 'YYYYMMDD')", None),
        ("uuid", "lpad(i::text, 32, '0')::uuid", None),
    ],
)
def test_cursors_of_any_type_that_has_an_order(
    pair: Pair, type_: str, value: str, lookback: str | None
) -> None:
    pair.source(
        f"CREATE TABLE c (id integer PRIMARY KEY, c {type_})",
        f"INSERT INTO c SELECT i, {value} FROM generate_series(1, 50) i",
    )
    engine, options = pair.engine(), {"cursor": "c", "late_commits": "lookback"}
    options |= {"lookback": lookback} if lookback else {}
    engine.copy_table_data("c", "c", "incremental_sync", **options)
    pair.source(f"INSERT INTO c SELECT i, {value} FROM generate_series(51, 60) i")
    receipt = engine.copy_table_data("c", "c", "incremental_sync", **options)
    assert receipt.rows_inserted == 10
    assert receipt.rows_exported < 20
    assert pair.is_exact("public.c")


def test_a_view_is_synced_by_its_cursor(pair: Pair) -> None:
    pair.source("CREATE VIEW shown AS SELECT id, upper(v) AS v, at FROM t WHERE id <> 13")

    def run(**options: Any) -> Receipt:
        return pair.engine().copy_table_data(
            "shown", "shown", "incremental_sync", cursor="at", key="id", **options
        )

    assert run().rows_inserted == 999
    pair.source(
        "UPDATE t SET v = 'x', at = now() WHERE id IN (5, 13)", "DELETE FROM t WHERE id = 6"
    )
    receipt = run(lookback="1 minute")
    assert (receipt.rows_updated, receipt.exact) == (1, False)
    assert receipt.rows_exported == 3
    assert run(deletes="hard").rows_deleted == 1
    assert pair.is_exact("public.shown")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cursor": "nope"}, "'nope', which public.t does not have"),
        ({"cursor": "at", "lookback": "soon"}, "lookback 'soon' does not fit"),
        ({"cursor": "id", "lookback": "10 minutes"}, "does not fit the cursor 'id'"),
        ({"cursor": "v", "lookback": "1"}, "text cannot be looked back"),
        ({"cursor": "j"}, "has no order"),
        ({"cursor": None}, "needs a cursor"),
    ],
)
def test_a_wrong_cursor_is_refused_in_words(pair: Pair, options: dict[str, Any], said: str) -> None:
    pair.source("ALTER TABLE t ADD COLUMN j json")
    with pytest.raises(ConfigurationError, match=said):
        by_cursor(pair, **options)
    assert pair.target("SELECT to_regclass('t') IS NULL") == [(True,)]
    assert pair.leftovers() == []
