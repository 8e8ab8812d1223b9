"""What a reader holds in mind at once: modules, packages and values of a bounded size.

Ruff's PLR0913 bounds what a function takes.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import sync_assets

ROOT = Path(sync_assets.__file__).parent
LINES, MODULES, FIELDS = 300, 13, 15


def test_no_module_has_more_lines() -> None:
    lines = {str(file): len(file.read_text("utf-8").splitlines()) for file in ROOT.rglob("*.py")}
    assert [(name, count) for name, count in lines.items() if count > LINES] == []


def test_no_package_has_more_modules() -> None:
    folders = (file.parent for file in ROOT.rglob("__init__.py"))
    sizes = {str(folder): len(list(folder.glob("*.py"))) for folder in folders}
    assert [(name, size) for name, size in sizes.items() if size > MODULES] == []


def test_a_value_of_more_fields_has_a_reason_above_it() -> None:
    large = dict(values())
    assert len(large) > 5
    assert [name for name, reason in large.items() if not reason.startswith("# ")] == []


def values() -> Iterator[tuple[str, str]]:
    """Each class of more fields, with the line above it."""
    for file in ROOT.rglob("*.py"):
        text = file.read_text("utf-8")
        lines = ["", *text.splitlines()]
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                begin = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                if sum(isinstance(each, ast.AnnAssign) for each in node.body) > FIELDS:
                    yield node.name, lines[begin - 1]
