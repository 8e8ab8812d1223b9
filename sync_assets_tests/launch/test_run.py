"""`sync-assets run`: what it prints, where runs are recorded, how it ends."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from sync_assets.cli import main
from sync_assets.config.model import TableSyncConfig
from sync_assets.engine import DataCopyEngine, Receipt, Table
from sync_assets.engine.inspection.idle import idle_among
from sync_assets.launch.idle import left_out
from sync_assets.runs.home import find_home
from sync_assets_tests.fixtures.documents import valid
from sync_assets_tests.fixtures.live import lock_waits, locked
from sync_assets_tests.fixtures.pair import eventually
from sync_assets_tests.fixtures.servers import Connect

DEFS = """\
type: sync_assets.TableSync
attributes:
  tables:
    - {source: orders, target: replica.orders}
    - {source: items, target: replica.items}
    - {source: missing}
"""
SOURCE = """
CREATE TABLE orders (id int PRIMARY KEY, note text);
INSERT INTO orders SELECT g, 'note ' || g FROM generate_series(1, 20) g;
CREATE TABLE items (id int PRIMARY KEY);
INSERT INTO items VALUES (1), (2);
"""
ITEMS = {"tables": [{"source": "items", "target": "replica.items", "freshness": "1 hour"}]}
READER = """
CREATE ROLE passing_reader LOGIN CONNECTION LIMIT 0;
GRANT SELECT ON orders, items TO passing_reader;
"""


class CommandLine:
    """`sync-assets` with a home, definitions and two databases of its own."""

    def __init__(self, folder: Path, source_url: str, target_url: str) -> None:
        self.environment = {
            name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ
        }
        self.environment |= {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SYNC_DEFS": str(folder),
            "SYNC_SOURCE_URL": source_url,
            "SYNC_TARGET_URL": target_url,
            "XDG_STATE_HOME": str(folder / "state"),
        }
        self.home = find_home(self.environment)
        self.folder = folder
        (folder / "defs.yaml").write_text(DEFS)

    def idle(self, table: Table) -> Receipt:
        """What a look at an idle table finds."""
        ends = self.environment["SYNC_SOURCE_URL"], self.environment["SYNC_TARGET_URL"]
        return idle_among(*ends, [table])[table.target]

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "sync_assets.cli", *words],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        """In this process: starting one takes as long as three runs."""
        before = signal.getsignal(signal.SIGTERM)
        told = CliRunner().invoke(main, ["run", *words], env=self.environment)
        signal.signal(signal.SIGTERM, before)
        assert "Traceback" not in told.stderr
        return told.exit_code, told.stdout, told.stderr

    def events(self, kind: dg.DagsterEventType) -> list[int]:
        """How many events of a kind each run has, the latest first."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            runs = [record.dagster_run.run_id for record in instance.get_run_records()]
            return [len(instance.all_logs(run, of_type=kind)) for run in runs]

    def statuses(self) -> list[str]:
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return [record.dagster_run.status.value for record in instance.get_run_records()]


@pytest.fixture
def cli(
    tmp_path: Path,
    source_url: str,
    target_url: str,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> CommandLine:
    connect(source_url).cursor().execute(SOURCE)
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, source_url, target_url)


