"""Several processes load pieces of one table: the ledger hands them out."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from threading import Thread

import psycopg2
import pytest

from sync_assets.engine import Progress, Table
from sync_assets.engine.errors import SourceChanged
from sync_assets.engine.limits import Limits
from sync_assets.engine.names import RelationName
from sync_assets.engine.run.first_load import pieces
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

ROWS = 60_000
NAME = RelationName("public", "t")
TABLE = Table(NAME, NAME)
JOIN = """
import json, sys
from sync_assets.engine import DataCopyEngine, Table
from sync_assets.engine.names import RelationName
name = RelationName("public", "t")
print(json.dumps(DataCopyEngine(*sys.argv[1:], workers=1).join_first_load(Table(name, name))))
"""


LEFT = "SELECT first_page FROM sync_assets.load_piece WHERE loaded_at IS NULL"
HELD = (
    "SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE '%FOR UPDATE'"
    " AND application_name <> 'sync_assets'"
)


@pytest.fixture(autouse=True)
def _table(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "AGAIN", 0.05)
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        f"INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, {ROWS}) i",
    )


def test_two_processes_load_one_table(pair: Pair) -> None:
    joined: list[int] = []

    def join(progress: Progress) -> None:
        """Let the other process do what it can, once this one has loaded its first piece."""
        if progress.phase == "load" and progress.chunks_done and not joined:
            command = [sys.executable, "-c", JOIN, pair.source_url, pair.target_url]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            joined.append(json.loads(done.stdout))

    engine = pair.engine(limits=Limits(piece_mb=1), workers=1, on_progress=join)
    receipt = engine.sync(TABLE)
    assert joined[0] > 2
    assert (receipt.rows_exported, receipt.rows_in_target) == (ROWS, ROWS)
    assert pair.is_exact()
    assert pair.leftovers() == []


def test_a_run_waits_for_the_pieces_that_others_work_on(pair: Pair) -> None:
    others: list[Thread] = []

    def hold_the_last() -> None:
        """Another worker, which has one piece, and gives it back once no other is left."""
        with closing(psycopg2.connect(pair.target_url)) as session, session.cursor() as cursor:
            cursor.execute(f"{LEFT} ORDER BY first_page DESC LIMIT 1 FOR UPDATE")
            assert eventually(lambda: len(pair.target(LEFT)) == 1)

    def begin(progress: Progress) -> None:
        if progress.phase == "load" and progress.chunks_done and not others:
            others.append(Thread(target=hold_the_last))
            others[0].start()
            assert eventually(lambda: pair.target(HELD) != [])

    receipt = pair.engine(limits=Limits(piece_mb=1), workers=1, on_progress=begin).sync(TABLE)
    others[0].join()
    assert receipt.rows_in_target == ROWS
    assert pair.is_exact()


def test_there_is_nothing_to_join_where_no_load_has_begun(pair: Pair) -> None:
    assert pair.engine().join_first_load(TABLE) == 0


def test_who_would_read_by_another_configuration_does_not_join(pair: Pair) -> None:
    def join(progress: Progress) -> None:
        if progress.phase == "load" and progress.chunks_done and not refused:
            with pytest.raises(SourceChanged, match="the configuration of the table changed"):
                pair.engine().join_first_load(Table(NAME, NAME, where="id > 5"))
            refused.append(True)

    refused: list[bool] = []
    pair.engine(limits=Limits(piece_mb=1), workers=1, on_progress=join).sync(TABLE)
    assert refused
    assert pair.is_exact()
