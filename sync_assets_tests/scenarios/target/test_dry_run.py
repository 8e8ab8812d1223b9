"""A dry run does all of the work, says what it would have done, and publishes nothing."""

from __future__ import annotations

import pytest

from sync_assets.engine.errors import ConfigurationError, DeleteGuard
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v text)"
FILL = "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 300) i"
EVERYTHING = """
SELECT (SELECT string_agg(oid || relname || coalesce(relfilenode, 0), ',' ORDER BY oid) FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_'),
       (SELECT string_agg(nspname, ',' ORDER BY oid) FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast_temp)')
"""


def test_a_first_load_creates_nothing(pair: Pair) -> None:
    pair.source("CREATE SCHEMA shop", "CREATE TYPE shop.mood AS ENUM ('a')")
    pair.source(
        "CREATE TABLE shop.t (id integer PRIMARY KEY, m shop.mood)",
        "INSERT INTO shop.t VALUES (1, 'a')",
    )
    before = pair.target(EVERYTHING)
    receipt = pair.sync("shop.t", dry_run=True)
    assert (receipt.dry_run, receipt.rows_exported, receipt.rows_inserted) == (True, 1, 1)
    assert pair.target(EVERYTHING) == before
    assert pair.leftovers() == []


def test_changes_are_counted_and_not_made(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    pair.source(
        "UPDATE t SET v = 'x' WHERE id <= 3",
        "DELETE FROM t WHERE id BETWEEN 10 AND 13",
        "INSERT INTO t VALUES (500, 'new')",
        "ALTER TABLE t ADD COLUMN w integer",
    )
    before = (
        pair.target(EVERYTHING),
        pair.target("SELECT * FROM t ORDER BY id"),
        pair.target("SELECT * FROM sync_assets.state"),
    )
    receipt = pair.sync(dry_run=True, deletes="hard")
    assert (receipt.rows_updated, receipt.rows_inserted, receipt.rows_deleted) == (3, 1, 4)
    assert before == (
        pair.target(EVERYTHING),
        pair.target("SELECT * FROM t ORDER BY id"),
        pair.target("SELECT * FROM sync_assets.state"),
    )
    assert pair.target("SELECT count(*) FROM sync_assets.receipt") == [(1,)]
    real = pair.sync(deletes="hard")
    assert (real.rows_updated, real.rows_inserted, real.rows_deleted) == (3, 1, 4)


def test_the_guards_speak_in_a_dry_run_too(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    pair.source("DELETE FROM t WHERE id > 10")
    with pytest.raises(DeleteGuard, match="290 of 300"):
        pair.sync(dry_run=True, deletes="hard")


def test_a_type_that_would_have_to_be_made_is_named(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    pair.source("CREATE TYPE mood AS ENUM ('a')", "ALTER TABLE t ADD COLUMN m mood")
    before = pair.target(EVERYTHING)
    with pytest.raises(ConfigurationError, match=r"does not create the type public\.mood"):
        pair.sync(dry_run=True)
    assert pair.target(EVERYTHING) == before
