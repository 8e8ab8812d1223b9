"""The page of guarantees names tests that are there."""

from __future__ import annotations

from pathlib import Path

from sync_assets_tests.fixtures.named_tests import named_in_vain, rows_with_tests

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"


def test_every_case_names_a_test_that_is_there() -> None:
    assert len(rows_with_tests(PAGE)) >= 30
    assert named_in_vain(PAGE) == []
