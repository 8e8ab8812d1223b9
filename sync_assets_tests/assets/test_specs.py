"""Every name comes from one pure function, and different tables never share one."""

from __future__ import annotations

import itertools
import re

import dagster as dg
import pytest

from sync_assets.assets import specs
from sync_assets.config.model import SyncedTable, TableSyncConfig
from sync_assets.engine.names import RelationName
from sync_assets.engine.table import Table

HARD_NAMES = [
    *("a", "A", "a_", "_a", "a b", "a-b", "a.b", "a/b", 'a"b', "a__b", "주문", "주 문", "é", "e"),
    *("a_0c8a1e3b", "a_b_" + "0" * 8, " ", "__", "1", "context", "a\nb"),
]


def synced(source: str = "public.orders", target: str | None = None) -> SyncedTable:
    names = RelationName.parse(source), RelationName.parse(target or source)
    return SyncedTable(Table(*names), "source", "target", "shop", ("team:x",), {"t": "1"}, None)


def test_keys_are_connection_schema_and_table() -> None:
    table = synced("sym_v1.ticker", "replica.ticker")
    assert specs.source_key(table).path == ["source", "sym_v1", "ticker"]
    assert specs.target_key(table).path == ["target", "replica", "ticker"]


def test_plain_names_stay_as_they_are() -> None:
    assert [specs.sanitized(name) for name in ("orders", "Orders", "_x1")] == [
        "orders",
        "Orders",
        "_x1",
    ]


def test_a_changed_name_gets_eight_hex_digits() -> None:
    assert re.fullmatch(r"my_table_[0-9a-f]{8}", specs.sanitized("my table"))


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(HARD_NAMES, 2)))
def test_different_names_stay_different(one: str, other: str) -> None:
    assert specs.sanitized(one) != specs.sanitized(other)


def test_a_name_that_looks_sanitized_does_not_meet_a_sanitized_one() -> None:
    assert specs.sanitized(specs.sanitized("my table")) != specs.sanitized("my table")


@pytest.mark.parametrize("name", [*HARD_NAMES, "a*b", "a:b", "😀", "events_20240101"])
def test_a_key_has_the_true_names(name: str) -> None:
    taken = not set(name) & set('/"\n')
    key = specs.asset_key("target", RelationName(name, name))
    assert (key.path == ["target", name, name]) == taken


@pytest.mark.parametrize("name", ["a/b", "a\\b", 'a"b', "a%b", "a\nb", "a\x7fb", ".", ".."])
def test_what_dagster_loses_in_a_key_becomes_a_digest(name: str) -> None:
    part = specs.asset_key("target", RelationName("public", name)).path[-1]
    assert re.fullmatch(r"[a_b]+~[0-9a-f]{8}", part)
    # And a table that is really called so has another key.
    assert specs.asset_key("target", RelationName("public", part)).path[-1] != part


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(HARD_NAMES, 2)))
def test_different_tables_have_different_keys_and_ops(one: str, other: str) -> None:
    keys = [specs.asset_key("target", RelationName("public", name)) for name in (one, other)]
    ops = [specs.op_name(key) for key in keys]
    assert keys[0] != keys[1]
    assert ops[0] != ops[1]
    assert all(re.fullmatch("[A-Za-z0-9_]+", op) for op in ops)


def test_ops_are_called_as_before_keys_had_true_names() -> None:
    key = dg.AssetKey(["target", "public", "주문"])
    assert specs.op_name(key) == "target__public_____d64a64f0_c6f568e5"


def test_op_names_differ_where_joined_keys_do_not() -> None:
    keys = [
        ["t", "a", "b__c"],
        ["t", "a__b", "c"],
        ["t", "a_", "b"],
        ["t", "a", "_b"],
        ["t", "a", "b"],
    ]
    names = {specs.op_name(dg.AssetKey(key)) for key in keys}
    assert len(names) == len(keys)
    assert "t__a__b" in names


def test_source_and_target_show_their_true_names_under_different_connections() -> None:
    table = synced('public."my.table"')
    assert specs.source_spec(table).metadata["dagster/table_name"] == 'source.public."my.table"'
    assert specs.target_spec(table).metadata["dagster/table_name"] == 'target.public."my.table"'


def test_the_target_depends_on_its_source_and_carries_what_the_operator_wrote() -> None:
    spec = specs.target_spec(synced())
    assert [dep.asset_key for dep in spec.deps] == [specs.source_key(synced())]
    assert (spec.group_name, list(spec.owners), spec.kinds) == (
        "shop",
        ["team:x"],
        {"sync_assets", "postgres"},
    )
    assert spec.tags["t"] == "1"
    assert "public.orders" in (spec.description or "")


def test_a_korean_schema_s_group_has_no_row_of_underscores() -> None:
    groups = [specs.source_spec(synced(f"{name}.t")).group_name for name in ("영업", "영업2", "_x")]
    assert re.fullmatch(r"source_[0-9a-f]{8}", groups[0] or "")
    assert re.fullmatch(r"source_2_[0-9a-f]{8}", groups[1] or "")
    assert groups[2] == "source__x"


def test_sources_stand_in_a_group_of_their_connection_and_schema() -> None:
    names = ["a.orders", "b.orders", "공개.orders"]
    groups = [specs.source_spec(synced(name)).group_name for name in names]
    assert groups[:2] == ["source_a", "source_b"]
    assert re.fullmatch("source_[0-9a-f]{8}", str(groups[2]))
    assert specs.source_spec(synced()).kinds == {"postgres"}


def test_a_pool_bounds_the_syncs_of_one_source() -> None:
    assert specs.pool(synced()) == "sync_source"


def test_what_is_selected_is_the_code_version_and_all_of_a_table_has_none() -> None:
    def version(**options: object) -> str | None:
        (table,) = TableSyncConfig.model_validate(
            {"tables": [{"source": "t", **options}]}
        ).synced_tables("g")
        return specs.target_spec(table).code_version

    assert version() is None
    versions = [version(**each) for each in ({"where": "a"}, {"where": "b"}, {"columns": ["id"]})]
    assert None not in versions
    assert len(set(versions)) == 3
    assert version(where="a", deletes="hard") == versions[0]
