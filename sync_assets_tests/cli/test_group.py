"""The command group: exit codes, one-line errors, no password, nothing heavy for `--help`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from sync_assets import cli
from sync_assets.cli.errors import hide_passwords
from sync_assets.engine.errors import ConfigurationError, ConnectionFailed, ConnectionLost

HEAVY = ("dagster", "psycopg2", "psutil", "rich", "pydantic", "yaml", "sync_assets.engine")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the group with a `status` command that raises the given error."""

    def run(error: BaseException, *words: str) -> Result:
        @click.command()
        def command() -> None:
            raise error

        monkeypatch.setattr(cli.CommandGroup, "get_command", lambda *_: command)
        return CliRunner().invoke(cli.main, [*words, "status"])

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("wrong"), 2),
        (ConnectionFailed("refused"), 1),
        (ConnectionLost("gone"), 1),
        (ValueError("surprise"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_is_one_line_and_a_code(
    failing: Callable[..., Result], error: BaseException, code: int
) -> None:
    result = failing(error)
    assert result.exit_code == code
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.output


def test_an_error_says_what_it_says_of_itself(failing: Callable[..., Result]) -> None:
    error = ConnectionFailed("no such\nhost", table="public.orders", phase="lock")
    assert failing(error).stderr == (
        "Error: public.orders (lock): no such host."
        " Check host, port, database, role and password in the URL.\n"
    )


def test_a_surprise_names_its_type_and_the_way_to_its_traceback(
    failing: Callable[..., Result],
) -> None:
    result = failing(ZeroDivisionError("by zero"))
    assert "ZeroDivisionError: by zero" in result.stderr
    assert "--debug" in result.stderr
    assert "Traceback" in failing(ZeroDivisionError("by zero"), "--debug").stderr


@pytest.mark.parametrize("debug", [(), ("--debug",)])
@pytest.mark.parametrize("variable", ["SYNC_SOURCE_URL", "SYNC_EU_URL", "DAGSTER_PG_URL"])
@pytest.mark.parametrize(
    ("url", "leak"),
    [
        ("postgresql://me:tr0ub4dor@db/x", "tr0ub4dor"),
        ("postgresql+psycopg2://me:tr0ub%404dor@db/x", "tr0ub@4dor"),
        ("postgresql+psycopg2://me:tr0ub%404dor@db/x", "tr0ub%404dor"),
        ("host=db user=me password=tr0ub4dor dbname=x", "tr0ub4dor"),
        ("host=db user=me password='tr0ub 4dor' dbname=x", "tr0ub 4dor"),
        ("postgresql://db/x?user=me&password=tr0ub4dor", "tr0ub4dor"),
    ],
)
def test_no_password_is_printed(
    failing: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    leak: str,
    variable: str,
    debug: tuple[str, ...],
) -> None:
    monkeypatch.setenv(variable, url)
    for error in (ConnectionFailed(f"{leak} is wrong in {url}"), RuntimeError(f"{url!r} {leak!r}")):
        result = failing(error, *debug)
        assert leak not in result.output
        assert "***" in result.stderr


def test_a_password_is_hidden_only_where_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_SOURCE_URL", "postgresql://sync:sync@db/shop")
    assert (
        hide_passwords("role sync may not read sync_state") == "role sync may not read sync_state"
    )
    assert hide_passwords("postgresql://sync:sync@db/shop") == "postgresql://sync:***@db/shop"


def test_usage_errors_are_exit_code_2() -> None:
    for words in (
        ["no-such-command"],
        ["--no-such-option"],
        ["workers", "--nope"],
        ["workers", "x"],
    ):
        result = CliRunner().invoke(cli.main, words)
        assert result.exit_code == 2, words
        assert "Traceback" not in result.output


def test_help_and_version_are_exit_code_0() -> None:
    for words in (["--help"], ["-h"], ["--version"], ["workers", "--help"]):
        assert CliRunner().invoke(cli.main, words).exit_code == 0, words
    for name in cli.COMMANDS:
        assert name in CliRunner().invoke(cli.main, ["--help"]).stdout


def test_every_command_of_the_table_is_there_and_helps() -> None:
    for name in cli.COMMANDS:
        done = _run(name, "--help")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"Usage: sync-assets {name}")


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("no-such-command",)])
def test_the_group_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    code = (
        "import sys, sync_assets.cli\n"
        f"try: sync_assets.cli.main({list(words)!r})\n"
        "except SystemExit: pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stderr.splitlines()[-1]
    if "no-such" in words[0]:
        # The engine, for its errors; Dagster for nothing.
        assert "'dagster'" not in loaded
    else:
        assert loaded == "[]"


def test_env_file_is_read_and_does_not_override(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("SYNC_ONE=file\nSYNC_TWO='file two'\nSYNC_BARE\n")
    monkeypatch.setenv("SYNC_ONE", "environment")
    for name in ("SYNC_TWO", "SYNC_BARE"):
        # Set and unset again, so that monkeypatch takes away what the file brings.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    cli.read_env_file(tmp_path)
    assert os.environ["SYNC_ONE"] == "environment"
    assert os.environ["SYNC_TWO"] == "file two"
    assert "SYNC_BARE" not in os.environ


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sync_assets.cli", "workers"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sync_assets.cli", *words],
        capture_output=True,
        text=True,
        check=False,
    )
