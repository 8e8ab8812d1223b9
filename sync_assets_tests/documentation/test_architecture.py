"""The page that says where things are names what is there."""

from __future__ import annotations

import re

from sync_assets_tests.fixtures.snippets import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_path_that_the_page_names_is_there() -> None:
    named = re.findall(r"`((?:sync_assets(?:_tests)?|engine)/[\w/.]+)`", PAGE)
    assert len(named) > 20
    places = [
        ROOT / ("sync_assets/" + each if each.startswith("engine/") else each) for each in named
    ]
    assert [str(place) for place in places if not place.exists()] == []


def test_the_picture_names_every_package() -> None:
    picture = (ROOT / "docs" / "pictures" / "packages.svg").read_text(encoding="utf-8")
    packages = {
        folder.parent.name
        for top in ("sync_assets", "sync_assets/engine")
        for folder in (ROOT / top).glob("*/__init__.py")
    }
    assert {each for each in packages - {"engine", "defs"} if each not in picture} == set()
