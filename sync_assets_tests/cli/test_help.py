"""`--help` teaches by examples that work, and a shell completes commands and tables."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from sync_assets.cli import COMMANDS, main

DEFS = """\
type: sync_assets.TableSync
attributes:
  tables: [{source: orders}, {source: sales.items}]
"""

ROOT = Path(__file__).parents[2]
ASKS = {
    "bash": (
        "COMP_WORDS=(sync-assets verify s) COMP_CWORD=2;"
        ' _sync_assets_completion sync-assets; echo "${COMPREPLY[@]}"'
    ),
    # What completes there may only be called while a line is edited, and then adds by `compadd`.
    "zsh": (
        "compadd() { print -l -- $completions }; _describe() { print -l -- ${(P)3} };"
        "words=(sync-assets verify s); CURRENT=3; _sync_assets_completion"
    ),
    "fish": "complete --do-complete 'sync-assets verify s'",
}
"""How each is asked for what it would complete."""


def commands() -> Iterator[tuple[str, ...]]:
    """Every command, and every command below one."""
    for name in COMMANDS:
        yield (name,)
        command = found(name)
        if isinstance(command, click.Group):
            yield from ((name, below) for below in command.commands)


def found(*names: str) -> click.Command:
    command: click.Command = main
    for name in names:
        assert isinstance(command, click.Group)
        below = command.get_command(click.Context(main), name)
        assert below is not None
        command = below
    return command


@pytest.mark.parametrize("names", list(commands()), ids=" ".join)
def test_the_examples_of_a_command_parse(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    shown = CliRunner().invoke(main, [*names, "--help"]).stdout
    lines = shown.partition("Examples:\n")[2].splitlines()
    assert lines
    for line in lines:
        words = shlex.split(line.partition(" | ")[0])
        assert words[:1] == ["sync-assets"]
        assert words[1 : len(names) + 1] == list(names) or isinstance(found(*names), click.Group)
        found(*names).make_context(names[-1], words[len(names) + 1 :])


@pytest.mark.parametrize("names", [(), *commands()], ids=" ".join)
def test_help_fits_80_columns(names: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, [*names, "--help"]).stdout
    assert max(map(len, shown.splitlines())) <= 80


def test_the_first_help_shows_the_way() -> None:
    shown = CliRunner().invoke(main, ["--help"]).stdout
    assert shown.index("sync-assets init") < shown.index("sync-assets check")
    assert list(COMMANDS)[:3] == ["init", "check", "plan"]


def completed(*words: str, incomplete: str = "") -> list[str]:
    shell = ShellComplete(main, {}, "sync-assets", "_SYNC_ASSETS_COMPLETE")
    return [item.value for item in shell.get_completions(list(words), incomplete)]


def test_a_shell_completes_commands_and_options() -> None:
    assert completed(incomplete="st") == ["status", "state"]
    assert "--full-refresh" in completed("run", incomplete="--")


def completing(*names: str) -> list[tuple[tuple[str, ...], str]]:
    """Every command that has a parameter of such a name, with the words before its value."""
    found_ = []
    for words in commands():
        for number, parameter in enumerate(found(*words).params):
            if parameter.name in names:
                is_option = isinstance(parameter, click.Option)
                before = parameter.opts[:1] if is_option else ["x"] * number
                found_.append(((*words, *before), parameter.name))
    return found_


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with definitions and a `.env` that names them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "defs.yaml").write_text(DEFS)
    (tmp_path / ".env").write_text(f"SYNC_DEFS={tmp_path}\nSYNC_LAKE_URL=postgresql:///lake\n")
    # Set and unset again, so that monkeypatch takes away what the file brings.
    for name in ("SYNC_DEFS", "SYNC_LAKE_URL", "SYNC_SOURCE_URL", "SYNC_TARGET_URL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


TABLES = completing("select", "table", "tables")
CONNECTIONS = completing("connection", "source", "target")


def test_the_commands_that_take_tables_and_connections_were_found() -> None:
    assert {words[0] for words, _ in TABLES} == {
        *("check", "plan", "run", "approve", "status", "watch", "why", "forget"),
        *("verify", "compare"),
    }
    assert {words[0] for words, _ in CONNECTIONS} == {"why", "forget", "state", "compare"}


@pytest.mark.parametrize("words", [words for words, _ in TABLES], ids=" ".join)
def test_a_shell_completes_tables(words: tuple[str, ...], project: Path) -> None:
    assert completed(*words) == ["public.orders", "sales.items"]
    assert completed(*words, incomplete="s") == ["sales.items"]
    assert completed(*words, incomplete="or") == ["orders"]
    (project / "defs.yaml").write_text("type: nothing\n")
    assert completed(*words) == []


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("words", [words for words, _ in CONNECTIONS], ids=" ".join)
def test_a_shell_completes_connections(words: tuple[str, ...]) -> None:
    assert completed(*words, incomplete="l") == ["lake"]
    assert completed(*words, incomplete="s") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_reads_loads_there_and_completes(shell: str, project: Path) -> None:
    """The line of docs/command-line.md, in the shell itself where there is one."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell}")
    page = (ROOT / "docs" / "command-line.md").read_text()
    (line,) = re.findall(
        rf"^[^#\n]*_SYNC_ASSETS_COMPLETE={shell}_source[^#\n]*", page, re.MULTILINE
    )
    prepared = "autoload -Uz compinit && compinit -u" if shell == "zsh" else ""
    asks = ASKS[shell]
    environment = {
        "HOME": str(project),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [program, "-c", f"{prepared}\n{line.strip()}\n{asks}"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["sales.items"]
