"""A table is idle where its next run is proven to find nothing, and never by a guess."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import pytest

from sync_assets.engine import RelationName, Table
from sync_assets.engine.inspection.idle import idle_among
from sync_assets.engine.postgres import time_outs
from sync_assets.engine.run import looking
from sync_assets.engine.table import Deletes, SyncMode
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import Connect


@pytest.fixture
def synced(pair: Pair) -> Pair:
    """A table that is in step, and another one that was never synced."""
    pair.source(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT g, 'v' FROM generate_series(1, 50) g",
        "CREATE TABLE u (id int PRIMARY KEY)",
    )
    pair.sync()
    return pair


def is_idle(pair: Pair, **options: Any) -> bool:
    return "public.t" in idle(pair, table("t", **options))


def idle(pair: Pair, *tables: Table) -> set[str]:
    return {str(name) for name in idle_among(pair.source_url, pair.target_url, tables)}


def table(name: str, **options: Any) -> Table:
    relation = RelationName("public", name)
    return Table(relation, relation, **options)


def test_a_table_that_nobody_wrote_to_is_idle_whatever_else_was_written(synced: Pair) -> None:
    assert is_idle(synced)
    synced.source("INSERT INTO u VALUES (1)", "VACUUM FREEZE t", "ANALYZE t")
    assert is_idle(synced)


def test_a_table_that_nobody_may_read_now_is_left_to_its_run_and_not_waited_for(
    synced: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced.sync("u")
    synced.source("CREATE TABLE w (id int PRIMARY KEY)")
    synced.sync("w")
    monkeypatch.setattr(looking, "PATIENCE", 3_600_000)
    monkeypatch.setattr(time_outs, "LOCK", 3_600_000)
    with closing(psycopg2.connect(synced.source_url)) as migration, migration.cursor() as cursor:
        cursor.execute("LOCK TABLE t, w")
        assert idle(synced, table("t"), table("u"), table("w")) == {"public.u"}


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO t VALUES (51, 'new')",
        "UPDATE t SET v = v WHERE id = 1",
        "TRUNCATE t",
        "ALTER TABLE t ADD COLUMN w int DEFAULT 7",
        "ALTER TABLE t RENAME COLUMN v TO x",
        "DROP TABLE t",
    ],
)
def test_whatever_happens_to_it_makes_it_due(synced: Pair, change: str) -> None:
    synced.source(change)
    assert not is_idle(synced)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TYPE mood RENAME VALUE 'low' TO 'down'",
        "ALTER TYPE mood RENAME TO temper",
        "ALTER TYPE place ADD ATTRIBUTE z int",
    ],
)
def test_what_happens_to_its_types_makes_it_due_once(pair: Pair, change: str) -> None:
    pair.source(
        "CREATE TYPE mood AS ENUM ('low', 'high')",
        "CREATE TYPE place AS (x int, y int)",
        "CREATE TABLE t (id int PRIMARY KEY, m mood, p place)",
        "INSERT INTO t VALUES (1, 'low', '(1,2)')",
    )
    pair.sync()
    assert is_idle(pair)
    pair.source(change)
    assert not is_idle(pair)
    pair.sync()
    assert is_idle(pair)
    assert pair.is_exact()


@pytest.mark.parametrize(
    "change",
    [
        "TRUNCATE t",
        "DROP TABLE t",
        "ALTER TABLE t DROP COLUMN v",
        "DROP SCHEMA sync_assets CASCADE",
    ],
)
def test_a_target_that_is_not_as_it_was_left_is_due(synced: Pair, change: str) -> None:
    synced.target(change)
    assert not is_idle(synced)


@pytest.mark.parametrize(
    "options",
    [
        {"deletes": Deletes.HARD},
        {"mode": SyncMode.FULL_SYNC},
        {"columns": ("id",)},
        {"where": "id < 10"},
        {"full_refresh": True},
        {"dry_run": True},
        {"confirm_deletes": 0},
    ],
)
def test_what_a_run_would_read_whole_or_compare_is_never_idle(
    synced: Pair, options: dict[str, Any]
) -> None:
    assert not is_idle(synced, **options)


def test_rows_of_a_transaction_that_ends_later_are_not_missed(
    synced: Pair, connect: Connect
) -> None:
    late = connect(synced.source_url)
    late.autocommit = False
    late.cursor().execute("INSERT INTO t VALUES (60, 'late')")
    synced.source("INSERT INTO u VALUES (1)")
    synced.sync()
    assert is_idle(synced), "nothing of it can be seen yet"
    late.commit()
    assert not is_idle(synced)


def test_one_that_fails_or_is_locked_takes_no_other_along(synced: Pair) -> None:
    synced.sync("public.u")
    asked = [table(name) for name in ("missing", "t", "gone", "u", "never")]
    synced.source("CREATE TABLE gone (id int PRIMARY KEY)", "CREATE TABLE never (id int)")
    synced.sync("public.gone")
    synced.source("DROP TABLE gone")
    assert idle(synced, *asked) == {"public.t", "public.u"}


def test_the_look_changes_nothing_and_leaves_nothing_behind(synced: Pair) -> None:
    remembered = "SELECT to_jsonb(s) FROM sync_assets.state s"
    before = synced.target(remembered)
    (receipt,) = idle_among(synced.source_url, synced.target_url, [table("t")]).values()
    assert (receipt.rows_written, receipt.run_id, receipt.rows_in_target) == (0, "", 50)
    assert synced.target(remembered) == before
    assert synced.leftovers() == []
