"""Which versions the tests run on is said by SYNC_TEST_WAYS."""

from __future__ import annotations

import pytest

from sync_assets_tests.fixtures.ways import named_ways, take_turns

TESTS = ["t[15-to-18-a]", "t[18-to-15-a]", "t[15-to-18-b]", "t[18-to-15-b]", "alone[15-to-18]"]


def test_ways_are_read_as_they_are_written() -> None:
    assert named_ways("14-to-18, 19-to-17") == (("14", "18"), ("19", "17"))
    assert named_ways("") == named_ways("both") == ()


@pytest.mark.parametrize("text", ["14", "14-to-", "15-18", "14-to-18,"])
def test_what_is_no_way_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="write 14-to-18"):
        named_ways(text)


def test_of_two_ways_each_test_takes_one() -> None:
    turns = take_turns(TESTS)
    assert "alone[15-to-18]" in turns
    assert [len({f"t[15-to-18-{each}]", f"t[18-to-15-{each}]"} & set(turns)) for each in "ab"] == [
        1,
        1,
    ]
