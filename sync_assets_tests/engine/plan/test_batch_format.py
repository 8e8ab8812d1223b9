"""Binary batches: only where both ends have the same built-in types, and where they pay."""

from __future__ import annotations

import dataclasses

import pytest

from sync_assets.engine.layout.layout import Field
from sync_assets.engine.plan.batch_format import is_binary
from sync_assets.engine.postgres.relation import Column


def columns(*types: str) -> tuple[Column, ...]:
    return tuple(
        Column(number, f"c{number}", type_, 0, False, None, False, False)
        for number, type_ in enumerate(types, 1)
    )


def fields(*types: str) -> tuple[Field, ...]:
    return tuple(Field(column.name, column.type, None, False) for column in columns(*types))


@pytest.mark.parametrize(
    "types",
    [
        ("bigint", "timestamp(3) with time zone"),
        ("numeric(18,4)", "text", "character varying(32)", "integer"),
        ("integer[]", "jsonb"),
        ("uuid",),
        ("interval(3)[]", "bit varying(4)"),
    ],
)
def test_numbers_times_and_arrays_travel_as_binary_data(types: tuple[str, ...]) -> None:
    assert is_binary(columns(*types), fields(*types), 150000, 180000)


@pytest.mark.parametrize(
    ("types", "why"),
    [
        (("text", "character varying(50)"), "no gain"),
        (("numeric", *["text"] * 4), "too little gain"),
        (("uuid", "kinds.mood"), "the OIDs of users' types differ between servers"),
        (("uuid", "tsquery"), "sent with padding"),
        (("uuid", "regclass"), "sent by OID"),
        (("uuid", "xml"), "not every server can read it"),
        (("uuid", "money"), "its digits depend on the server's locale"),
    ],
)
def test_everything_else_travels_as_csv(types: tuple[str, ...], why: str) -> None:
    assert not is_binary(columns(*types), fields(*types), 180000, 180000), why


def test_a_target_that_is_wider_takes_csv() -> None:
    assert not is_binary(
        columns("integer", "timestamp without time zone"),
        fields("bigint", "timestamp without time zone"),
        180000,
        180000,
    )


def test_an_expression_s_result_travels_as_csv() -> None:
    computed = tuple(dataclasses.replace(field, expression="now()") for field in fields("date"))
    assert not is_binary(columns("date"), computed, 180000, 180000)


def test_an_older_target_takes_csv_for_what_a_newer_source_may_send() -> None:
    assert not is_binary(columns("interval"), fields("interval"), 180000, 150000)
    assert is_binary(columns("interval"), fields("interval"), 180001, 180006)