def tables(out: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = valid("run", out)["tables"]
    return found


def test_rows_that_are_asked_for_are_read_again_and_put_right(
    cli: CommandLine, target_url: str, connect: Connect
) -> None:
    assert cli.run("replica.orders")[0] == 0
    target = connect(target_url).cursor()
    target.execute("UPDATE replica.orders SET note = 'by hand' WHERE id IN (1, 20)")
    code, out, _ = cli.run("replica.orders", "--rows", "id > 10 AND note <> ''", "--json")
    (table,) = tables(out)
    assert (code, table["mode"]) == (0, "rows")
    assert (table["rows_exported"], table["rows_updated"]) == (10, 1)
    target.execute("SELECT id FROM replica.orders WHERE note = 'by hand'")
    assert target.fetchall() == [(1,)]
    code, _, err = cli.run("--rows", "id > 10")
    assert (code, "--rows is for one table" in err) == (2, True)
    code, _, err = cli.run("replica.orders", "--rows", "nowhere > 10")
    assert (code, 'column "nowhere" does not exist' in err) == (1, True)


def test_every_table_is_brought_up_to_date_and_a_failed_one_is_one_line(
    cli: CommandLine, target_url: str, connect: Connect
) -> None:
    code, out, err = cli.run()
    assert code == 1
    rows = [line.split() for line in out.splitlines()]
    assert rows[0][:4] == ["source", "target", "mode", "exported"]
    assert rows[1][:5] == ["public.orders", "replica.orders", "xmin_incremental", "20", "20"]
    assert len(rows) == 3
    errors = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "public.missing" in errors[0]
    assert f"recorded in {cli.home}" in err
    cursor = connect(target_url).cursor()
    cursor.execute("SELECT count(*) FROM replica.orders")
    assert cursor.fetchone() == (20,)
    assert cli.statuses() == ["FAILURE"]


def test_json_is_one_object_of_receipts_and_errors(cli: CommandLine) -> None:
    code, out, _ = cli.run("--json")
    assert code == 1
    orders, _items, missing = tables(out)
    assert (orders["rows_inserted"], orders["status"]) == (20, "success")
    assert set(missing) == {"source", "target", "target_connection", "error"}
    assert missing["error"]["kind"] == "NoSuchRelation"
    assert set(missing["error"]) == {"kind", "message", "remedy"}


def test_what_failed_for_something_that_passes_is_tried_once_more_at_the_end(
    cli: CommandLine, source_url: str, connect: Connect
) -> None:
    admin = connect(source_url).cursor()
    admin.execute(READER)
    reader = source_url.replace("postgres@", "passing_reader@")
    cli.environment["SYNC_SOURCE_URL"] = reader
    try:
        process = cli.start("run", "--json", "replica.*")
        assert process.stderr is not None
        assert any("Once more" in line for line in process.stderr)
        admin.execute("ALTER ROLE passing_reader CONNECTION LIMIT -1")
        out, err = process.communicate(timeout=120)
    finally:
        admin.execute("DROP OWNED BY passing_reader; DROP ROLE passing_reader")
    assert process.returncode == 0, err
    done = valid("run", out)
    assert [receipt["rows_inserted"] for receipt in done["tables"]] == [20, 2]
    assert done["tried_again"] == ["replica.orders", "replica.items"]
    assert cli.statuses() == ["SUCCESS", "FAILURE"]
    assert cli.events(dg.DagsterEventType.STEP_UP_FOR_RETRY) == [0, 4]


def test_a_table_that_nothing_happened_to_takes_no_part_in_the_next_run(
    cli: CommandLine, source_url: str, connect: Connect
) -> None:
    cli.run("replica.*")
    connect(source_url).cursor().execute("INSERT INTO items VALUES (3)")
    code, out, err = cli.run("--json", "replica.*")
    orders, items = tables(out)
    assert (code, orders["rows_exported"]) == (0, 0)
    assert (orders["reason"], orders["run_id"]) == ("nothing was written since the last run", "")
    assert items["rows_inserted"] == 1
    assert "1 synced, 1 unchanged" in err
    materialized = dg.DagsterEventType.ASSET_MATERIALIZATION
    assert cli.events(materialized) == [1, 2]
    code, out, err = cli.run("replica.*")
    assert (code, cli.events(materialized)) == (0, [1, 2])
    assert "2 tables in" in err
    assert "2 unchanged; 0 rows written" in err


def test_tables_are_synced_side_by_side_where_that_is_asked_for(
    cli: CommandLine, source_url: str, target_url: str, connect: Connect
) -> None:
    lock, there = connect(source_url), connect(target_url).cursor()
    lock.autocommit = False
    lock.cursor().execute("LOCK TABLE orders")
    process = cli.start("run", "replica.*", "--parallel", "2")

    def items_are_there() -> bool:
        there.execute("SELECT to_regclass('replica.items') IS NOT NULL")
        return there.fetchone() == (True,)

    assert eventually(items_are_there)
    lock.rollback()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "2 tables in" in err
    assert cli.statuses() == ["SUCCESS"]


def test_a_home_that_does_not_know_of_a_table_yet_is_shown_it(cli: CommandLine) -> None:
    cli.run("replica.*")
    shutil.rmtree(cli.home)
    assert cli.run("replica.*")[0] == 0
    assert cli.events(dg.DagsterEventType.ASSET_MATERIALIZATION) == [2]


def test_what_a_killed_process_has_published_is_told_by_the_next_run(
    cli: CommandLine, source_url: str, target_url: str, connect: Connect
) -> None:
    cli.run("replica.items")
    connect(source_url).cursor().execute("INSERT INTO items VALUES (3)")
    # Published, and then killed before Dagster heard of it: nothing is left for a run to find.
    engine = DataCopyEngine(source_url, target_url)
    engine.copy_table_data_with_xmin("public.items", "replica.items")
    assert cli.run("replica.items")[0] == 0
    assert cli.events(dg.DagsterEventType.ASSET_MATERIALIZATION) == [1, 1]
    assert cli.run("replica.items")[0] == 0
    assert cli.events(dg.DagsterEventType.ASSET_MATERIALIZATION) == [1, 1]


def test_freshness_counts_from_a_look_as_from_a_run(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.run("replica.items")
    monkeypatch.setenv("DAGSTER_HOME", str(cli.home))
    [entry] = TableSyncConfig.model_validate(ITEMS).synced_tables("shop")
    passed = dataclasses.replace(entry.automation, freshness=timedelta(microseconds=1))
    key = dg.AssetKey(["target", "replica", "items"])
    with dg.DagsterInstance.from_config(str(cli.home)) as instance:
        before = instance.get_latest_materialization_event(key)
        for automation in (entry.automation, passed):
            idle = cli.idle(entry.table)
            asked = dataclasses.replace(entry, automation=automation)
            assert left_out([(asked, idle)]) == {entry.address}
        after = instance.get_latest_materialization_event(key)
        assert len(instance.fetch_materializations(key, limit=9).records) == 2
    assert before is not None
    assert after is not None
    then, now = before.asset_materialization, after.asset_materialization
    assert then is not None
    assert now is not None
    assert now.tags == then.tags
    kept = {"sync/source_marker", "sync/watermark", "dagster/column_schema", "dagster/row_count"}
    assert now.metadata.keys() == {"sync/reason", *kept}


def test_targets_are_selected_by_name_and_by_glob(cli: CommandLine) -> None:
    code, out, _ = cli.run("--json", "replica.or*")
    assert code == 0
    assert [entry["target"] for entry in tables(out)] == ["replica.orders"]
    code, out, _ = cli.run("--json", "replica.items", "replica.orders", "--full-refresh")
    assert [entry["rows_exported"] for entry in tables(out)] == [20, 2]


@pytest.mark.parametrize(
    ("words", "change", "said"),
    [
        (["nothing.like.it"], {}, "no target table matches 'nothing.like.it'"),
        ([], {"SYNC_SOURCE_URL": ""}, "SYNC_SOURCE_URL is not set"),
        ([], {"SYNC_DEFS": "/does/not/exist"}, "SYNC_DEFS is '/does/not/exist'"),
        (["--confirm-deletes", "-1"], {}, "--confirm-deletes"),
        ([], {"DAGSTER_HOME": "/does/not/exist"}, "DAGSTER_HOME"),
    ],
)
def test_a_mistake_is_told_before_anything_is_contacted(
    cli: CommandLine, words: list[str], change: dict[str, str], said: str
) -> None:
    cli.environment |= change
    code, out, err = cli.run(*words)
    assert (code, out) == (2, "")
    assert said in err


def test_dagster_home_is_where_runs_are_recorded_if_it_is_set(
    cli: CommandLine, tmp_path: Path
) -> None:
    cli.home = tmp_path / "home"
    cli.home.mkdir()
    cli.environment["DAGSTER_HOME"] = str(cli.home)
    code, _, err = cli.run("replica.items")
    assert (code, cli.statuses()) == (0, ["SUCCESS"])
    assert "is not set" not in err


def test_where_runs_are_recorded_and_were_is_told_once(cli: CommandLine, tmp_path: Path) -> None:
    of_the_ui, of_runs = tmp_path / ".dagster", cli.home.parent / "dagster"
    of_the_ui.mkdir()
    of_runs.mkdir(parents=True)
    first, second = cli.run("replica.items")[2], cli.run("replica.orders")[2]
    assert f"DAGSTER_HOME is not set: runs are recorded in {cli.home}\n" in first
    assert f"What older versions recorded stays in {of_runs} and {of_the_ui}, unread\n" in first
    assert "recorded" not in second


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_on_the_servers_and_marks_the_run(
    cli: CommandLine, stop: signal.Signals, source_url: str
) -> None:
    with locked(source_url, "orders"):
        process = cli.start("run", "--json", "replica.orders")
        assert eventually(lambda: lock_waits(source_url) == 1, seconds=120)
        process.send_signal(stop)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert tables(out)[0]["error"]["kind"] == "Cancelled"
    assert "Traceback" not in err
    assert cli.statuses() == ["CANCELED"]


@pytest.mark.slow
@pytest.mark.parametrize("idle", [True, False], ids=["idle", "with work"])
def test_the_next_run_closes_one_that_was_killed(
    cli: CommandLine, idle: bool, source_url: str
) -> None:
    if idle:
        assert cli.run("replica.items")[0] == 0
    with locked(source_url, "orders"):
        process = cli.start("run", "replica.orders")
        assert eventually(lambda: lock_waits(source_url) == 1, seconds=120)
        assert eventually(lambda: cli.statuses()[0] == "STARTED")
        process.kill()
        process.communicate()
    assert cli.run("replica.items")[0] == 0
    assert cli.statuses() == (["FAILURE", "SUCCESS"] if idle else ["SUCCESS", "FAILURE"])
