"""Pieces of a table that is large beside the source's cache: one scan that goes on from piece to piece."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from threading import Event
from typing import Any

import psycopg2
import pytest

from sync_assets.engine import Progress, Receipt
from sync_assets.engine.export import copy_piece
from sync_assets.engine.limits import Limits
from sync_assets.engine.plan.plan import Chunk
from sync_assets_tests.fixtures.pair import Pair, until_all_have_told
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

# 19 MB, and the fixture's servers have a cache of 64, of which a quarter makes a table large.
ROWS = 74_000
CREATE = (
    "CREATE TABLE t (id integer PRIMARY KEY, v text)",
    f"INSERT INTO t SELECT i, repeat(E'a,\"\\n', 50) || i FROM generate_series(1, {ROWS}) i",
    "VACUUM ANALYZE t",
)
READ = """
SELECT s.seq_scan, io.heap_blks_read + io.heap_blks_hit, pg_relation_size('t') / 8192
FROM pg_stat_user_tables AS s JOIN pg_statio_user_tables AS io USING (relid) WHERE s.relname = 't'
"""


class Interrupted(Exception):
    """What ends a run."""


def load(
    pair: Pair, workers: int = 4, after_piece: Callable[[], object] = lambda: None, **options: Any
) -> Receipt:
    def told(progress: Progress) -> None:
        if progress.phase == "load" and progress.chunks_done:
            after_piece()

    # One reader never comes out of turn, as of several one may on a machine that does other things.
    engine = pair.engine(limits=Limits(piece_mb=2), on_progress=told, workers=workers)
    return engine.copy_table_data_with_xmin("t", "t", deletes="hard", **options)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_piece, "SMALLEST", 64)


@pytest.fixture
def gone_astray(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each scan has not come from one end of its piece to the other."""
    found: list[bool] = []
    missed = copy_piece.missed

    def told(*given: Any) -> tuple[Chunk, ...] | None:
        rest = missed(*given)
        found.append(rest is None)
        return rest

    monkeypatch.setattr(copy_piece, "missed", told)
    return found


def read_in(pair: Pair, work: Callable[[], Receipt]) -> tuple[int, float, Receipt]:
    """How many scans of the source's table there were, and how often each of its pages was read."""
    until_all_have_told(pair)
    scans, blocks, _ = pair.source(READ)[0]
    receipt = work()
    until_all_have_told(pair)
    scans_after, blocks_after, pages = pair.source(READ)[0]
    return scans_after - scans, (blocks_after - blocks) / pages, receipt


# The last piece may be too small for one, and where another reader was faster one is left behind.
@pytest.mark.parametrize(("workers", "least"), [(1, 9), (4, copy_piece.TRIES + 1)])
def test_each_piece_is_a_scan_that_begins_where_the_one_before_ended(
    pair: Pair, gone_astray: list[bool], workers: int, least: int
) -> None:
    pair.source(*CREATE)
    scans, share, receipt = read_in(pair, lambda: load(pair, workers))
    assert (receipt.rows_exported, receipt.chunks) == (ROWS, 10)
    assert scans == len(gone_astray) >= least
    assert not any(gone_astray)
    # A scan stops somewhat early, and from 17 on it reads ahead: the rest is read by its pages.
    assert 1 <= share < 1.5
    assert pair.is_exact()


def test_what_is_filtered_and_computed_is_so_for_the_rows_of_a_piece_alone(pair: Pair) -> None:
    pair.source(*CREATE)
    # The rows that the filter keeps out could not be computed.
    options: dict[str, Any] = {
        "where": "id > 10",
        "expressions": {"v": "(id / (id > 10)::integer)::text"},
    }
    scans, share, receipt = read_in(pair, lambda: load(pair, 1, **options))
    assert receipt.rows_exported == ROWS - 10
    assert scans >= 9
    assert share < 1.5
    assert pair.target("SELECT count(*), sum(v::bigint) FROM t") == pair.source(
        "SELECT count(*), sum(id) FROM t WHERE id > 10"
    )


@pytest.mark.parametrize("seed", range(2))
def test_no_row_is_lost_where_somebody_else_scans_the_table_too(pair: Pair, seed: int) -> None:
    dice = random.Random(seed)
    gone = sorted(dice.sample(range(ROWS), 4))
    pair.source(
        *CREATE,
        f"DELETE FROM t WHERE id BETWEEN {gone[0]} AND {gone[1]} OR id BETWEEN {gone[2]} AND {gone[3]}",
    )
    with closing(psycopg2.connect(pair.source_url)) as other, other.cursor() as cursor:
        other.autocommit = True
        cursor.execute("SET max_parallel_workers_per_gather = 0")

        def scan() -> None:
            """Leave off somewhere, for the next scan to begin there; and change a few rows."""
            cursor.execute(
                f"SELECT count(*) FROM (SELECT FROM t LIMIT {dice.randrange(ROWS)}) AS read"
            )
            cursor.execute(f"UPDATE t SET v = 'changed' WHERE id % 1000 = {dice.randrange(1000)}")

        receipt = load(pair, after_piece=scan)
    assert receipt.chunks >= 10
    assert pair.is_exact()


@pytest.mark.parametrize("rows", [1000, 40_000])
def test_a_scan_of_somebody_else_costs_a_piece_the_ring_and_no_more(
    pair: Pair, gone_astray: list[bool], rows: int
) -> None:
    pair.source(*CREATE)
    begun = Event()

    def scan() -> None:
        if not begun.is_set():
            begun.set()
            pair.source(
                "SET max_parallel_workers_per_gather = 0",
                f"SELECT count(*) FROM (SELECT FROM t LIMIT {rows}) AS read",
            )

    load(pair, 1, after_piece=scan)
    # That of the moment, and the one that was prepared.
    assert len(gone_astray) - sum(gone_astray) >= 5, gone_astray
    assert pair.is_exact()


def test_who_waits_for_his_turn_is_not_idle_for_the_server(pair: Pair) -> None:
    """Each piece takes longer than a session of this source may be idle in a transaction."""
    database = pair.source("SELECT current_database()")[0][0]
    pair.source(
        *CREATE, f"ALTER DATABASE {database} SET idle_in_transaction_session_timeout = '1.5s'"
    )

    def told(progress: Progress) -> None:
        if progress.phase == "load" and progress.chunks_done == 2:
            raise Interrupted

    limits = Limits(piece_mb=2, max_mb_per_second=0.9)
    with pytest.raises(Interrupted):
        pair.engine(limits=limits, on_progress=told).copy_table_data_with_xmin("t", "t")


def test_scans_that_go_astray_time_and_again_are_given_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Chunk] = []

    def astray(chunk: Chunk, *_: str) -> None:
        asked.append(chunk)

    monkeypatch.setattr(copy_piece, "missed", astray)
    pair.source(*CREATE)
    receipt = load(pair)
    assert (receipt.rows_exported, len(asked)) == (ROWS, 3)
    assert pair.is_exact()


@pytest.mark.parametrize("kept", ["id < 5000", "id = 40000"])
def test_most_pages_may_be_empty(pair: Pair, kept: str) -> None:
    # The last row stays, or VACUUM would give the pages after it back.
    pair.source(*CREATE, f"DELETE FROM t WHERE NOT (({kept}) OR id = {ROWS})", "VACUUM t")
    assert load(pair).chunks >= 10
    assert pair.is_exact()
