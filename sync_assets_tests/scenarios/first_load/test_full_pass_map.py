"""What a full pass by pieces leaves of the map from pages to keys."""

from __future__ import annotations

from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import NewDatabase
from sync_assets_tests.scenarios.first_load.test_full_pass import made
from sync_assets_tests.scenarios.first_load.test_pieces import load as run

MAPS = "SELECT count(*) FROM pg_class WHERE relname LIKE 'keys_by_page%' AND relkind = 'r'"


def test_a_map_that_is_not_kept_up_is_dropped(
    summarizing: PostgresServer,
    server18: PostgresServer,
    new_database: NewDatabase,
) -> None:
    pair = Pair(new_database(summarizing), new_database(server18))
    pair.source("CREATE EXTENSION pg_walinspect")
    made(pair)
    run(pair, full_refresh=True, deletes="hard")
    pair.source("UPDATE t SET v = 'new' WHERE id < 5")
    run(pair, deletes="hard", changed_blocks="require", blocks_wait=20.0)
    assert pair.target(MAPS) == [(1,)]
    assert "pieces" in run(pair, full_refresh=True, deletes="hard").reason
    assert pair.target(MAPS) == [(0,)]
    assert pair.is_exact()
