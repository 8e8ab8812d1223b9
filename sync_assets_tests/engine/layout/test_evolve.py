"""What the target needs to follow its source's columns, from values alone."""

from __future__ import annotations

import dataclasses
import json

import pytest

from sync_assets.engine import RelationName, Table
from sync_assets.engine.errors import SchemaConflict
from sync_assets.engine.layout.evolve import Evolution, evolution_of, lay_out
from sync_assets.engine.layout.renaming import renames
from sync_assets.engine.load.types import type_changes
from sync_assets.engine.plan.reads import known_leaf
from sync_assets.engine.postgres.relation import Column, Key, Leaf, LeafColumn, Relation
from sync_assets.engine.postgres.types import UserType
from sync_assets.engine.state.shape import from_json, remembered_columns
from sync_assets.engine.state.state import State
from sync_assets.engine.table import OnSchemaChange
from sync_assets_tests.engine.plan.test_plan import KNOWN

NAME = RelationName("public", "orders")
TABLE = Table(NAME, NAME)
KEY = Key(("id",), ("OPERATOR(pg_catalog.=)",), primary=True, constraint="orders_pkey")


def column(number: int, name: str, type_: str = "integer", *, not_null: bool = False) -> Column:
    return Column(number, name, type_, 23, not_null, None, False, False)


ID, A, B = column(1, "id", not_null=True), column(2, "a"), column(3, "b", "character varying(9)")


def leaf(oid: int, *columns: LeafColumn, filenode: int = 7) -> Leaf:
    return Leaf(oid, NAME, "r", "heap", filenode, 0, False, True, "", 1, 1, 8192, columns)


def relation(*columns: Column, leaves: tuple[Leaf, ...] | None = None) -> Relation:
    stored = (leaf(10, *(LeafColumn(each.number, each.name) for each in columns)),)
    return Relation(10, NAME, "r", False, True, columns, (KEY,), leaves or stored, "")


def known(source: Relation, types: tuple[UserType, ...] = ()) -> State:
    return dataclasses.replace(
        KNOWN,
        columns=remembered_columns(source, types, ("id",), None),
        leaves=tuple(known_leaf(each) for each in source.leaves),
    )


BEFORE = relation(ID, A, B)


def evolved(now: Relation, target: Relation = BEFORE, before: Relation = BEFORE) -> Evolution:
    return evolution_of(TABLE, now, (), target, known(before))


def said(evolution: Evolution) -> list[str]:
    return [alteration.says for alteration in evolution.alterations]


def test_the_same_columns_need_nothing() -> None:
    assert evolved(BEFORE) == Evolution(BEFORE)


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ((ID, A, dataclasses.replace(B, name="c")), ['rename column "b" to "c"']),
        ((ID, A, column(3, "b", "text")), ['change column "b" to text']),
        ((ID, column(2, "a", "bigint"), B), ['change column "a" to bigint']),
        ((ID, A, B, column(4, "c")), ['add column "c" integer']),
        ((ID, B), []),
        (
            (ID, column(2, "b"), column(3, "a", "character varying(9)")),
            [
                'rename column "b" to "sync_assets_renamed_0"',
                'rename column "a" to "b"',
                'rename column "sync_assets_renamed_0" to "a"',
            ],
        ),
    ],
)
def test_each_change_is_said_and_done(now: tuple[Column, ...], says: list[str]) -> None:
    evolution = evolved(relation(*now))
    assert said(evolution) == says
    assert evolution.target is not None
    for each in now:
        there = evolution.target.column(each.name)
        assert there is not None
        assert there.type == each.type


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ((ID, column(2, "a", "text"), B), "the type of column a changed"),
        ((ID, column(4, "a"), B), "column a is another one than before"),
        ((ID, column(2, "b"), column(4, "a")), "a column took another one's name"),
    ],
)
def test_what_the_xids_do_not_show_is_read_whole(now: tuple[Column, ...], reason: str) -> None:
    full = evolved(relation(*now)).full
    assert full is not None
    assert reason in full


def stored(c: LeafColumn, oid: int = 10, filenode: int = 7) -> Leaf:
    rest = (LeafColumn(each.number, each.name) for each in (ID, A, B))
    return leaf(oid, *rest, c, filenode=filenode)


