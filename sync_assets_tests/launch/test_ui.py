"""`sync-assets ui`: it shows what runs from the command line have left, and keeps the terminal quiet."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from sync_assets.private_server.instance import child_environment
from sync_assets.private_server.processes import free_port
from sync_assets.runs.home import find_home
from sync_assets_tests.fixtures.pair import Pair, eventually

DEFS = """\
type: sync_assets.TableSync
attributes:
  defaults: {automation: running, schedule: "* * * * *"}
  tables:
    - source: orders
    - source: missing
"""
SEEN = """
query ($key: AssetKeyInput!) {
  runsOrError { ... on Runs { results { status tags { key value } } } }
  assetNodeOrError(assetKey: $key) { ... on AssetNode { assetMaterializations { timestamp } } }
}
"""
PATIENCE = 180


@pytest.fixture
def shell(pair: Pair, tmp_path: Path) -> dict[str, Any]:
    """How `sync-assets` is started for two tables, of which the source has one."""
    pair.source("CREATE TABLE orders (id int PRIMARY KEY)", "INSERT INTO orders VALUES (1)")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "defs.yaml").write_text(DEFS)
    own = {
        "SYNC_DEFS": str(tmp_path),
        "SYNC_SOURCE_URL": pair.source_url,
        "SYNC_TARGET_URL": pair.target_url,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return {"cwd": tmp_path, "env": child_environment(own), "text": True}


@pytest.mark.slow
def test_it_shows_the_runs_of_the_command_line_and_only_what_goes_wrong(
    shell: dict[str, Any], tmp_path: Path, pair: Pair
) -> None:
    words, home = [sys.executable, "-m", "sync_assets.cli"], find_home(shell["env"])
    subprocess.run([*words, "run", "orders"], check=True, **shell)
    pair.source("INSERT INTO orders VALUES (2)")
    port, elsewhere = free_port(), {**shell, "cwd": "/"}
    with (
        (tmp_path / "terminal").open("w") as terminal,
        subprocess.Popen(
            [*words, "ui", "--port", str(port)], stdout=terminal, stderr=terminal, **elsewhere
        ) as ui,
    ):
        try:
            assert eventually(lambda: len(seen(port)) > 1, seconds=PATIENCE), "no schedule ticked"
            first, second = seen(port)[-1], seen(port)[-2]
            assert (first["sync/launched_by"], second["dagster/schedule_name"]) == (
                "cli",
                "shop_sync",
            )
            assert eventually(lambda: "ERROR" in (tmp_path / "terminal").read_text())
            assert receipts(port) >= 1
            assert not [
                each for each in psutil.Process(ui.pid).children() if each.name() == "postgres"
            ]
        finally:
            ui.send_signal(signal.SIGTERM)
            assert ui.wait(60) == 0
    address, *problems = (tmp_path / "terminal").read_text().splitlines()
    assert address == f"Dagster UI: http://127.0.0.1:{port} (Ctrl-C stops it)"
    assert [line for line in problems if "missing" not in line] == []
    assert any("the source has no table public.missing" in line for line in problems)
    assert len(problems) < 10
    assert (home / "history" / "runs.db").is_file()
    done = subprocess.run([*words, "run", "orders"], check=True, capture_output=True, **elsewhere)
    assert "recorded in" not in done.stderr


def ask(port: int) -> dict[str, Any]:
    key = {"path": ["target", "public", "orders"]}
    body = json.dumps({"query": SEEN, "variables": {"key": key}}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)["data"]
    except OSError:
        return {"runsOrError": {"results": []}}
    return found


def seen(port: int) -> list[dict[str, str]]:
    """The tags of each run that the UI shows, the latest first."""
    runs = ask(port)["runsOrError"]["results"]
    return [{tag["key"]: tag["value"] for tag in run["tags"]} for run in runs]


def receipts(port: int) -> int:
    return len(ask(port)["assetNodeOrError"]["assetMaterializations"])
