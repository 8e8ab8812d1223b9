"""The benchmark harness works: on a few rows, every result of ours and of the floors is exact."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("sync-assets", "COPY", "pg_dump | psql", "scan")


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder that the account which runs servers for root may enter."""
    with tempfile.TemporaryDirectory(prefix="sync-bench-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def test_harness_measures_every_step_and_checks_every_copy(room: Path) -> None:
    words = ["--room", str(room), "--rows", "2000", "--rounds", "1", "--tools", ",".join(TOOLS)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/compare.py"), *words],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (room / "results.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "step" in row]
    assert [row for row in steps if "error" in row or not row["exact"]] == []
    assert len(steps) == 2 * (3 * 3 + 1)
    assert "The lines we hold ourselves to" in done.stdout
