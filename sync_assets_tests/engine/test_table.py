"""Names, modes and worker limits as a user writes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_assets.engine import RelationName, SyncMode, Table, WorkerConfig
from sync_assets.engine.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [
        ("public.orders", "public", "orders"),
        ("orders", "public", "orders"),
        ("Sales.Orders", "Sales", "Orders"),
        ("한국 상점.주문 내역", "한국 상점", "주문 내역"),
        ('"my.schema"."a ""b"""', "my.schema", 'a "b"'),
        ('select."from"', "select", "from"),
    ],
)
def test_a_name_is_taken_as_the_catalog_stores_it(text: str, schema: str, name: str) -> None:
    assert RelationName.parse(text) == RelationName(schema, name)


parts = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15
).filter(lambda part: part == part.strip() and len(part.encode()) < 64)


@given(parts, parts)
def test_every_name_reads_back_from_its_own_text(schema: str, name: str) -> None:
    relation = RelationName(schema, name)
    assert RelationName.parse(str(relation)) == relation


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".b", "a.b.c", 'a."b', " a.b", "a. b", "a." + "x" * 64, "a.b\0"]
)
def test_what_is_not_a_name_is_refused_in_words(text: str) -> None:
    with pytest.raises(ConfigurationError):
        RelationName.parse(text)


def test_an_unknown_mode_names_the_ones_there_are() -> None:
    with pytest.raises(ConfigurationError, match="full_sync, incremental_sync, xmin_incremental"):
        SyncMode.parse("xmin")


@pytest.mark.parametrize(
    "limits",
    [
        {"max_workers": 0},
        {"min_workers": 9},
        {"batch_size": -1},
        {"batch_size": True},
        {"default_workers": 1.5},
    ],
)
def test_worker_limits_that_make_no_sense_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(limits))):
        WorkerConfig(**limits)


@pytest.mark.parametrize(
    "wrong",
    [
        {"xmin_column": "x" * 64},
        {"xmin_column": ""},
        {"max_delete_ratio": 1.5},
        {"min_deletes": -1},
        {"confirm_deletes": -1},
    ],
)
def test_table_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    name = RelationName("public", "t")
    with pytest.raises(ConfigurationError):
        Table(name, name, **wrong)
