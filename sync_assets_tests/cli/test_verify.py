"""`sync-assets verify`: exit codes, what it prints, and what it keeps to itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sync_assets.cli import main, run_display
from sync_assets_tests.fixtures.documents import valid
from sync_assets_tests.fixtures.pair import Pair, execute

DEFS = """\
type: sync_assets.TableSync
attributes:
  workers: {default_workers: 1, max_workers: 1, min_workers: 1}
  tables:
    - source: public.orders
      target: replica.orders
    - source: public.notes
      deletes: hard
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
    execute(
        source_url,
        "CREATE TABLE orders (id integer, line integer, v text, PRIMARY KEY (id, line))",
        "INSERT INTO orders SELECT i, 1, 'classified' FROM generate_series(1, 50) AS i",
        "CREATE TABLE notes (name text PRIMARY KEY, v text)",
        "INSERT INTO notes VALUES ('가나', 'classified')",
    )
    return tmp_path


def test_tables_are_synced_and_equal(project: Path, target_url: str) -> None:
    result = _verify()
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["table", "replica.orders", "public.notes"]
    assert all(line.endswith("equal") for line in lines[1:])
    assert execute(target_url, "SELECT count(*) FROM replica.orders") == [(50,)]


def test_rows_that_differ_are_named_without_their_values(project: Path, target_url: str) -> None:
    _verify()
    execute(target_url, "UPDATE replica.orders SET v = 'other' WHERE id = 7")
    execute(target_url, "INSERT INTO notes (name, v) VALUES ('없다', 'x')")
    result = _verify()
    assert result.exit_code == 1
    assert "id=7, line=1" in result.stdout
    orders, notes = valid("verify", _verify("--json").stdout)["tables"]
    assert orders["equal"] is False
    assert (orders["rows_wrong"], orders["rows_differing"]) == (1, 1)
    assert orders["examples"] == [
        {"kind": "differing", "verdict": "wrong", "key": {"id": "7", "line": "1"}}
    ]
    assert notes["equal"] is True
    assert "classified" not in result.output


def test_rows_that_only_the_target_has_are_said_first(
    project: Path, source_url: str, target_url: str
) -> None:
    _verify()
    execute(target_url, "INSERT INTO replica.orders (id, line) VALUES (99, 1)")
    result = _verify("replica.orders")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].endswith(
        "equal but for 1 kept row that only the target has"
    )
    (orders,) = valid("verify", _verify("replica.orders", "--json").stdout)["tables"]
    assert (orders["equal"], orders["faultless"], orders["rows_kept"]) == (False, True, 1)
    execute(target_url, "UPDATE replica.orders SET v = 'other' WHERE id IN (7, 99)")
    execute(source_url, "INSERT INTO orders VALUES (100, 1)")
    line = _verify("replica.orders", "--no-sync").stdout.splitlines()[1]
    kept = "1 kept row that only the target has"
    assert line.endswith(f"1 wrong; {kept}; 1 that the next run brings")
    result = _verify("replica.orders", "--repair")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].endswith(f"1 repaired; {kept}")


def test_without_a_sync_nothing_is_written(project: Path, source_url: str, target_url: str) -> None:
    _verify()
    execute(source_url, "UPDATE notes SET v = 'later'")
    execute(target_url, "INSERT INTO notes (name, v) VALUES ('extra', 'x')")
    state = "SELECT target_table, version FROM sync_assets.state ORDER BY 1"
    before = execute(target_url, state)
    result = _verify("notes", "--no-sync", "--json")
    (notes,) = valid("verify", result.stdout)["tables"]
    assert result.exit_code == 0
    assert (notes["rows_pending"], notes["rows_only_in_target"], notes["synced"]) == (2, 1, False)
    assert execute(target_url, state) == before
    assert execute(target_url, "SELECT count(*) FROM notes WHERE v = 'later'") == [(0,)]


def test_deleted_rows_that_wait_for_their_schedule_are_no_fault(
    project: Path, source_url: str, target_url: str
) -> None:
    waits = "deletes: hard\n      delete_schedule: '@daily'"
    (project / "defs.yaml").write_text(DEFS.replace("deletes: hard", waits))
    _verify()
    execute(
        source_url, "INSERT INTO notes VALUES ('x', 'y')", "DELETE FROM notes WHERE name <> 'x'"
    )
    Pair(source_url, target_url).sync("public.notes")
    result = _verify("public.notes", "--no-sync", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["tables"][0]["rows_kept"] == 1
    assert _verify("public.notes").exit_code == 0
    assert execute(target_url, "SELECT name FROM notes") == [("x",)]


def test_a_table_that_cannot_be_compared_leaves_the_others(project: Path, source_url: str) -> None:
    execute(source_url, "DROP TABLE orders")
    result = _verify("--json")
    assert result.exit_code == 1
    orders, notes = valid("verify", result.stdout)["tables"]
    assert orders["error"]["kind"] == "NoSuchRelation"
    assert notes["equal"] is True
    assert "replica.orders" in result.stderr
    for command in ("verify", "plan"):
        assert "Traceback" not in CliRunner().invoke(main, [command]).stderr
        assert "Traceback" in CliRunner().invoke(main, ["--debug", command]).stderr


def test_a_line_says_where_it_is(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_display, "SIGN_OF_LIFE_SECONDS", 0.001)
    told = _verify().stderr
    assert re.search(r": .*replica\.orders: ", told)
    assert re.search(r": 1 of 2 tables.*; public\.notes: ", told)


def test_an_error_of_many_tables_is_told_once(
    project: Path, monkeypatch: pytest.MonkeyPatch, source_url: str
) -> None:
    monkeypatch.setenv("SYNC_SOURCE_URL", source_url.replace("@/", "@/no_"))
    first, second = _verify().stderr.splitlines()
    assert first.startswith("Error: ConnectionFailed: replica.orders: ")
    assert second == "       The same: public.notes."


def test_usage_is_told_before_anything_is_contacted(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _verify("nothing.*").exit_code == 2
    assert _verify("--examples", "-1").exit_code == 2
    monkeypatch.delenv("SYNC_TARGET_URL")
    assert _verify().exit_code == 2


def _verify(*words: str) -> Result:
    return CliRunner().invoke(main, ["verify", *words])


def test_tables_of_a_group_are_compared_at_one_moment(project: Path) -> None:
    grouped = DEFS.replace("deletes: hard", "deletes: hard\n      snapshot_group: shop")
    grouped = grouped.replace("replica.orders", "replica.orders\n      snapshot_group: shop")
    (project / "defs.yaml").write_text(grouped)
    result = CliRunner().invoke(main, ["verify", "notes", "--json"])
    assert result.exit_code == 0, result.output
    tables = valid("verify", result.stdout)["tables"]
    assert [table["target"] for table in tables] == ["replica.orders", "public.notes"]
    assert len({table["snapshot_at"] for table in tables}) == 1
