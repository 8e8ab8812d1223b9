"""A comparison takes no more memory for a larger table, equal or not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sync_assets_tests.fixtures.pair import Pair

MEASURE = """
import re, sys
from pathlib import Path
from sync_assets.engine import DataCopyEngine, RelationName, Table

name = RelationName("public", sys.argv[3])
seen = DataCopyEngine(sys.argv[1], sys.argv[2], workers=2).verify(Table(name, name), sync=False)
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print(seen.rows_source, seen.rows_differing, peak)
"""
SMALL, LARGE = 5_000, 150_000
ALLOWED = 8 * 1024
"""kB; the keys and hashes of the larger table alone would be more than 20 MB."""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_is_the_same_for_a_table_thirty_times_as_large(pair: Pair) -> None:
    for rows in (SMALL, LARGE):
        create = (
            f"CREATE TABLE t{rows} (id bigint PRIMARY KEY, v text)",
            f"INSERT INTO t{rows} SELECT i, md5(i::text) FROM generate_series(1, {rows}) AS i",
            f"ANALYZE t{rows}",
        )
        pair.source(*create)
        pair.target(*create)
    equal = [_peak(pair, rows, differing=0) for rows in (SMALL, LARGE)]
    for rows in (SMALL, LARGE):
        pair.target(f"UPDATE t{rows} SET v = v || 'x'")
    different = [_peak(pair, rows, differing=rows) for rows in (SMALL, LARGE)]
    assert equal[1] - equal[0] < ALLOWED
    assert different[1] - different[0] < ALLOWED


def _peak(pair: Pair, rows: int, *, differing: int) -> int:
    """The peak memory, in kB, of a process that compares one table."""
    words = [sys.executable, "-c", MEASURE, pair.source_url, pair.target_url, f"t{rows}"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    counted, differed, peak = map(int, done.stdout.split())
    assert (counted, differed) == (rows, differing)
    return peak
