"""The pools of an instance, held against what a source allows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from sync_assets.config.model import TableSyncConfig
from sync_assets.engine.check.finding import Finding
from sync_assets.launch.instance import opened_instance
from sync_assets.launch.pools import PoolUse, pool_uses, runs_at_once


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    pools = {"granularity": "op", "default_limit": 4}
    with dg.instance_for_test(overrides={"concurrency": {"pools": pools}}) as instance:
        yield instance


def config(source: str = "source", workers: int = 8, allowed: int | None = None) -> TableSyncConfig:
    return TableSyncConfig.model_validate(
        {
            "tables": [{"source": "a"}],
            "source_connection": source,
            "max_source_connections": allowed,
            "workers": {"max_workers": workers},
        }
    )


def finding(instance: dg.DagsterInstance, *configs: TableSyncConfig) -> Finding | None:
    [use] = pool_uses(instance, configs)
    return use.finding


def test_limit_times_connections_of_a_sync_is_what_may_be_opened(
    instance: dg.DagsterInstance,
) -> None:
    assert finding(instance, config(allowed=40)) is None
    told = finding(instance, config(allowed=39))
    assert told is not None
    assert "4 times 10 connections" in told.what
    assert "dagster instance concurrency set sync_source 3" in told.mend


def test_what_it_says_to_do_helps(instance: dg.DagsterInstance) -> None:
    instance.event_log_storage.set_concurrency_slots("sync_source", 3)
    assert finding(instance, config(allowed=39)) is None


def test_a_source_that_is_too_small_for_one_sync_needs_fewer_workers(
    instance: dg.DagsterInstance,
) -> None:
    told = finding(instance, config(allowed=9))
    assert told is not None
    assert "lower max_workers" in told.mend


def test_components_that_share_a_source_share_its_pool(instance: dg.DagsterInstance) -> None:
    uses = list(
        pool_uses(
            instance,
            [config(workers=2, allowed=50), config(allowed=45), config("erp", workers=1)],
        )
    )
    assert uses == [PoolUse("sync_erp", 4, 3, None), PoolUse("sync_source", 4, 10, 45)]


def test_a_pool_without_a_limit_allows_too_much() -> None:
    with dg.instance_for_test() as unlimited:
        told = finding(unlimited, config(allowed=1000))
    assert told is not None
    assert "any number of connections" in told.what
    assert "set sync_source 100" in told.mend


def test_a_table_s_own_pool_comes_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("concurrency: {pools: {default_limit: 4}}\n")
    with opened_instance() as opened:
        opened.event_log_storage.set_concurrency_slots("sync_erp", 2)
    tables = [config(name).synced_tables("group")[0] for name in ("erp", "source")]
    assert [runs_at_once(table) for table in tables] == [2, 4]
