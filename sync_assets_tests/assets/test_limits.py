"""A component's limits hold for the runs that Dagster starts."""

import dagster as dg

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
