"""A first load by pieces from a standby, whose replay ends what stands in its way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync_assets.engine import Progress, WorkerConfig
from sync_assets.engine.limits import Limits
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair, eventually, execute
from sync_assets_tests.fixtures.replicated import Replicated
from sync_assets_tests.fixtures.servers import SETTINGS, NewDatabase, running_server
from sync_assets_tests.fixtures.standby import running_standby

ROWS = 60_000
HASTY = {
    **SETTINGS,
    # Replay waits for nobody, and the primary keeps nothing for its sake.
    "max_standby_streaming_delay": "0",
    "hot_standby_feedback": "off",
    "log_statement": "all",
}
SLOW = (
    "CREATE FUNCTION slow(id integer, v text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS"
    " $$ BEGIN IF id = 12000 THEN PERFORM pg_sleep(3); END IF; RETURN v; END $$"
)
ASLEEP = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE 'COPY%'"
IN_THE_WAY = {
    "rows that a piece still sees": ["DELETE FROM t WHERE id % 2 = 0", "VACUUM t"],
    "a lock": ["BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; COMMIT"],
    "what ends its session": [],
}
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
"""As replay ends a session that is between two statements."""


@pytest.fixture(scope="module")
def hasty() -> Iterator[Replicated]:
    """A standby that lets nobody hold up its replay."""
    with running_server("18", HASTY) as primary, running_standby(primary, "18", HASTY) as standby:
        yield Replicated(primary, standby)


@pytest.mark.parametrize("statements", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_a_recovery_conflict_costs_a_piece_and_not_the_load(
    hasty: Replicated,
    server18: PostgresServer,
    new_database: NewDatabase,
    monkeypatch: pytest.MonkeyPatch,
    statements: list[str],
) -> None:
    source, target = new_database(hasty.primary), new_database(server18)
    execute(
        source,
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        f"INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, {ROWS}) i",
        SLOW,
    )
    execute(target, SLOW)
    assert hasty.caught_up()
    pair = Pair(hasty.standby.url(source.partition("?")[0].rpartition("/")[2]), target)
    done: list[bool] = []

    def get_in_the_way(progress: Progress) -> None:
        if progress.phase == "load" and progress.chunks_done and not done:
            done.append(eventually(lambda: pair.source(ASLEEP) == [(1,)], seconds=10))
            execute(source, *statements) if statements else pair.source(END)
            assert hasty.caught_up()

    engine = pair.engine(
        limits=Limits(piece_mb=1),
        workers=WorkerConfig(default_workers=3, min_workers=3, max_workers=3),
        on_progress=get_in_the_way,
    )
    receipt = engine.copy_table_data_with_xmin("t", "t", expressions={"v": "public.slow(id, v)"})
    assert done == [True]
    assert any("interrupted by the source and read again" in event for event in receipt.events)
    assert receipt.rows_exported <= ROWS
    assert receipt.workers == 3
    assert "SET TRANSACTION SNAPSHOT" not in hasty.standby.log.read_text()
    assert hasty.caught_up()
    assert pair.is_exact()
    assert pair.leftovers() == []
