"""Where and with what was measured: machine, versions, commit, date."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from servers import execute
from tools import Tool, versions

from sync_assets.private_server.server import PostgresServer

HERE = Path(__file__).parent


def surroundings(server: PostgresServer, tools: Sequence[Tool], venvs: Path) -> dict[str, Any]:
    """Everything a reader needs to judge a figure."""
    ((postgresql,),) = execute(server.url(), "SHOW server_version")
    return {
        "at": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()} of memory",
        "load": round(os.getloadavg()[0], 2),
        "versions": {
            "PostgreSQL": postgresql,
            "Python": platform.python_version(),
            "psycopg2": version("psycopg2-binary"),
            "dagster": version("dagster"),
            **{tool.name: told for tool in tools if (told := versions(tool, venvs))},
        },
    }


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], check=False, cwd=HERE, capture_output=True, text=True)
    return done.stdout.strip()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> str:
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GB"
