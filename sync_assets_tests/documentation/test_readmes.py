"""Both READMEs say the same, of the program that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sync_assets.cli import COMMANDS
from sync_assets_tests.fixtures.snippets import ROOT, snippets

ENGLISH, KOREAN = ROOT / "README.md", ROOT / "README.ko.md"
NAMED = re.compile(r"^\| `sync-assets (\w+)", re.MULTILINE)
HEADING = re.compile(r"^(#+) ", re.MULTILINE)
LINK = re.compile(r"\]\(([^)]+)\)")


def shape(text: str) -> list[str]:
    """Headings by depth, list items and rows of tables, in order."""
    parts = re.findall(r"^(#+ |- |\| |!\[|```)", text, re.MULTILINE)
    return [part.strip() for part in parts]


def test_both_have_the_same_sections_lists_and_tables() -> None:
    english, korean = (page.read_text(encoding="utf-8") for page in (ENGLISH, KOREAN))
    assert shape(korean) == shape(english)
    assert len(HEADING.findall(english)) >= len(["title", "own", "promises", "not for"])


def test_both_show_the_same_snippets() -> None:
    def shown(page: Path) -> list[tuple[str, str]]:
        return [(each.language, each.text) for each in snippets(page)]

    assert shown(KOREAN) == shown(ENGLISH)


def test_both_link_the_same_pages() -> None:
    def linked(page: Path) -> list[str]:
        links = LINK.findall(page.read_text(encoding="utf-8"))
        return sorted(set(links) - {ENGLISH.name, KOREAN.name})

    assert linked(KOREAN) == linked(ENGLISH)


@pytest.mark.parametrize("page", [ENGLISH, KOREAN], ids=["english", "korean"])
def test_each_names_every_command(page: Path) -> None:
    assert sorted(NAMED.findall(page.read_text(encoding="utf-8"))) == sorted(COMMANDS)


@pytest.mark.parametrize("page", [ENGLISH, KOREAN], ids=["english", "korean"])
def test_each_link_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    paths = [link.partition("#")[0] for link in links if "://" not in link]
    assert [path for path in paths if not (ROOT / path).exists()] == []
