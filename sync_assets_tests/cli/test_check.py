"""`sync-assets check`: what it prints, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sync_assets.cli import main
from sync_assets.launch.instance import opened_instance
from sync_assets_tests.fixtures.documents import printed
from sync_assets_tests.fixtures.pair import Pair

DEFS = """\
type: sync_assets.TableSync
attributes:
  workers: {max_workers: 90}
  tables:
    - {source: good, deletes: hard}
    - {source: keyless, deletes: hard}
"""


@pytest.fixture(autouse=True)
def _project(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tables, one of which has no key."""
    (tmp_path / "defs.yaml").write_text(DEFS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    pair.source("CREATE TABLE good (id int PRIMARY KEY)", "CREATE TABLE keyless (id int)")


def test_findings_come_with_their_mends_and_exit_code_1() -> None:
    result = _check()
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("source: PostgreSQL 18.")
    assert lines[2].startswith("blocking  source public.keyless: ")
    assert lines[3].startswith("          Add a primary key")
    assert lines[-1].endswith(" 1 blocking.")


def test_what_is_found_of_many_tables_stands_there_once(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(DEFS + "    - {source: another, deletes: hard}\n")
    pair.source("CREATE TABLE another (id int)")
    lines = _check().stdout.splitlines()
    assert lines[2].startswith("blocking  source public.keyless, public.another: ")
    assert lines[4].strip() == "and so for each of 2 tables; --all prints every one"
    assert lines[-1].endswith(" 2 blocking.")
    every = _check("--all").stdout.splitlines()
    assert [line.partition(": ")[0] for line in every if line.startswith("blocking")] == [
        "blocking  source public.keyless",
        "blocking  source public.another",
    ]


def test_json_holds_the_same() -> None:
    document = printed("check", code=1)
    assert [server["side"] for server in document["servers"]] == ["source", "target"]
    first = document["findings"][0]
    assert (first["check"], first["severity"]) == ("unfit_tables", "blocking")


def test_selected_tables_alone_are_looked_at(pair: Pair) -> None:
    document = printed("check", "good")
    assert {finding["severity"] for finding in document["findings"]} <= {"warning", "note"}
    assert pair.target("SELECT count(*) FROM pg_namespace WHERE nspname = 'sync_assets'") == [(0,)]


def test_pools_of_a_dagster_home_multiply_the_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        "concurrency: {pools: {default_limit: 3}}\ntelemetry: {enabled: false}\n"
    )
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    (room,) = [
        each for each in printed("check", "good")["findings"] if each["check"] == "connection_room"
    ]
    assert "3 runs at once with 92 connections each may want 276" in room["what"]
    assert not [each for each in printed("check", "good")["findings"] if each["check"] == "pools"]
    allowed = DEFS.replace("  workers: {", "  max_source_connections: 100\n  workers: {")
    (tmp_path / "defs.yaml").write_text(allowed)
    (crowded,) = [each for each in printed("check", "good")["findings"] if each["check"] == "pools"]
    assert "3 times 92 connections to the source, which allows 100" in crowded["what"]
    assert crowded["mend"] == "set it with: dagster instance concurrency set sync_source 1"


def test_checks_that_do_not_apply_to_a_table_are_named(tmp_path: Path, pair: Pair) -> None:
    checks = "defaults: {sync_mode: full_sync, checks: {key: true, content: true, row_count: true}}"
    (tmp_path / "defs.yaml").write_text(
        DEFS.replace("workers: {max_workers: 90}", checks).replace(", deletes: hard", "")
    )
    found = [each for each in printed("check")["findings"] if each["check"] == "idle_checks"]
    assert [(each["where"], each["severity"]) for each in found] == [
        ("target public.keyless", "note")
    ]
    assert found[0]["what"].endswith("as it is synced without a key: key, content")


def test_a_freshness_that_the_schedule_cannot_keep_is_named(tmp_path: Path) -> None:
    hasty = 'defaults: {schedule: "0 6 * * mon-fri", freshness: 26 hours}'
    (tmp_path / "defs.yaml").write_text(DEFS.replace("workers: {max_workers: 90}", hasty))
    (found,) = [
        each for each in printed("check", "good")["findings"] if each["check"] == "freshness"
    ]
    assert (found["where"], found["severity"]) == ("target public.good", "warning")
    assert "may leave 3 d between two syncs, and its freshness allows 1 d 2 h" in found["what"]


def test_a_home_of_our_own_counts_once_it_is_there() -> None:
    def room() -> list[str]:
        found = printed("check", "good")["findings"]
        return [each["what"] for each in found if each["check"] == "connection_room"]

    assert room() == []
    with opened_instance():
        pass
    (said,) = room()
    assert "4 runs at once with 92 connections each may want 368" in said


def test_nothing_contacted_is_exit_code_2_and_no_answer_is_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert _check("nothing.*").exit_code == 2
    monkeypatch.setenv("SYNC_SOURCE_URL", f"host={tmp_path} dbname=x password=s3cr3t")
    result = _check()
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1].startswith("blocking  source: cannot connect")
    assert "s3cr3t" not in result.output
    # Both ends alike are no two tables.
    monkeypatch.setenv("SYNC_TARGET_URL", f"host={tmp_path} dbname=x password=s3cr3t")
    assert "tables" not in _check().stdout
    monkeypatch.delenv("SYNC_SOURCE_URL")
    assert _check().exit_code == 2


def _check(*words: str) -> Result:
    return CliRunner().invoke(main, ["check", *words])
