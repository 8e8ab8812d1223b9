"""The page that says where things are names what is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from sync_assets_tests.fixtures.snippets import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_path_that_the_page_names_is_there() -> None:
    named = re.findall(r"`((?:sync_assets(?:_tests)?|engine)/[\w/.]+)`", PAGE)
    assert len(named) > 20
    places = [
        ROOT / ("sync_assets/" + each if each.startswith("engine/") else each) for each in named
    ]
    assert [str(place) for place in places if not place.exists()] == []


def test_every_module_of_a_first_change_is_named_with_what_to_change_there() -> None:
    table = PAGE[PAGE.index("| to change |") : PAGE.index("Tests are in folders")]
    modules = re.findall(r"`[\w/]+\.py`", table)
    pairs = re.findall(r"`([\w/]+\.py)`, (?:\w+ )?`(\w+)`", table)
    assert len(pairs) == len(modules) > 10
    assert [(file, name) for file, name in pairs if name not in defined(ROOT / file)] == []


def defined(module: Path) -> Iterator[str]:
    """The names that a module gives to functions, classes and constants."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name


def test_the_picture_names_every_package() -> None:
    picture = (ROOT / "docs" / "pictures" / "packages.svg").read_text(encoding="utf-8")
    packages = {
        folder.parent.name
        for top in ("sync_assets", "sync_assets/engine")
        for folder in (ROOT / top).glob("*/__init__.py")
    }
    assert {each for each in packages - {"engine", "defs"} if each not in picture} == set()
