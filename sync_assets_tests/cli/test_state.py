"""`sync-assets forget`, `state export|import` and `status --all`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sync_assets.cli import main
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.documents import printed, valid
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import NewDatabase

DEFS = "type: sync_assets.TableSync\nattributes:\n  tables:\n    - source: t\n"


@pytest.fixture(autouse=True)
def _project(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two synced tables, one of which is no longer configured."""
    (tmp_path / "defs.yaml").write_text(DEFS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    pair.source("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE old (id int PRIMARY KEY)")
    pair.sync("public.t")
    pair.sync("public.old")


def test_status_all_shows_what_is_no_longer_configured() -> None:
    assert [each["target"] for each in printed("status")["tables"]] == ["public.t"]
    tables = {each["target"]: each for each in printed("status", "--all")["tables"]}
    assert (tables["public.t"]["configured"], tables["public.old"]["configured"]) == (True, False)
    assert "public.old (not configured)" in _call("status", "--all").stdout


def test_forget_asks_and_leaves_the_rows(pair: Pair) -> None:
    result = _call("forget", "old", answer="n\n")
    assert result.exit_code == 1
    assert "Forget that public.old comes from public.old, and 1 receipts?" in result.stderr
    assert _call("forget", "old", answer="").exit_code == 1
    assert len(printed("status", "--all")["tables"]) == 2
    assert _call("forget", "public.old", answer="y\n").exit_code == 0
    assert len(printed("status", "--all")["tables"]) == 1
    assert pair.target("SELECT count(*) FROM old") == [(0,)]


def test_forget_in_a_script_does_not_ask() -> None:
    assert printed("forget", "t", "--yes")["forgotten"]["receipts"] == 1
    result = _call("forget", "t", "--yes")
    assert result.exit_code == 1
    assert "the target remembers no table public.t" in result.stderr


def test_state_moves_to_another_server_in_a_file(
    pair: Pair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    new_database: NewDatabase,
    server15: PostgresServer,
) -> None:
    file = str(tmp_path / "state.json")
    assert _call("state", "export", file).exit_code == 0
    assert Path(file).stat().st_mode & 0o777 == 0o600
    assert _call("state", "export", file).exit_code == 2
    written = valid("state-export", Path(file).read_text())
    assert json.loads(_call("state", "export", "-").stdout) == written
    monkeypatch.setenv("SYNC_TARGET_URL", new_database(server15))
    result = _call("state", "import", file)
    assert result.exit_code == 0, result.stderr
    assert "2 tables; their next runs read everything once" in result.stdout
    assert {each["source"] for each in printed("status", "--all")["tables"]} == {
        "public.t",
        "public.old",
    }
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    result = _call("state", "import", file)
    assert result.exit_code == 2
    assert "remembers public.old already" in result.stderr
    for name in ("old", "t"):
        _call("forget", name, "--yes")
    assert printed("state-import", file, "--trust-target") == {
        "version": 1,
        "tables": ["public.old", "public.t"],
        "trusted": True,
    }


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state_version": 1, "tables": []}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    result = _call("state", "import", str(tmp_path / "state.json"))
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_help_of_the_group_and_its_commands_shows_examples() -> None:
    for words in (["state"], ["state", "export"], ["state", "import"]):
        assert "Examples:" in _call(*words, "--help").stdout


def _call(*words: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, list(words), input=answer)
