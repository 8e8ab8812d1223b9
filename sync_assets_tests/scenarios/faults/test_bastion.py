"""`sync-assets` through a bastion, as a user runs it: each process with a tunnel, none of which stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.bastion import Bastion
from sync_assets_tests.fixtures.guarded import Token
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.servers import NewDatabase

COMPARE = ("compare", "source", "target", "public.t", "--shared-columns")
DEFS = "type: sync_assets.TableSync\nattributes:\n  tables: [{source: t}, {source: u}]\n"


@pytest.mark.slow
def test_a_run_of_the_command_goes_through_a_bastion_and_leaves_no_tunnel(
    token: Token, bastion: Bastion, new_database: NewDatabase, tmp_path: Path
) -> None:
    server: PostgresServer = token.server
    pair = Pair(new_database(server), new_database(server))
    pair.source(*(f"CREATE TABLE {t} AS SELECT generate_series(1, 1000) AS id" for t in "tu"))
    pair.source(*(f"ALTER TABLE {t} ADD PRIMARY KEY (id)" for t in "tu"))
    (tmp_path / "defs.yaml").write_text(DEFS)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "SYNC_DEFS": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "SYNC_EXECUTOR": "multiprocess",  # each table in a process of its own, with a tunnel of its own
    }
    for name, url in (("SOURCE", pair.source_url), ("TARGET", pair.target_url)):
        environment[f"SYNC_{name}_URL"] = token.url(url)
        environment[f"SYNC_{name}_PASSWORD_COMMAND"] = token.command
        environment[f"SYNC_{name}_SSH"] = bastion.name
    for words in (["run"], ["check"], ["status"], [*COMPARE]):
        done = subprocess.run(
            [sys.executable, "-m", "sync_assets.cli", *words],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert pair.is_exact("public.t", "public.u")
    assert eventually(lambda: not going_through(bastion))


def going_through(bastion: Bastion) -> list[int]:
    """The processes of this machine that use the bastion's configuration."""
    return [
        each.pid
        for each in psutil.process_iter(["cmdline"])
        if f"{bastion.folder}/config" in (each.info["cmdline"] or [])
    ]
