"""A client that is stopped in the middle of its work, as a paused container is, holds nobody up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.servers import both_ways, running_server
from sync_assets_tests.fixtures.ways import SOURCES

RUN = """
import os, signal, sys
from sync_assets.engine import DataCopyEngine, RelationName, Table, errors
from sync_assets.engine.postgres import time_outs

source, target, folder, how, phase = sys.argv[1:]
time_outs.IDLE = 3000
seen = []

def stop(progress):
    if progress.phase == phase and (phase != "export" or progress.bytes) and not seen:
        seen.append(os.kill(os.getpid(), signal.SIGSTOP))

table = Table(RelationName("public", "t"), RelationName("public", "t"))
engine = DataCopyEngine(source, target, batch_dir=folder, workers=2, max_blocking=1, on_progress=stop)
try:
    getattr(engine, how)(table)
except errors.TransientError as error:
    print(error.kind)
"""
CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v text)"
# More than the sockets and their buffers hold.
FILL = "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 40000) i"
ALTER = "SET lock_timeout = '30s'; ALTER TABLE t ADD COLUMN w integer"


@contextmanager
def frozen(pair: Pair, folder: Path, how: str, phase: str) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own that has stopped itself when it reached a phase."""
    command = [sys.executable, "-c", RUN, pair.source_url, pair.target_url, str(folder), how, phase]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        try:
            assert os.WIFSTOPPED(os.waitpid(run.pid, os.WUNTRACED)[1])
            yield run
        finally:
            run.kill()


def goes_on(run: subprocess.Popen[str]) -> str:
    """What a run says at its end, once it is let."""
    run.send_signal(signal.SIGCONT)
    return run.communicate()[0].strip()


@both_ways
@pytest.mark.parametrize("phase", ["plan", "export"])
def test_ddl_does_not_wait_for_a_frozen_run(pair: Pair, phase: str, tmp_path: Path) -> None:
    pair.source(CREATE, FILL)
    with frozen(pair, tmp_path, "sync", phase) as run:
        pair.source(ALTER)
        assert goes_on(run) == ("BlockingOthers" if phase == "export" else "ConnectionLost")
    assert pair.target("SELECT to_regclass('t')") == [(None,)]
    assert pair.sync().rows_inserted == 40000


@pytest.mark.parametrize("name", [each for each in SOURCES if int(each) >= 15])
def test_ddl_does_not_wait_for_a_run_that_is_frozen_at_the_end_of_a_network(
    name: str, tmp_path: Path
) -> None:
    with running_server(name, tcp=True) as server:
        for database in ("s", "t"):
            server.create_database(database)
        pair = Pair(server.tcp_url("s"), server.tcp_url("t"))
        pair.source(CREATE, FILL)
        with frozen(pair, tmp_path, "sync", "export") as run:
            pair.source(ALTER)
            assert goes_on(run) == "BlockingOthers"
        assert pair.target("SELECT to_regclass('t')") == [(None,)]


@both_ways
def test_ddl_on_either_end_does_not_wait_for_a_frozen_verify(pair: Pair, tmp_path: Path) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    with frozen(pair, tmp_path, "verify", "compare") as run:
        pair.target(ALTER)
        pair.source(ALTER)
        assert goes_on(run) == "BlockingOthers"
    assert eventually(lambda: pair.leftovers() == [])
