"""One table's name on two targets: told apart everywhere; and two names of one target: refused."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from sync_assets.cli import main
from sync_assets.definitions import load_tables
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.documents import printed
from sync_assets_tests.fixtures.pair import Pair, execute
from sync_assets_tests.fixtures.servers import NewDatabase

COMPONENT = """\
type: sync_assets.TableSync
attributes:
  target_connection: {connection}
  tables:
    - {{source: t, deletes: hard, where: "{where}"}}
"""


@pytest.fixture
def lake(
    pair: Pair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    new_database: NewDatabase,
    target_server: PostgresServer,
) -> str:
    """Two components write `t`, all of it to `target` and one row to `lake`."""
    lake = new_database(target_server)
    for connection, where in (("target", "true"), ("lake", "id = 1")):
        (tmp_path / "defs" / connection).mkdir(parents=True)
        text = COMPONENT.format(connection=connection, where=where)
        (tmp_path / "defs" / connection / "defs.yaml").write_text(text)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    pair.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1), (2), (3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path / "defs"))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    monkeypatch.setenv("SYNC_LAKE_URL", lake)
    return lake


def said(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_each_has_its_own_receipt(lake: str) -> None:
    found = printed("run")["tables"]
    assert [(each["target_connection"], each["rows_inserted"]) for each in found] == [
        ("lake", 1),
        ("target", 3),
    ]
    lines = said("run", "t").stdout.splitlines()
    assert [line.split()[1:3] for line in lines[1:]] == [
        ["public.t", "(lake)"],
        ["public.t", "(target)"],
    ]


def test_one_that_fails_is_one_that_failed(lake: str) -> None:
    execute(lake, "CREATE VIEW t AS SELECT 1 AS id")
    first, second = printed("run", code=1)["tables"]
    assert (first["target_connection"], "error" in first) == ("lake", True)
    assert (second["target_connection"], second["rows_inserted"]) == ("target", 3)
    (error,) = [line for line in said("run").stderr.splitlines() if line.startswith("Error: ")]
    assert "public.t (lake)" in error


def test_status_plan_and_verify_name_the_connection(lake: str) -> None:
    printed("run")
    for command in ("status", "plan", "verify"):
        found = printed(command)["tables"]
        assert [each["target_connection"] for each in found] == ["lake", "target"]
        told = said(command).stdout
        assert "public.t (lake)" in told
        assert "public.t (target)" in told


def test_what_is_about_one_table_asks_which(lake: str, pair: Pair) -> None:
    printed("run")
    for words in (["why", "t", "2"], ["forget", "t", "--yes"]):
        refused = said(*words)
        assert refused.exit_code == 2
        assert "on lake and on target" in refused.stderr
        assert "--connection lake" in refused.stderr
    assert not printed("why", "t", "2", "--connection", "lake")["on_target"]
    assert printed("why", "t", "2", "--connection", "target")["on_target"]
    forgotten = printed("forget", "t", "--yes", "--connection", "lake")
    assert forgotten["target_connection"] == "lake"
    assert pair.target("SELECT count(*) FROM sync_assets.receipt") == [(1,)]
    assert execute(lake, "SELECT count(*) FROM sync_assets.receipt") == [(0,)]


@pytest.fixture
def one_database(lake: str, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both names lead to one database, by URLs that are written differently."""
    monkeypatch.setenv("SYNC_LAKE_URL", f"{pair.target_url}&application_name=lake")


@pytest.mark.usefixtures("one_database")
def test_two_names_of_one_target_are_refused_before_anything_is_written(pair: Pair) -> None:
    for command in ("run", "verify"):
        document = printed(command, code=1)
        for each in document["tables"]:
            assert "which lead to one database" in each["error"]["message"]
    # One of them alone as well, and whoever starts it.
    assert said("run", "key:lake/public/t").exit_code == 1
    job = load_tables(Path.cwd() / "defs").resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        assert not job.execute_in_process(instance=instance, raise_on_error=False).success
    assert pair.target("SELECT to_regclass('public.t')::text") == [(None,)]


@pytest.mark.usefixtures("one_database")
def test_check_finds_two_names_of_one_target() -> None:
    found = [
        each for each in printed("check", code=1)["findings"] if each["check"] == "shared_targets"
    ]
    assert [(each["severity"], each["where"]) for each in found] == [
        ("blocking", "target public.t")
    ] * 2
