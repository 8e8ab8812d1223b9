"""The page of guarantees names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "guarantees.md"


def test_every_case_names_a_test_that_is_there() -> None:
    there = {
        name
        for file in HERE.rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if "| `test_" in line]
    named = [name for line in rows for name in re.findall(r"`(test_\w+)`", line)]
    assert len(rows) >= 30
    assert sorted(set(named) - there) == []
