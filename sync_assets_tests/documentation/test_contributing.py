"""CONTRIBUTING is true: its folders and commands are there."""

from __future__ import annotations

import re

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
