"""A docstring is read in a hover, alone: some ways to begin one leave its reader guessing."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import sync_assets

GUESSING = ("The same", "Who ", "Whoever ", "Whose ", "Likewise", "As above")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Each module of the product, by its path."""
    root = Path(sync_assets.__file__).parent
    for file in sorted(root.rglob("*.py")):
        yield str(file.relative_to(root)), ast.parse(file.read_text(encoding="utf-8"))


def documented() -> Iterator[tuple[str, str]]:
    """Each docstring of the product and each text below a constant, with its place."""
    for path, module in modules():
        for node in ast.walk(module):
            body = getattr(node, "body", ())
            for statement in body if isinstance(body, list) else ():
                text = getattr(getattr(statement, "value", None), "value", None)
                if isinstance(statement, ast.Expr) and isinstance(text, str):
                    yield f"{path}:{statement.lineno}", text


def test_each_can_be_read_alone() -> None:
    texts = list(documented())
    assert len(texts) > 1000
    assert [place for place, text in texts if text.startswith(GUESSING)] == []


def test_no_text_is_for_two_constants() -> None:
    shared = []
    for path, module in modules():
        for statement, below in itertools.pairwise(module.body):
            pair = isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Tuple)
            if pair and isinstance(below, ast.Expr):
                shared.append(f"{path}:{statement.lineno}")
    assert shared == []


def test_each_package_says_what_it_may_not_know() -> None:
    faces = {"__init__.py", "engine/__init__.py", "defs/__init__.py"}
    said = {
        path: ast.get_docstring(module) or ""
        for path, module in modules()
        if path.endswith("__init__.py") and path not in faces
    }
    assert len(said) > 20
    assert [path for path, text in said.items() if not re.search(r"\bmay\s+not\b", text)] == []
