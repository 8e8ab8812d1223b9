"""Whether a target column can hold what the source sends."""

from __future__ import annotations

import pytest

from sync_assets.engine.layout.widening import holds
from sync_assets.engine.names import object_name


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("integer", "integer"),
        ("smallint", "bigint"),
        ("bigint", "numeric"),
        ("character varying(20)", "character varying(20)"),
        ("character varying(20)", "character varying(21)"),
        ("character varying(20)", "character varying"),
        ("character varying", "text"),
        ("numeric(18,4)", "numeric"),
        ("timestamp(3) with time zone", "timestamp with time zone"),
    ],
)
def test_a_type_that_keeps_every_value_s_text_is_accepted(source: str, target: str) -> None:
    assert holds(source, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("bigint", "integer"),
        ("text", "character varying(20)"),
        ("character varying(20)", "character varying(19)"),
        ("numeric(18,4)", "numeric(18,2)"),
        ("numeric", "numeric(18,4)"),
        ("timestamp with time zone", "timestamp without time zone"),
        ("timestamp with time zone", "date"),
        ("character(5)", "text"),
        ("json", "jsonb"),
        ("shop.mood", "shop.temper"),
        ("character varying(3)[]", "text"),
        ("character varying(10)[]", "character varying(20)"),
    ],
)
def test_a_type_that_could_change_a_value_is_refused(source: str, target: str) -> None:
    assert not holds(source, target)


def test_a_long_name_is_cut_between_characters_and_keeps_its_tail() -> None:
    name = object_name("주" * 21, "pkey")
    assert name.endswith("_pkey")
    assert len(name.encode()) <= 63
