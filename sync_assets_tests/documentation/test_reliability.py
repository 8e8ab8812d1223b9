"""The page of reliability has every cell of the matrix, and names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

from sync_assets.engine import Phase
from sync_assets_tests.fixtures.named_tests import named_in_vain, rows_with_tests
from sync_assets_tests.scenarios.faults.faults import OUR_KILL, outcome
from sync_assets_tests.scenarios.faults.test_faults import CELLS
from sync_assets_tests.scenarios.soak.events import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
TEST = "test_any_fault_at_any_step"
SOAK = re.compile(r"<!-- soak -->\n(.*?)<!-- end of soak -->", re.DOTALL)


def row(fault: str, step: Phase) -> str:
    """What the page has to say of a cell."""
    if fault == OUR_KILL:
        promise = "the target is as before, or as after; the next run sweeps its files"
    else:
        error = "in `OutOfSpace`" if "full" in fault else "in an error to try again"
        promise = {
            "fails": f"ends {error}",
            "either": f"goes through, or ends {error}",
            "goes through": "goes through",
        }[outcome(fault, step)]
    return f"| {fault} | {step} | {promise} | `{TEST}` | 1 |"


def test_the_page_has_every_cell_of_the_matrix() -> None:
    text = PAGE.read_text(encoding="utf-8")
    written = [line for line in text.splitlines() if f"| `{TEST}` | 1 |" in line]
    assert written == [row(fault, step) for fault, step in CELLS]


def test_the_page_has_sixty_rows_and_names_tests_that_are_there() -> None:
    assert len(rows_with_tests(PAGE)) >= 60
    assert named_in_vain(PAGE) == []


def test_the_page_has_a_soak_of_twenty_kinds_and_names_none_that_is_not_there() -> None:
    (part,) = SOAK.findall(PAGE.read_text(encoding="utf-8"))
    _, _, table = part.partition("| event |")
    events = [
        line.split(" | ")[0].removeprefix("| ") for line in table.partition("\n\n")[0].splitlines()
    ]
    assert len(events[2:]) >= 20
    assert set(events[2:]) - {kind.name for kind in KINDS} == set()
