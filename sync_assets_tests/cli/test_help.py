"""`--help` teaches by examples that work, and a shell completes commands and tables."""

from __future__ import annotations

import shlex
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


@pytest.mark.parametrize("command", ["run", "check", "plan", "why", "forget", "watch"])
def test_a_shell_completes_tables(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert completed(command) == []
    (tmp_path / "defs.yaml").write_text(DEFS)
    (tmp_path / ".env").write_text(f"SYNC_DEFS={tmp_path}\n")
    # Set and unset again, so that monkeypatch takes away what the file brings.
    monkeypatch.setenv("SYNC_DEFS", "")
    monkeypatch.delenv("SYNC_DEFS")
    assert completed(command) == ["public.orders", "sales.items"]
    assert completed(command, incomplete="s") == ["sales.items"]
    (tmp_path / "defs.yaml").write_text("type: nothing\n")
    assert completed(command) == []
