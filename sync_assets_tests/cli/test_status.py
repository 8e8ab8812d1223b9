"""`sync-assets status`: what each table's last sync left, and how far behind it is."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
from click.testing import CliRunner, Result

from sync_assets.cli import main
from sync_assets.cli.output import size
from sync_assets.engine import DataCopyEngine
from sync_assets.launch.instance import opened_instance
from sync_assets.private_server.server import PostgresServer
from sync_assets.runs.progress_log import duration
from sync_assets_tests.fixtures.documents import printed
from sync_assets_tests.fixtures.servers import NewDatabase
from sync_assets_tests.fixtures.switches import switched_off

DEFS = """\
type: sync_assets.TableSync
attributes:
  tables:
    - source: public.orders
      target: replica.orders
    - source: public.never
"""


@pytest.fixture
def project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source_url: str, target_url: str
) -> Path:
    """Two tables in a defs.yaml, none of them synced yet."""
    (tmp_path / "defs.yaml").write_text(DEFS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", target_url)
    _execute(
        source_url, "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1), (2)"
    )
    _execute(source_url, "CREATE TABLE never (id int PRIMARY KEY)")
    _execute(target_url, "CREATE SCHEMA replica")
    return tmp_path


def test_tables_never_synced_say_so(project: Path) -> None:
    result = _status()
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("  never synced") == 2
    assert result.stdout.endswith("2 tables, 2 never synced, 0 rows.\n")


def test_why_a_run_would_wait_now_is_told(project: Path) -> None:
    now = datetime.now(timezone.utc)
    begin, end = (f"{now + timedelta(hours=each):%H:%M}" for each in (-1, 1))
    limits = f"  limits: {{pause_while: {{between: '{begin}-{end} UTC'}}}}\n"
    (project / "defs.yaml").write_text(DEFS + limits)
    said = f"the hours {begin}-{end} UTC"
    assert f"A run of 2 tables would wait now: {said}.\n" in _status().stdout
    told = printed("status")["tables"]
    assert [each["waits_for"] for each in told] == [said, said]


def test_of_many_tables_the_stalest_are_shown_and_a_total(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync_assets.cli.reading.status.SHOWN", 1)
    assert "… and 1 table of fresher data; --all prints every line." in _status().stdout
    assert "fresher" not in _status("--all").stdout
    assert "2 tables" not in _status("public.never").stdout
    tables = printed("status")["tables"]
    assert [table["target"] for table in tables] == ["replica.orders", "public.never"]
    assert {table["synced_at"] for table in tables} == {None}


def test_a_table_of_another_source_or_a_later_state_has_no_lag(
    project: Path,
    source_url: str,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
    new_database: NewDatabase,
    source_server: PostgresServer,
) -> None:
    engine = DataCopyEngine(source_url, target_url)
    engine.copy_table_data_with_xmin("public.orders", "replica.orders")
    _execute(target_url, "UPDATE sync_assets.state SET source_lsn = source_lsn + (1::bigint << 40)")
    older = printed("status")["tables"][0]
    assert older["source_problem"] == "an earlier state than the last sync saw"
    monkeypatch.setenv("SYNC_SOURCE_URL", new_database(source_server))
    other = printed("status")["tables"][0]
    assert other["source_problem"] == "another database than the last sync read"
    for found in (older, other):
        assert {found[name] for name in ("age_seconds", "lag_bytes", "lag_xids")} == {None}
    assert "another database" in _status().stdout


def test_a_synced_table_has_its_rows_mark_and_lag(
    project: Path, source_url: str, target_url: str
) -> None:
    receipt = DataCopyEngine(source_url, target_url).copy_table_data_with_xmin(
        "public.orders", "replica.orders"
    )
    orders, never = printed("status")["tables"]
    assert never["synced_at"] is None
    assert orders["rows_in_target"] == 2
    assert orders["watermark"] == receipt.watermark
    assert orders["source_max_xmin"] == receipt.source_max_xmin
    assert orders["run_id"] == receipt.run_id
    assert orders["age_seconds"] >= 0
    _execute(source_url, "INSERT INTO orders VALUES (3)")
    later = printed("status")["tables"][0]
    assert later["lag_bytes"] > orders["lag_bytes"] >= 0
    assert later["lag_xids"] > orders["lag_xids"] >= 0
    *lines, total = _status().stdout.splitlines()
    line = next(line for line in lines if "replica.orders" in line)
    assert str(receipt.watermark) in line
    assert re.search(r" never synced, 2 rows, data \d+ s old\.$", total)


def test_what_is_in_the_way_stands_below_the_table(project: Path, source_url: str) -> None:
    assert printed("status")["hindrances"] == []
    _execute(source_url, "DROP TABLE orders")
    (found,) = printed("status")["hindrances"]
    assert (found["target"], found["kind"]) == ("replica.orders", "table_gone")
    told = "replica.orders: NoSuchRelation: the source has no table public.orders. Check schema,"
    assert told in _status().stdout


@pytest.mark.parametrize("given", [True, False])
def test_what_is_switched_off_in_dagster_is_read_from_dagster_s_home(
    project: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    (project / "defs.yaml").write_text(DEFS + "      automation: running\n")
    home = project / "home"
    home.mkdir()
    if given:
        monkeypatch.setenv("DAGSTER_HOME", str(home))
    with opened_instance() as instance:
        switched_off(instance, "sync_changes")
    (found,) = printed("status")["hindrances"]
    assert (found["target"], found["kind"]) == ("public.never", "switched_off")
    assert "public.never: sync_changes is switched off, and the table says" in _status().stdout


def test_a_table_that_failed_is_told_until_a_run_of_it_succeeds(
    project: Path, source_url: str, target_url: str
) -> None:
    printed("run", "replica.orders")
    _execute(target_url, "ALTER TABLE replica.orders ADD CHECK (id < 100)")
    _execute(source_url, "INSERT INTO orders VALUES (100)")
    printed("run", "replica.orders", code=1)
    assert "replica.orders: SchemaConflict: the target said: " in _status().stdout
    # There is nothing to be read any more, and yet Dagster shows what happened last.
    _execute(source_url, "DELETE FROM orders WHERE id = 100")
    printed("run", "replica.orders")
    assert "SchemaConflict" not in _status().stdout
    with opened_instance() as instance:
        [record] = instance.get_asset_records([dg.AssetKey(["target", "replica", "orders"])])
        entry = record.asset_entry
        assert entry.last_materialization_record is not None
        assert entry.last_materialization_record.run_id == entry.last_run_id


def test_what_is_missing_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_TARGET_URL", "postgresql://me:tr0ub4dor@127.0.0.1:1/nowhere")
    result = _status()
    assert result.exit_code == 1
    assert "tr0ub4dor" not in result.output
    assert len(result.stderr.splitlines()) == 1
    monkeypatch.delenv("SYNC_TARGET_URL")
    result = _status()
    assert result.exit_code == 2
    assert "SYNC_TARGET_URL is not set" in result.stderr
    monkeypatch.setenv("SYNC_DEFS", "/no/such/folder")
    assert _status().exit_code == 2


def test_durations_and_sizes_are_for_people() -> None:
    assert duration(0.2) == "0 s"
    assert duration(-3) == "0 s"
    assert duration(185) == "3 min 5 s"
    assert duration(86400 * 2 + 3600 * 5 + 61) == "2 d 5 h"
    assert duration(3600) == "1 h"
    assert size(0) == "0 B"
    assert size(1536) == "1.5 kB"
    assert size(5 * 1024**4) == "5.0 TB"


def _status(*words: str) -> Result:
    return CliRunner().invoke(main, ["status", *words])


def _execute(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as session, session, session.cursor() as cursor:
        cursor.execute(statement)
