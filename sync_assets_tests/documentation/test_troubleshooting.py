"""The troubleshooting page has a heading for each kind of error, and no other."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator

import click

import sync_assets
from sync_assets.engine.errors import SyncError
from sync_assets_tests.fixtures.snippets import ROOT, snippets

PAGE = ROOT / "docs" / "troubleshooting.md"
HEADING = re.compile(r"^###? (\w+)$", re.MULTILINE)
LONG_ENOUGH = 6


def kinds(error: type[SyncError] = SyncError) -> Iterator[str]:
    """An error's name, and those of everything below it."""
    yield error.__name__
    for each in error.__subclasses__():
        yield from kinds(each)


def test_every_kind_of_error_has_its_heading_and_every_heading_its_kind() -> None:
    for module in pkgutil.walk_packages(sync_assets.__path__, "sync_assets."):
        if not module.name.endswith(("__main__", "celery_app")):
            importlib.import_module(module.name)
    own = {name for name in kinds() if not name.startswith("_")}
    headings = HEADING.findall(PAGE.read_text(encoding="utf-8"))
    assert len(headings) == len(set(headings))
    assert set(headings) == own | {click.UsageError.__name__}


def test_every_kind_shows_a_message() -> None:
    sections = HEADING.split(PAGE.read_text(encoding="utf-8"))
    groups = {"TransientError", "PermanentError"}
    silent = [
        name
        for name, text in zip(sections[1::2], sections[2::2], strict=True)
        if name not in groups and "```text" not in text
    ]
    assert silent == []


def test_every_message_is_one_the_program_writes() -> None:
    written = set(_literals())
    unknown = [
        each.name
        for each in snippets(PAGE)
        if not any(text in each.text for text in written) and "No such option" not in each.text
    ]
    assert unknown == [], "no part of this message stands in the code"


def _literals() -> Iterator[str]:
    """The texts in the code but its docstrings, which are the remedies."""
    for file in (ROOT / "sync_assets").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value.strip()
                if id(node) not in bare and len(text) > LONG_ENOUGH and " " in text:
                    yield text
