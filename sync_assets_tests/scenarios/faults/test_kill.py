"""Killed at any step, the next run finishes the work and nothing is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from sync_assets.engine import Phase
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

RUN = """
import os, signal, sys
from sync_assets.engine import DataCopyEngine

source, target, folder, phase, how, *rows = sys.argv[1:]
options = {"rows": rows[0]} if rows else {}

def stop(progress, done=[]):
    if progress.phase == phase and not done:
        done.append(os.kill(os.getpid(), getattr(signal, how)))

engine = DataCopyEngine(source, target, batch_dir=folder, on_progress=stop)
engine.copy_table_data_with_xmin("t", "t", **options)
"""

CREATE = (
    "CREATE TABLE t (id integer PRIMARY KEY, v text)",
    "INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 20000) i",
)
CHANGE = (
    "UPDATE t SET v = 'changed' WHERE id % 7 = 0",
    "INSERT INTO t SELECT i, 'new' FROM generate_series(20001, 21000) i",
)


def run_until(pair: Pair, folder: Path, phase: str, how: str, *rows: str) -> int:
    """Sync in a process of its own that signals itself when it reaches a phase."""
    ends = (pair.source_url, pair.target_url)
    command = [sys.executable, "-c", RUN, *ends, str(folder), phase, how, *rows]
    return subprocess.run(command, check=False, capture_output=True).returncode


STEPS = [
    phase
    for phase in get_args(Phase)
    if phase not in {"wait", "carry", "compare", "list", "repair"}
]


@pytest.mark.parametrize("phase", STEPS)
@pytest.mark.parametrize("synced_before", [False, True], ids=["first-load", "incremental"])
def test_sigkill_at_any_step(pair: Pair, tmp_path: Path, phase: str, synced_before: bool) -> None:
    pair.source(*CREATE)
    if synced_before:
        pair.sync()
        pair.source(*CHANGE)
    before = pair.target("SELECT to_regclass('t') IS NOT NULL")
    assert run_until(pair, tmp_path, phase, "SIGKILL") == -signal.SIGKILL
    if phase != "clean up":
        assert pair.target("SELECT to_regclass('t') IS NOT NULL") == before
        assert not synced_before or not pair.is_exact()
    assert eventually(lambda: not [text for text in pair.leftovers() if "staging" not in text])
    receipt = pair.engine(batch_dir=tmp_path).copy_table_data_with_xmin("t", "t")
    assert pair.is_exact()
    if synced_before and phase != "clean up":
        assert (receipt.rows_updated, receipt.rows_inserted) == (2857, 1000)
    assert pair.leftovers() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("phase", ["export", "load", "merge"])
def test_an_interrupt_leaves_nothing_behind_at_once(pair: Pair, tmp_path: Path, phase: str) -> None:
    pair.source(*CREATE)
    assert run_until(pair, tmp_path, phase, "SIGINT") != 0
    assert list(tmp_path.iterdir()) == []
    assert eventually(lambda: pair.leftovers() == [])
    # The interrupt may come too late to stop the commit; then all of it is there.
    assert pair.target("SELECT to_regclass('t') IS NULL") == [(True,)] or pair.is_exact()


def test_rows_and_mark_commit_together_or_not_at_all(pair: Pair, tmp_path: Path) -> None:
    pair.source(*CREATE)
    pair.sync()
    state = pair.target("SELECT version, watermark FROM sync_assets.state")
    pair.source(*CHANGE)
    # MERGE has run, the state has not been written; then both have, and COMMIT has not.
    for phase in ("state", "commit"):
        run_until(pair, tmp_path, phase, "SIGKILL")
        assert pair.target("SELECT version, watermark FROM sync_assets.state") == state
        assert pair.target("SELECT count(*) FROM t WHERE v = 'changed'") == [(0,)]
        assert pair.target("SELECT count(*) FROM sync_assets.receipt") == [(1,)]
    assert pair.sync().rows_updated == 2857
    assert pair.is_exact()


@pytest.mark.parametrize("phase", ["export", "load", "merge", "state", "commit"])
def test_a_part_that_was_killed_is_as_it_was_and_so_is_the_next_run(
    pair: Pair, tmp_path: Path, phase: str
) -> None:
    pair.source(*CREATE)
    pair.sync()
    pair.source(*CHANGE)
    pair.target("UPDATE t SET v = 'by hand' WHERE id = 20000")
    left = "SELECT count(*), count(*) FILTER (WHERE v = 'changed') FROM t"
    before = (pair.target("TABLE sync_assets.state"), pair.target(left))
    rows = "id > 19990"
    assert run_until(pair, tmp_path, phase, "SIGKILL", rows) == -signal.SIGKILL
    assert (pair.target("TABLE sync_assets.state"), pair.target(left)) == before
    receipt = pair.engine(batch_dir=tmp_path).copy_table_data_with_xmin("t", "t", rows=rows)
    assert (receipt.rows_inserted, receipt.rows_updated) == (1000, 3)
    assert pair.target("SELECT v FROM t WHERE id = 20000") == pair.source(
        "SELECT v FROM t WHERE id = 20000"
    )
    receipt = pair.sync()
    assert (receipt.rows_updated, receipt.rows_unchanged) == (2855, 1002)
    assert pair.is_exact()
    assert pair.leftovers() == []
