"""CONTRIBUTING is true: its folders and commands are there, and its hooks are `make lint`."""

from __future__ import annotations

import re

import yaml

from sync_assets_tests.fixtures.snippets import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_folder_is_there() -> None:
    folders = re.findall(r"^\| `(\S+)` \|", PAGE, re.MULTILINE)
    assert folders
    assert [name for name in folders if not (ROOT / name).is_dir()] == []


def test_every_target_can_be_made() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)", PAGE))
    assert named - set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE)) == set()


def test_the_hooks_run_what_make_lint_runs() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    [recipe] = re.findall(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    # A hook is given the files that the recipe names itself.
    commands = [
        re.sub(r" \.github/\S+$", "", line.strip().replace("$(BIN)", ".venv/bin"))
        for line in recipe.splitlines()
    ]
    assert entries == commands
