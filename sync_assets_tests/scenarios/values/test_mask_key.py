"""The key of masks: where it shows, which is in one statement on the source, and where it must not."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_assets.assets.specs import target_key
from sync_assets.cli.errors import hide_passwords
from sync_assets.component import TableSync
from sync_assets.engine.computed.masks import KEY_VARIABLE, Mask, MaskKey
from sync_assets.engine.errors import SyncError
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.snapshot import snapshot
from sync_assets.engine.table import Table
from sync_assets.private_server.server import PostgresServer
from sync_assets.resources import PostgresResource
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.servers import Connect, both_ways

KEY = "correct_horse_battery_staple"
CREATE = (
    "CREATE TABLE t (id int PRIMARY KEY, v text)",
    "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 50) i",
)
MASKED: dict[str, Any] = {"mask": {"id": "hmac", "v": "hmac"}, "deletes": "hard"}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


def shows(text: str) -> bool:
    """Whether a text has the key, or the pads from which it could be had."""
    pads = re.findall(r"x([0-9a-f]{128})", MaskKey(KEY).handing_over)
    assert len(pads) == 2
    return any(secret in text for secret in (KEY, KEY.encode().hex(), *pads))


def since(server: PostgresServer, offset: int) -> list[str]:
    """What a server has logged, each entry as one text."""
    text = server.log.read_bytes()[offset:].decode(errors="replace")
    return re.split(r"\n(?=\d{4}-)", text)


@both_ways
def test_no_statement_of_a_run_has_the_key_but_the_one_that_hands_it_over(
    pair: Pair, source_server: PostgresServer, target_server: PostgresServer
) -> None:
    pair.source(*CREATE)
    for url, execute in ((pair.source_url, pair.source), (pair.target_url, pair.target)):
        database = url.rpartition("/")[2].partition("?")[0]
        execute(f"ALTER DATABASE {database} SET log_min_duration_statement = 0")
    before = [server.log.stat().st_size for server in (source_server, target_server)]
    pair.sync(**MASKED)
    pair.source("DELETE FROM t WHERE id = 7", "UPDATE t SET v = 'new' WHERE id = 8")
    pair.sync(**MASKED)
    of_source, of_target = map(since, (source_server, target_server), before)
    assert any("COPY (SELECT" in entry and "sha256" in entry for entry in of_source)
    showing = [entry for entry in of_source if shows(entry)]
    assert showing
    assert [
        entry for entry in showing if not re.search(r"statement: SELECT pg_catalog.set_", entry)
    ] == []
    assert [entry for entry in showing if ";" in entry] == []
    assert [entry for entry in of_target if shows(entry)] == []


@both_ways
def test_what_fails_is_logged_and_told_without_the_key(
    pair: Pair, source_server: PostgresServer
) -> None:
    pair.source(*CREATE)
    before = source_server.log.stat().st_size
    with pytest.raises(SyncError) as raised:
        pair.sync(**MASKED, expressions={"w": "1 / (id - 2)"})
    logged = since(source_server, before)
    assert any("STATEMENT:  COPY" in entry for entry in logged)
    assert [entry for entry in logged if shows(entry)] == []
    assert not shows(f"{raised.value!r} {raised.value} {raised.value.remedy}")


def test_a_session_that_reads_masked_rows_shows_no_key(pair: Pair, connect: Connect) -> None:
    pair.source(*CREATE)
    gate = connect(pair.source_url)
    activity = "SELECT query FROM pg_stat_activity WHERE application_name = 'sync_assets'"
    waiting = f"{activity} AND wait_event = 'advisory'"
    with gate.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(7)")
        options = {**MASKED, "where": "pg_advisory_lock_shared(7) IS NOT NULL"}
        work = threading.Thread(
            target=pair.engine(workers=1).copy_table_data, args=("t", "t"), kwargs=options
        )
        work.start()
        assert eventually(lambda: bool(pair.source(waiting)))
        ((reading,),) = pair.source(waiting)
        shown = [query for (query,) in pair.source(activity)]
        cursor.execute("SELECT pg_advisory_unlock(7)")
        work.join()
    assert reading.startswith("COPY")
    assert "sha256" in reading
    assert [query for query in shown if shows(query)] == []
    assert pair.target("SELECT count(*) FROM t") == [(50,)]


def test_a_session_that_waits_in_its_snapshot_shows_no_key(pair: Pair) -> None:
    pair.source(*CREATE)
    name = RelationName("public", "t")
    masked = Table(name, name, mask=(("v", Mask("hmac")),))
    sessions = Sessions(pair.source_url, pair.target_url)
    with sessions.connected("source") as source, snapshot.taken(source, [masked]):
        pid = source.info.backend_pid
        ((query,),) = pair.source(f"SELECT query FROM pg_stat_activity WHERE pid = {pid}")
    assert query
    assert not shows(query)


def test_dagster_keeps_nothing_of_it(pair: Pair, tmp_path: Path) -> None:
    pair.source(*CREATE)
    entry = {"source": "t", "mask": MASKED["mask"], "deletes": "hard"}
    component = TableSync.from_attributes_dict(attributes={"tables": [entry]})
    resources = {
        "source": PostgresResource(url=pair.source_url),
        "target": PostgresResource(url=pair.target_url),
    }
    definitions = dg.Definitions.merge(
        dg.build_defs_for_component(component), dg.Definitions(resources=resources)
    )
    (synced,) = component.tables
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=instance, asset_selection=[target_key(synced)], raise_on_error=True
        )
        assert result.success
        kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
        assert any(b"source_xmin" in each for each in kept)
        assert [each for each in kept if shows(each.decode(errors="replace"))] == []
    assert not shows(repr(synced))


def test_the_command_line_hides_the_key_wherever_it_stands() -> None:
    assert not shows(hide_passwords(f"no such key: {KEY}"))
