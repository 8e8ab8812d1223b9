"""Tables that are large beside the source's cache: read through a ring of buffers, in one piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from sync_assets.engine import Receipt
from sync_assets.engine.export import batches
from sync_assets_tests.fixtures.pair import Pair, until_all_have_told
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

SCANS = "SELECT seq_scan, coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 't'"


@pytest.fixture(autouse=True)
def _small_files() -> Iterator[None]:
    """So small that a few rows fill one, and the next is begun within a COPY."""
    with mock.patch.object(batches, "MOST_BYTES", 1 << 18):
        yield


def scans(pair: Pair, work: Callable[[], Receipt]) -> tuple[int, Receipt]:
    """How often the source's table was scanned from one end to the other."""
    until_all_have_told(pair)
    before, looked_up = pair.source(SCANS)[0]
    receipt = work()
    after, looked_up_after = pair.source(SCANS)[0]
    # The newest rows of the last run are looked for by their keys, and nothing else.
    assert looked_up_after - looked_up <= 100
    return after - before, receipt


@pytest.mark.from_15
def test_every_pass_over_a_table_of_more_than_a_quarter_of_the_cache_is_a_sequential_scan(
    pair: Pair,
) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, kind integer, v text)",
        # 20 MB, and the fixture's servers have a cache of 64.
        "INSERT INTO t SELECT i, i % 100, repeat(E'a,\"\\n', 40) FROM generate_series(1, 100000) i",
        "CREATE INDEX ON t (kind)",
        "VACUUM ANALYZE t",
    )
    first = scans(pair, pair.sync)
    assert (first[0], first[1].rows_exported, first[1].chunks) == (1, 100_000, 1)
    assert pair.is_exact()
    pair.source("UPDATE t SET v = 'x' WHERE id <= 100", "DELETE FROM t WHERE id > 99900")
    assert scans(pair, pair.sync)[0] == 1
    # Keys come with the pages of what changed; where those are many, a second scan follows.
    for every, passes, updated, deleted in ((2000, 1, 50, 150), (10, 2, 9990, 9940)):
        pair.source(
            f"UPDATE t SET v = v || 'y' WHERE id % {every} = 7",
            f"DELETE FROM t WHERE id % {every} = 9",
        )
        found, receipt = scans(pair, lambda: pair.sync(deletes="hard", changed_blocks="off"))
        assert (receipt.rows_updated, receipt.rows_deleted, found) == (updated, deleted, passes)
    assert pair.is_exact()
    passes, receipt = scans(pair, lambda: pair.sync(full_refresh=True))
    assert (passes, receipt.rows_unchanged) == (1, 89_910)
    # An index that the filter could use would be read beside the ring.
    passes, _ = scans(
        pair, lambda: pair.sync(where="kind = 7", deletes="hard", confirm_deletes=100_000)
    )
    assert passes == 1
    assert pair.target("SELECT count(*) FROM t") == [(999,)]
    assert pair.verify(where="kind = 7").equal


@pytest.mark.parametrize("type_", ["text", "numeric"])
def test_each_file_of_one_copy_is_whole_by_itself(pair: Pair, type_: str) -> None:
    # Numbers travel as binary data, which has a beginning and an end.
    wide = f"(repeat('7', CASE WHEN i % 997 = 0 THEN 90000 ELSE i % 50 + 1 END))::{type_}"
    pair.source(
        f"CREATE TABLE t (id integer PRIMARY KEY, v {type_}, w {type_})",
        f"INSERT INTO t SELECT i, {wide}, CASE WHEN i % 3 > 0 THEN i END FROM generate_series(1, 5000) i",
    )
    batches.MOST_BYTES = 1 << 14
    receipt = pair.engine(max_batch_disk=1).copy_table_data_with_xmin("t", "t")
    assert receipt.rows_exported == 5000
    assert pair.is_exact()
    assert pair.leftovers() == []
