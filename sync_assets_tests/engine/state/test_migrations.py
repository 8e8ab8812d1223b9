"""State of every released version is carried over: columns, rows, and the next run's mark."""

from __future__ import annotations

from pathlib import Path

import psycopg2
import pytest

from sync_assets.engine import errors
from sync_assets.engine.names import RelationName
from sync_assets.engine.state.advance import receipts_kept
from sync_assets.engine.state.tables import MIGRATIONS, STATE_VERSION
from sync_assets.engine.table import Table
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

RELEASED = {int(file.stem): file for file in Path(__file__).parent.glob("state_versions/*.sql")}
SHAPE = """
SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'sync_assets'::regnamespace AND c.relkind = 'r'
  AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2
"""
GONE_SINCE = '{"fingerprint": "decides nothing", "mapped": false}'
every_release = pytest.mark.parametrize("version", sorted(RELEASED))


def test_every_version_has_its_step() -> None:
    assert len(MIGRATIONS) == STATE_VERSION - 1
    assert set(RELEASED) <= set(range(1, STATE_VERSION + 1))


@every_release
@both_ways
def test_a_run_goes_on_from_an_older_version_s_state(pair: Pair, version: int) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    first = pair.sync()
    fresh = pair.target(SHAPE)
    go_back(pair, version)
    assert pair.target(SHAPE) != fresh
    pair.source("INSERT INTO t VALUES (2)")
    second = pair.sync()
    assert pair.target(SHAPE) == fresh
    assert pair.target("SELECT version FROM sync_assets.version") == [(STATE_VERSION,)]
    assert second.watermark_before == first.watermark
    # Version 1 does not say what the source's columns were: that takes one full pass.
    assert (second.rows_exported, second.rows_inserted) == (2 if version == 1 else 1, 1)
    assert pair.sync().rows_exported == 0
    assert pair.target("SELECT count(*) FROM sync_assets.receipt") == [(3,)]


@every_release
def test_a_dry_run_and_a_plan_leave_older_state_as_it_is(pair: Pair, version: int) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    pair.sync()
    go_back(pair, version)
    shape = pair.target(SHAPE)
    assert pair.sync(dry_run=True).watermark_before is not None
    table = Table(RelationName("public", "t"), RelationName("public", "t"))
    assert pair.engine().plan(table).watermark_before is not None
    assert pair.target(SHAPE) == shape


def test_newer_state_is_refused_and_left_alone(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)")
    pair.sync()
    pair.target("UPDATE sync_assets.version SET version = version + 1")
    with pytest.raises(errors.UnsupportedVersion):
        pair.sync()
    assert pair.target("SELECT version FROM sync_assets.version") == [(STATE_VERSION + 1,)]


def test_so_many_receipts_are_kept_as_is_said(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)")
    monkeypatch.setenv("SYNC_RECEIPTS_KEPT", "2")
    newest = [pair.sync().run_id for _ in range(3)][1:]
    kept = pair.target("SELECT run_id FROM sync_assets.receipt ORDER BY id")
    assert [run_id for (run_id,) in kept] == newest


@pytest.mark.parametrize("text", ["0", "-1", "all", "1.5", "٣"])
def test_no_other_number_of_receipts_is_taken(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_RECEIPTS_KEPT", text)
    with pytest.raises(errors.ConfigurationError, match="SYNC_RECEIPTS_KEPT"):
        receipts_kept()


def go_back(pair: Pair, version: int) -> None:
    """Make the target's state what an older version would have left."""
    pair.target("ALTER SCHEMA sync_assets RENAME TO kept", RELEASED[version].read_text())
    for table in ("state", "state_leaf", "receipt"):
        columns = pair.target(
            "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute "
            f"WHERE attrelid = 'sync_assets.{table}'::regclass AND attnum > 0 AND attidentity = ''"
        )[0][0]
        pair.target(
            f"INSERT INTO sync_assets.{table} ({columns}) SELECT {columns} FROM (SELECT older.* "
            f"FROM kept.{table} newer, jsonb_populate_record(NULL::sync_assets.{table}, "
            f"'{GONE_SINCE}' || to_jsonb(newer)) older) carried"
        )
    pair.target("DROP SCHEMA kept CASCADE")
    with pytest.raises(psycopg2.errors.UndefinedTable):
        pair.target("SELECT FROM kept.state")
