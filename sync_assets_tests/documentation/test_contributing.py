"""CONTRIBUTING is true: its folders and commands are there, and its hooks are `make lint`."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest
import yaml

from sync_assets_tests.fixtures.snippets import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = 'name = "shop"\nversion = "1.2.0"\n'
CHANGELOG = """\
# Changelog

## [Unreleased]

- Later.

## [1.2.0] - 2026-11-28

### Fixed

- A row.

## [1.1.0] - 2026-10-01

- Older.
"""


@pytest.fixture(scope="module")
def release() -> ModuleType:
    """The script that a release asks for its notes."""
    spec = importlib.util.spec_from_file_location("notes", ROOT / "scripts" / "release_notes.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_folder_is_there() -> None:
    folders = re.findall(r"^\| `(\S+)` \|", PAGE, re.MULTILINE)
    assert folders
    assert [name for name in folders if not (ROOT / name).is_dir()] == []


def test_every_target_can_be_made() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)", PAGE))
    assert named - set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE)) == set()


def test_what_ci_makes_can_be_made() -> None:
    files = [*(ROOT / ".github" / "workflows").glob("*.yml"), ROOT / ".ci" / "run"]
    made = {
        name
        for path in files
        for name in re.findall(r"\bmake ([a-z]+)", re.sub(r"#.*", "", path.read_text("utf-8")))
    }
    assert {"dist", "sbom", "lint"} <= made
    assert made - set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE)) == set()


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


def test_a_release_is_noted_by_its_section_of_the_changelog(release: ModuleType) -> None:
    assert release.release_notes("v1.2.0", PROJECT, CHANGELOG) == "### Fixed\n\n- A row."


@pytest.mark.parametrize(
    ("tag", "changelog", "says"),
    [
        ("v1.3.0", CHANGELOG, r"v1\.3\.0 is not v1\.2\.0"),
        ("1.2.0", CHANGELOG, r"1\.2\.0 is not v1\.2\.0"),
        ("v1.2.0", CHANGELOG.replace("[1.2.0] - 2026-11-28", "[1.2.0]"), "no section"),
        ("v1.2.0", CHANGELOG.replace("### Fixed\n\n- A row.\n", ""), "no section"),
    ],
    ids=["another version", "no v", "no date", "no changes"],
)
def test_a_tag_is_not_released(release: ModuleType, tag: str, changelog: str, says: str) -> None:
    with pytest.raises(SystemExit, match=says):
        release.release_notes(tag, PROJECT, changelog)
