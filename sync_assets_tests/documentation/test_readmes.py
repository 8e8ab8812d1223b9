"""A page and its Korean version say the same, and both READMEs name the program that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sync_assets.cli import COMMANDS
from sync_assets_tests.fixtures.snippets import ROOT, snippets

ENGLISH, KOREAN = ROOT / "README.md", ROOT / "README.ko.md"
START = ROOT / "docs" / "start.md"
PAIRS = pytest.mark.parametrize(
    ("english", "korean"),
    [(ENGLISH, KOREAN), (START, START.with_suffix(".ko.md"))],
    ids=["README", "start"],
)
NAMED = re.compile(r"^\| `sync-assets (\w+)", re.MULTILINE)
HEADING = re.compile(r"^(#+) ", re.MULTILINE)
LINK = re.compile(r"\]\(([^)]+)\)")


def shape(text: str) -> list[str]:
    """Headings by depth, list items and rows of tables, in order."""
    parts = re.findall(r"^(#+ |- |\| |!\[|```)", text, re.MULTILINE)
    return [part.strip() for part in parts]


@PAIRS
def test_both_have_the_same_sections_lists_and_tables(english: Path, korean: Path) -> None:
    one, other = (page.read_text(encoding="utf-8") for page in (english, korean))
    assert shape(other) == shape(one)
    assert len(HEADING.findall(one)) >= len(["title", "own", "promises", "not for"])


@PAIRS
def test_both_show_the_same_snippets(english: Path, korean: Path) -> None:
    def shown(page: Path) -> list[tuple[str, str]]:
        return [(each.language, each.text) for each in snippets(page)]

    assert shown(korean) == shown(english)


@PAIRS
def test_both_link_the_same_pages_in_korean_where_there_is_one(english: Path, korean: Path) -> None:
    def linked(page: Path) -> set[str]:
        links = set(LINK.findall(page.read_text(encoding="utf-8")))
        return {link.replace(".ko.", ".") for link in links} - {english.name}

    assert linked(korean) == linked(english)
    translated = {path.name for path in ROOT.rglob("*.ko.md")}
    text = korean.read_text(encoding="utf-8")
    english_ones = [
        name for name in LINK.findall(text) if name.endswith(".md") and ".ko." not in name
    ]
    missed = [n for n in english_ones if Path(n).name.replace(".md", ".ko.md") in translated]
    assert [each for each in missed if each != english.name] == []


@pytest.mark.parametrize("page", [ENGLISH, KOREAN], ids=["english", "korean"])
def test_each_names_every_command(page: Path) -> None:
    assert sorted(NAMED.findall(page.read_text(encoding="utf-8"))) == sorted(COMMANDS)


@pytest.mark.parametrize("page", [ENGLISH, KOREAN], ids=["english", "korean"])
def test_each_link_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    paths = [link.partition("#")[0] for link in links if "://" not in link]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", sorted(ROOT.rglob("*.ko.md")), ids=lambda page: str(page.name))
def test_a_korean_page_says_where_a_link_leads_to_english(page: Path) -> None:
    links = re.findall(r"\[([^\]]+)\]\(([^)]+\.md)[^)]*\)", page.read_text(encoding="utf-8"))
    silent = [text for text, to in links if not to.endswith(".ko.md") and "영문" not in text]
    assert [text for text in silent if text != "English"] == []
