"""The lock on a target: it goes with the machine that held it."""

from __future__ import annotations

from sync_assets.engine.inspection.holders import locked_among
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.lock import locked
from sync_assets.engine.postgres.session import row
from sync_assets_tests.fixtures.pair import execute
from sync_assets_tests.fixtures.servers import running_server

SHOWN = "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"
ORDERS, ITEMS = RelationName("public", "orders"), RelationName("public", "items")


def test_the_server_notices_within_a_minute_that_the_holder_s_machine_is_gone() -> None:
    with running_server("18", tcp=True) as server:
        execute(server.url(), "ALTER ROLE postgres SET tcp_keepalives_interval = 5")
        sessions = Sessions(server.tcp_url(), server.tcp_url())
        with (
            sessions.connected("target") as target,
            locked(target, [ORDERS]),
            target.cursor() as cursor,
        ):
            values = [row(cursor, f"SHOW {name}")[0] for name in SHOWN]
        assert values == ["30", "5", "3"], "and the role's own are kept where they are lower"


def test_whether_a_target_is_worked_on_can_be_asked(target_url: str) -> None:
    sessions = Sessions(target_url, target_url)
    with sessions.connected("target") as target, locked(target, [ORDERS]):
        assert locked_among(target_url, [ORDERS, ITEMS]) == {ORDERS}
    assert locked_among(target_url, [ORDERS, ITEMS]) == set()
