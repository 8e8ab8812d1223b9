"""A component's limits hold for the runs that Dagster starts."""

import dagster as dg
import pytest

from sync_assets.engine.run.first_load import by_pieces
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.ticks import Ticks


def test_the_tables_of_a_run_share_the_rate_of_their_component(
    pair: Pair, instance: dg.DagsterInstance
) -> None:
    for name in ("t", "u"):
        pair.source(
            f"CREATE TABLE {name} (id integer PRIMARY KEY, v text)",
            f"INSERT INTO {name} SELECT i, repeat('v', 1000) FROM generate_series(1, 1000) i",
        )
    tables = {"tables": [{"source": "t"}, {"source": "u"}], "limits": {"max_mb_per_second": 2}}
    ticks = Ticks(instance, pair.source_url, pair.target_url, tables)
    result = ticks.run(dg.RunRequest(asset_selection=ticks.targets))
    assert result.success
    found = pair.target(
        "SELECT sum((receipt->>'bytes')::bigint)::bigint, "
        "max((receipt->'seconds'->>'total')::float8) FROM sync_assets.receipt"
    )
    ((read, seconds),) = found
    assert read > 2_000_000
    assert seconds >= 0.9 * read / 2_000_000


def test_a_first_load_that_was_ended_is_seen_as_loading_and_gone_on_with(
    pair: Pair, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_pieces, "LEAST", 2)
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, repeat('v', 100) FROM generate_series(1, 60000) i",
    )
    tables = {
        "tables": [{"source": "t", "expressions": {"v": "(100 / (id - 50000))::text || v"}}],
        "limits": {"piece_mb": 1},
        "workers": {"default_workers": 1, "min_workers": 1},
    }
    ticks = Ticks(instance, pair.source_url, pair.target_url, tables)
    (key,) = ticks.targets
    assert not ticks.run(dg.RunRequest(asset_selection=[key])).success
    (seen,) = instance.fetch_observations(key, limit=1).records
    said = seen.asset_observation.description if seen.asset_observation else None
    assert said is not None
    assert said.endswith("%: the next run that reads every row goes on")
    pair.source("DELETE FROM t WHERE id = 50000")
    assert ticks.run(dg.RunRequest(asset_selection=[key])).success
    ((events,),) = pair.target("SELECT receipt->'events' FROM sync_assets.receipt")
    assert "loaded by earlier runs" in events[0]
