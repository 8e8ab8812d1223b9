"""A password that lives for minutes, as a cloud's token does: a run outlives it, and shows it nowhere."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from sync_assets.cli import main
from sync_assets.engine import DataCopyEngine, Phase, Progress
from sync_assets_tests.fixtures.guarded import Token
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import NewDatabase
from sync_assets_tests.scenarios.faults.faults import MANY_WORKERS

ROWS = (
    "CREATE TABLE t (id integer PRIMARY KEY, v text)",
    "INSERT INTO t SELECT i, repeat('x', 300) FROM generate_series(1, 3000) i",
)
DEFS = "type: sync_assets.TableSync\nattributes:\n  tables: [{source: t}]\n"


@pytest.fixture
def pair(token: Token, new_database: NewDatabase) -> Pair:
    """Two databases of the server that asks for a password, by the way that needs none."""
    return Pair(new_database(token.server), new_database(token.server))


@dataclass
class Expiring:
    """What lets the password expire as a step of a run begins."""

    token: Token
    step: Phase
    asked: int | None = None

    def __call__(self, progress: Progress) -> None:
        if progress.phase == self.step and self.asked is None:
            self.token.renew()
            self.asked = self.token.asked


@pytest.mark.parametrize("step", ["plan", "export"])
def test_a_token_that_expires_in_the_middle_of_a_run_is_renewed(
    pair: Pair, token: Token, step: Phase
) -> None:
    pair.source(*ROWS)
    expiring = Expiring(token, step)
    ends = token.database(pair.source_url), token.database(pair.target_url)
    with MANY_WORKERS():
        DataCopyEngine(*ends, workers=4, on_progress=expiring).copy_table_data("t", "t")
    # Connections that were opened before live on; those after took one new password, both ends'.
    assert (expiring.asked, token.asked) == (1, 2)
    assert pair.is_exact()
    assert pair.leftovers() == []


@pytest.mark.slow
def test_a_token_is_nowhere_in_a_run_of_the_command(
    pair: Pair, token: Token, tmp_path: Path
) -> None:
    pair.source(*ROWS)
    home = tmp_path / "home"
    (tmp_path / "defs.yaml").write_text(DEFS)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "SYNC_DEFS": str(tmp_path),
        "DAGSTER_HOME": str(home),
        "SYNC_SOURCE_URL": token.url(pair.source_url),
        "SYNC_SOURCE_PASSWORD_COMMAND": token.command,
        "SYNC_TARGET_URL": token.url(pair.target_url),
        "SYNC_TARGET_PASSWORD_COMMAND": token.command,
        "SYNC_EXECUTOR": "multiprocess",
    }
    home.mkdir()
    said = []
    for command in ("run", "check", "verify"):
        done = subprocess.run(
            [sys.executable, "-m", "sync_assets.cli", "--debug", command],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout + done.stderr)
    assert pair.is_exact()
    password = (tmp_path / "token").read_text().strip()
    assert password not in "".join(said)
    files = [each for each in home.rglob("*") if each.is_file()]
    assert len(files) > 3
    assert [each for each in files if password.encode() in each.read_bytes()] == []


def test_a_token_is_in_no_process_s_arguments_or_environment(pair: Pair, token: Token) -> None:
    pair.source(*ROWS)
    seen: list[str] = []

    def look(_: Progress) -> None:
        password = (token.folder / "token").read_text().strip()
        ours = psutil.Process()
        for process in (ours, *ours.children(recursive=True)):
            # Those of a server, which is a child of ours too, come and go.
            with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
                seen.append(process.name())
                assert password not in " ".join(process.cmdline())
                assert password not in repr(process.environ())
        assert password not in repr(os.environ)

    ends = token.database(pair.source_url), token.database(pair.target_url)
    DataCopyEngine(*ends, on_progress=look).copy_table_data("t", "t")
    assert seen


def test_a_command_that_fails_ends_with_one_line_and_nothing_written(
    pair: Pair, token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "defs.yaml").write_text(DEFS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", token.url(pair.source_url))
    monkeypatch.setenv("SYNC_SOURCE_PASSWORD_COMMAND", "sh -c 'echo token is gone >&2; exit 7'")
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    result = CliRunner().invoke(main, ["check"])
    assert result.exit_code == 1
    assert "password command of the source failed with exit code 7: token is gone" in result.output
    assert "Traceback" not in result.output
