"""The product as its user meets it: two URLs, a folder with defs.yaml, and one command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

FILES = Path(__file__).parent / "eleven_tables"
CHANGES: dict[str, dict[str, int]] = json.loads((FILES / "changes.json").read_text())


@pytest.fixture
def environment(pair: Pair, tmp_path: Path) -> dict[str, str]:
    """Nothing set but what the README asks for."""
    folder = tmp_path / "defs"
    folder.mkdir()
    shutil.copy(FILES / "defs.yaml", folder)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SYNC_SOURCE_URL": pair.source_url,
        "SYNC_TARGET_URL": pair.target_url,
        "SYNC_DEFS": str(folder),
    }


def run(environment: dict[str, str]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """`sync-assets run --json`: receipts by target, and the one table that failed."""
    command = [sys.executable, "-m", "sync_assets.cli", "run", "--json"]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        cwd=environment["HOME"],
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    tables = json.loads(done.stdout)["tables"]
    assert len(tables) == 11
    (failed,) = [table for table in tables if "error" in table]
    return {table["target"]: table for table in tables if "error" not in table}, failed


@both_ways
def test_three_runs_of_eleven_tables(pair: Pair, environment: dict[str, str]) -> None:
    pair.source((FILES / "schema.sql").read_text())
    first, failed = run(environment)
    assert failed["target"] == "shop.audit_log"
    assert failed["error"]["kind"] == "UnusableKey"
    assert "primary key" in failed["error"]["message"]
    assert set(first) == set(CHANGES)
    assert all(receipt["rows_inserted"] == receipt["rows_exported"] for receipt in first.values())
    assert pair.is_exact(*CHANGES)

    pair.source((FILES / "change.sql").read_text())
    second, _ = run(environment)
    written = {
        name: {"inserted": receipt["rows_inserted"], "updated": receipt["rows_updated"]}
        for name, receipt in second.items()
    }
    assert written == CHANGES
    assert all(receipt["rows_deleted"] == 0 for receipt in second.values())
    assert second["shop.Products"]["rows_unchanged"] == 50
    assert pair.is_exact(*CHANGES)

    third, _ = run(environment)
    for receipt in third.values():
        moved = [receipt[f"rows_{verb}"] for verb in ("inserted", "updated", "deleted")]
        assert moved == [0, 0, 0]
        assert receipt["rows_exported"] == 0
        assert receipt["max_xmin"] == receipt["source_max_xmin"]
        assert receipt["seconds"]["total"] >= 0
    assert pair.is_exact(*CHANGES)
    assert pair.leftovers() == []
