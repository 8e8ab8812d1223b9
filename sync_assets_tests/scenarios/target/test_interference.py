"""Others at work on either end while a run goes on, and limits that somebody has set there."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

from sync_assets.engine import DataCopyEngine, SyncError, TransientError
from sync_assets.engine.errors import (
    ConnectionLost,
    PrivilegeError,
    SchemaConflict,
    ServerCancelled,
    SourceChanged,
)
from sync_assets.engine.postgres.access.connect import connect
from sync_assets.engine.postgres.driver_errors import Greeting, Side, classify
from sync_assets.engine.postgres.session import row, transaction
from sync_assets.engine.progress import Progress
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.proxy import Proxy
from sync_assets_tests.fixtures.servers import NewDatabase, both_ways, every_version

CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v text)"
FILL = "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 2000) i"
COPIED = "CREATE TABLE u (LIKE t INCLUDING ALL); INSERT INTO u SELECT * FROM t"
CHANGE = "UPDATE t SET v = 'changed' WHERE id % 3 = 0"


def once(step: str, act: Callable[[], object]) -> Callable[[Progress], None]:
    """Act when a run first begins a step."""
    done: list[object] = []

    def hear(progress: Progress) -> None:
        if progress.phase == step and not done:
            done.append(step)
            act()

    return hear


@pytest.fixture
def synced(pair: Pair) -> Pair:
    """A table that was synced, and has changed since."""
    pair.source(CREATE, FILL)
    pair.sync()
    pair.source(CHANGE)
    return pair


@both_ways
def test_the_same_run_finds_its_receipt_after_the_reply_to_its_commit_was_lost(
    synced: Pair, target_server: PostgresServer
) -> None:
    with Proxy(target_server.sockets / ".s.PGSQL.5432") as proxy:
        engine = DataCopyEngine(
            synced.source_url,
            proxy.url(synced.target_url),
            run_id="a run",
            on_progress=once("commit", lambda: proxy.lose("replies", 0.5)),
        )
        with pytest.raises(ConnectionLost):
            engine.copy_table_data_with_xmin("t", "t")
        assert synced.is_exact()
        again = engine.copy_table_data_with_xmin("t", "t")
    assert (again.run_id, again.rows_updated) == ("a run", 666)
    assert synced.target("SELECT count(*) FROM sync_assets.receipt") == [(2,)]


@both_ways
@pytest.mark.parametrize("step", ["lock", "export"])
@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE t ADD COLUMN w integer DEFAULT 5",
        "ALTER TABLE t RENAME COLUMN v TO w",
        "ALTER TABLE t ALTER v TYPE varchar(30)",
        f"{COPIED}; DROP TABLE t; ALTER TABLE u RENAME TO t",
    ],
    ids=["add", "rename", "type", "swap"],
)
def test_ddl_on_the_source_during_a_run(synced: Pair, step: str, change: str) -> None:
    ddl = threading.Thread(target=synced.source, args=(change,))

    def begin() -> None:
        # It may have to wait for the run, which must then not wait for it.
        ddl.start()
        ddl.join(0.3)

    engine = synced.engine(on_progress=once(step, begin))
    try:
        assert engine.copy_table_data_with_xmin("t", "t").rows_updated >= 666
    except SyncError as error:
        assert isinstance(error, SourceChanged | TransientError)  # noqa: PT017 - one of two ends
    ddl.join()
    synced.sync()
    assert synced.target("SELECT count(*) FROM t") == [(2000,)]
    assert synced.is_exact()
    assert synced.leftovers() == []


@both_ways
def test_a_writer_on_the_target_is_waited_for_and_overwritten(synced: Pair) -> None:
    meddling = "BEGIN; UPDATE t SET v = 'mine' WHERE id <= 10; SELECT pg_sleep(0.5); COMMIT"
    writer = threading.Thread(target=synced.target, args=(meddling,))
    engine = synced.engine(on_progress=once("load", writer.start))
    engine.copy_table_data("t", "t", "full_sync")
    writer.join()
    # Whichever came second: the next run by the same mode sees both.
    synced.engine().copy_table_data("t", "t", "full_sync")
    assert synced.is_exact()


@both_ways
def test_a_time_out_of_the_role_ends_a_run_too_and_the_mend_that_is_named_lifts_it(
    synced: Pair,
) -> None:
    synced.source(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = 500',"
        " current_database()); END $$"
    )
    engine, slow = synced.engine(workers=1), "pg_sleep(0.0006) IS NOT NULL"
    with pytest.raises(ServerCancelled, match="statement_timeout = 500ms") as caught:
        engine.copy_table_data("t", "t", "full_sync", where=slow)
    synced.source(caught.value.remedy[caught.value.remedy.index("ALTER ROLE") :])
    receipt = engine.copy_table_data("t", "t", "full_sync", where=slow)
    assert receipt.rows_exported == 2000
    assert receipt.seconds["export"] > 1
    assert synced.is_exact()


@every_version
@pytest.mark.from_15  # no target is older
@pytest.mark.parametrize("side", ["source", "target"])
def test_no_time_out_of_the_role_is_lifted_and_ours_hold_where_it_has_none(
    server: PostgresServer, new_database: NewDatabase, side: Side
) -> None:
    limits = "lock_timeout=3s idle_in_transaction_session_timeout=1h statement_timeout=9s"
    set_for_role = " ".join(f"-c {each}" for each in f"{limits} idle_session_timeout=8s".split())
    url = new_database(server)
    for given, expected in (
        ({}, ("10s", "1min", "0", "0")),
        ({"options": set_for_role}, ("3s", "1min", "9s", "8s")),
    ):
        session, _ = connect(make_dsn(url, **given), side)
        names = (
            "lock_timeout",
            "idle_in_transaction_session_timeout",
            "statement_timeout",
            "idle_session_timeout",
        )
        with closing(session), transaction(session) as cursor:
            assert tuple(row(cursor, f"SHOW {name}")[0] for name in names) == expected


@both_ways
def test_a_right_revoked_during_a_run_is_named_and_nothing_is_lost(synced: Pair) -> None:
    role = "sync_revoked"
    synced.source(
        f"DROP ROLE IF EXISTS {role}", f"CREATE ROLE {role} LOGIN", f"GRANT SELECT ON t TO {role}"
    )
    reader = Pair(synced.source_url.replace("postgres@", f"{role}@"), synced.target_url)
    revoke = once("chunk", lambda: synced.source(f"REVOKE SELECT ON t FROM {role}"))
    before = synced.target("SELECT * FROM t ORDER BY id")
    with pytest.raises(PrivilegeError, match=r"public\.t .*permission denied for table t"):
        reader.engine(on_progress=revoke).copy_table_data_with_xmin("t", "t")
    assert synced.target("SELECT * FROM t ORDER BY id") == before
    synced.source(f"GRANT SELECT ON t TO {role}")
    reader.sync()
    assert synced.is_exact()
    synced.source(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@both_ways
def test_batch_files_are_their_owner_s_alone(synced: Pair, tmp_path: Path) -> None:
    seen: list[tuple[bool, int]] = []

    def look() -> None:
        seen.extend(
            (path.is_dir(), path.stat().st_mode & 0o777) for path in tmp_path.rglob("*") if path
        )

    synced.engine(batch_dir=tmp_path, on_progress=once("load", look)).copy_table_data("t", "t")
    assert set(seen) == {(True, 0o700), (False, 0o600)}


@both_ways
def test_a_malicious_value_is_data_and_reaches_no_message(pair: Pair) -> None:
    bad = [
        "=HYPERLINK(1)",
        "\x1b[31mEVIL",
        "EVIL\r\n\\.\r\n",
        '"; DROP TABLE t; --EVIL',
        "{{EVIL}} %s ${EVIL}",
    ]
    pair.source(CREATE)
    values = ", ".join(f"({i}, E'{_escaped(text)}')" for i, text in enumerate(bad))
    pair.source(f"INSERT INTO t VALUES {values}")
    pair.sync()
    assert [text for (text,) in pair.target("SELECT v FROM t ORDER BY id")] == bad
    pair.target("ALTER TABLE t ADD CONSTRAINT tame CHECK (length(v) < 25)")
    pair.source("UPDATE t SET v = v || v || v")
    with pytest.raises(SchemaConflict, match='constraint "tame"') as caught:
        pair.sync()
    said = io.StringIO()
    print(caught.value, repr(caught.value), caught.value.__context__, file=said)
    assert "EVIL" not in said.getvalue()


def _escaped(text: str) -> str:
    return "".join(f"\\x{ord(each):02x}" for each in text)


@both_ways
def test_a_connection_that_breaks_off_within_a_copy_is_lost_and_not_refused(
    source_url: str, source_server: PostgresServer
) -> None:
    with Proxy(source_server.sockets / ".s.PGSQL.5432") as proxy:
        session = psycopg2.connect(proxy.url(source_url))
        rows = "SELECT repeat('x', 1000) FROM generate_series(1, 50000)"
        proxy.after(1_000_000, proxy.cut)
        with session.cursor() as cursor, pytest.raises(psycopg2.Error) as caught:
            cursor.copy_expert(f"COPY ({rows}) TO STDOUT", io.StringIO())
        session.close()
    assert caught.value.pgcode is None
    lost = classify(caught.value, Greeting("source", 0, "r", "d", "UTF8", {}))
    assert isinstance(lost, ConnectionLost)
    assert lost.message == "the connection to the source broke off"
