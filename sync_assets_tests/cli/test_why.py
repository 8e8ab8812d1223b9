"""`sync-assets why`: a sentence, the facts, the last runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sync_assets.cli import main
from sync_assets_tests.fixtures.documents import printed
from sync_assets_tests.fixtures.pair import Pair

DEFS = "type: sync_assets.TableSync\nattributes:\n  tables:\n    - {source: t, target: replica.t}\n"


@pytest.fixture(autouse=True)
def _project(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table with one row, synced."""
    (tmp_path / "defs.yaml").write_text(DEFS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    pair.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (-1)")
    pair.engine().copy_table_data_with_xmin("t", "replica.t")


def test_the_sentence_comes_first_then_facts_then_runs() -> None:
    result = CliRunner().invoke(main, ["why", "replica.t", "--", "-1"])
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "replica.t, id = -1: on the target, in the source's version."
    assert lines[1].startswith("on the source: yes, xmin ")
    assert lines[2].startswith("on the target: yes, source_xmin ")
    read_at = next(line for line in lines if line.startswith("last run read at: "))
    # By the same clock as the runs below it.
    assert lines[-1].startswith(read_at.removeprefix("last run read at: ")[:16])
    assert lines[-1].split()[2] == "xmin_incremental"


def test_json_has_the_same() -> None:
    document = printed("why", "replica.t", "2")
    assert (document["on_source"], document["on_target"]) == (False, False)
    assert len(document["runs"]) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["t", "1"], 2, "no target table matches 't'"),
        (["replica.*", "1"], 2, "no target table matches"),
        (["replica.t"], 2, "Missing argument"),
        (["replica.t", "one"], 2, "no row can have the key id = one"),
        (["replica.t", "1", "2"], 2, "1 values, not 2"),
    ],
)
def test_what_cannot_be_asked_is_named(words: list[str], code: int, said: str) -> None:
    result = CliRunner().invoke(main, ["why", *words])
    assert result.exit_code == code
    assert said in result.stderr
