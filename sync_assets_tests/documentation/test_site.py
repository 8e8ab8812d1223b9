"""The site builds without a warning, and fetches nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sync_assets_tests.fixtures.snippets import ROOT

FETCHED = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//"
)
IN_CSS = re.compile(r"url\([\"']?(?:https?:)?//|@import")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "true"},
        check=False,
        capture_output=True,
        text=True,
    )
    # With --quiet mkdocs would not count its warnings, and --strict would mean nothing.
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stderr
    return folder


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    found = [
        f"{file.name}: {match[0]}"
        for pattern, names in ((FETCHED, "*.html"), (IN_CSS, "*.css"))
        for file in site.rglob(names)
        for match in pattern.finditer(file.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_every_page_is_in_the_navigation_and_has_a_heading(site: Path) -> None:
    pages = [file for file in site.rglob("*.html") if file.name != "404.html"]
    assert len(pages) == len(list((ROOT / "docs").glob("*.md")))
    assert [file.name for file in pages if "<h1" not in file.read_text(encoding="utf-8")] == []