@pytest.mark.parametrize(
    ("leaves", "default", "whole"),
    [
        ((stored(LeafColumn(4, "c", "5")),), True, set()),
        ((stored(LeafColumn(4, "c")),), False, set()),
        ((stored(LeafColumn(4, "c", "5"), filenode=8),), False, {10}),
        ((stored(LeafColumn(4, "c", None, "(a + 1)")),), False, {10}),
        ((stored(LeafColumn(4, "c", "5")), stored(LeafColumn(4, "c", "5"), 11)), True, set()),
        ((stored(LeafColumn(4, "c", "5")), stored(LeafColumn(4, "c", "6"), 11)), False, {10, 11}),
        ((stored(LeafColumn(4, "c", "5")), stored(LeafColumn(4, "c"), 11)), False, {10}),
    ],
)
def test_old_rows_get_the_value_that_all_leaves_agree_on(
    leaves: tuple[Leaf, ...], default: bool, whole: set[int]
) -> None:
    before = relation(
        ID, A, B, leaves=tuple(stored(LeafColumn(9, "x"), each.oid) for each in leaves)
    )
    evolution = evolved(relation(ID, A, B, column(4, "c"), leaves=leaves), before=before)
    assert evolution.full is None
    assert set(evolution.full_leaves) == whole
    assert [("older rows" in says) for says in said(evolution)] == [default]


def test_a_computed_column_never_takes_a_value_from_the_catalog() -> None:
    computed = dataclasses.replace(column(4, "c"), expression="md5(a::text)")
    leaves = (stored(LeafColumn(4, "c", "secret")),)
    layout = lay_out(TABLE, relation(ID, A, B, computed, leaves=leaves), (), BEFORE, known(BEFORE))
    assert layout.full == "the target lacks column c"
    assert all("older rows" not in each.says for each in layout.alterations)


def test_a_column_that_somebody_dropped_on_the_target_is_read_again() -> None:
    layout = lay_out(TABLE, BEFORE, (), relation(ID, A), known(BEFORE))
    assert layout.full == "the target lacks column b"


def test_a_partition_that_keeps_a_column_elsewhere_than_before_is_read_whole() -> None:
    moved = leaf(10, LeafColumn(1, "id"), LeafColumn(5, "a"), LeafColumn(3, "b"))
    evolution = evolved(relation(ID, A, B, leaves=(moved,)))
    assert set(evolution.full_leaves) == {10}


def test_columns_of_another_table_are_told_by_their_names() -> None:
    now = dataclasses.replace(relation(column(1, "b"), column(3, "id")), oid=99)
    evolution = evolved(now)
    assert (
        evolution.full == "the source is another table than before and the type of column b changed"
    )


def test_not_null_goes_with_the_column_that_goes() -> None:
    needed = relation(ID, column(2, "a", not_null=True))
    assert said(evolved(relation(ID), needed, needed)) == [
        'let column "a" be NULL: the source no longer has it, the target keeps it'
    ]
    assert said(evolved(relation(ID, A), needed, needed)) == [
        'let column "a" be NULL: the source lets it'
    ]


def test_the_shape_survives_the_state() -> None:
    mood = UserType(5, "public", "mood", "e", None, (), ("a",), label_oids=(7,))
    shape = remembered_columns(BEFORE, (mood,), ("id",), None)
    assert from_json(json.loads(shape.as_json())) == shape


def test_fail_names_every_difference_and_writes_nothing() -> None:
    strict = dataclasses.replace(TABLE, on_schema_change=OnSchemaChange.FAIL)
    now = relation(ID, dataclasses.replace(A, name="z"), column(5, "n", "text"))
    with pytest.raises(SchemaConflict) as caught:
        lay_out(strict, now, (), BEFORE, known(BEFORE))
    for text in ('"a" was renamed to "z"', '"n" text was added', '"b" was dropped'):
        assert text in caught.value.message
    lay_out(strict, BEFORE, (), BEFORE, known(BEFORE))


@pytest.mark.parametrize(
    ("wanted", "there", "steps"),
    [
        ({"a": "b"}, ["a"], [("a", "b")]),
        ({"a": "b"}, ["a", "b"], []),
        ({"a": "b", "b": "c"}, ["a", "b"], [("b", "c"), ("a", "b")]),
        ({"a": "b", "b": "c"}, ["a", "b", "c"], []),
    ],
)
def test_renames_come_in_an_order_that_works(
    wanted: dict[str, str], there: list[str], steps: list[tuple[str, str]]
) -> None:
    assert renames(wanted, there) == steps


def test_a_label_renamed_already_is_left_alone() -> None:
    was = UserType(5, "public", "mood", "e", None, (), ("a", "b"), label_oids=(7, 8))
    now = dataclasses.replace(was, labels=("b", "a"))
    assert len(type_changes(was, now, was)) == 3
    assert type_changes(was, now, now) == []
