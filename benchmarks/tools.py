"""What is compared: sync-assets, the floors, and the peers; each is a runner with its arguments."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from work import Work

RUNNERS = Path(__file__).parent / "runners"
STEPS = ("initial", "changes", "unchanged")
CURSOR = {"cursor": "updated_at", "lookback": "10 minutes", "late_commits": "lookback"}


@dataclass(frozen=True)
class Tool:
    """A way to copy a table and to keep the copy up to date.

    `schema` is where its copy is, `steps` what it can do at all (`copies` is
    false where nothing arrives), `again` whether it copies everything
    again for lack of an incremental mode. `by_cursor` says that it finds changes by W2's cursor,
    `text_view` that it reads W2 through a view which hands some columns over as text, `follows` that
    it applies changes by itself, so that its time counts from the end of the writes. `packages`
    are installed into a virtual environment of its own; `program` must be on the PATH.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    works: tuple[str, ...] = ("w1", "w2")
    steps: tuple[str, ...] = STEPS
    schema: str = "public"
    copies: bool = True
    again: bool = False
    by_cursor: bool = False
    text_view: bool = False
    follows: bool = False
    venv: str = ""
    packages: tuple[str, ...] = ()
    program: str = ""

    def incremental_by_cursor(self, work: Work) -> bool:
        """Whether it finds this table's changes by the cursor."""
        return self.by_cursor and bool(work.cursor)

    def problem(self, venvs: Path) -> str:
        """Make the tool's environment where it is missing; say why it cannot run, if it can't."""
        if self.program and not shutil.which(self.program):
            return f"{self.program} is not installed"
        return _install(venvs / self.venv, self.packages) if self.venv else ""

    def words(self, venvs: Path, step: str) -> list[str]:
        """The command for a step."""
        python = str(venvs / self.venv / "bin/python") if self.venv else sys.executable
        return [python if word == "python" else word for word in self.command] + [step]


def engine(
    name: str,
    mode: str = "xmin_incremental",
    settings: dict[str, object] | None = None,
    options: dict[str, object] | None = None,
    works: tuple[str, ...] = ("w1", "w2"),
) -> Tool:
    """The engine, called from a script that imports nothing else."""
    words = (mode, json.dumps(settings or {}), json.dumps(options or {}))
    by_cursor = mode == "incremental_sync"
    return Tool(name, "ours", _python("engine.py", *words), works, by_cursor=by_cursor)


def _python(runner: str, *words: str) -> tuple[str, ...]:
    return ("python", str(RUNNERS / runner), *words)


def _shell(runner: str, *words: str) -> tuple[str, ...]:
    return ("bash", str(RUNNERS / runner), *words)


DLT = (
    "dlt[postgres]",
    "sqlalchemy",
    "psycopg2-binary",
    "connectorx",
    "pyarrow",
    "pandas",
    "adbc-driver-postgresql",
    "adbc-driver-manager",
)


def dlt(backend: str, loader: str) -> Tool:
    """The tool dlt, reading by one of its backends and loading files of one kind."""
    return Tool(
        f"dlt, {backend}",
        "peer",
        _python("dlt_table.py", backend.lower(), loader),
        schema="dlt_data",
        by_cursor=True,
        text_view=True,
        venv="dlt",
        packages=DLT,
    )


VERSIONS = """
import sys
from importlib.metadata import version
print(", ".join(f"{name} {version(name)}" for name in sys.argv[1:]))
"""
EMPTY_RUN = "run of an empty asset"
ADBC = ("adbc-driver-postgresql", "adbc-driver-manager", "pyarrow")

TOOLS: Sequence[Tool] = (
    engine("sync-assets"),
    Tool("pg_dump | psql", "floor", _shell("pg_dump.sh"), again=True),
    Tool("COPY", "floor", _shell("copy.sh", "xmin")),
    Tool("COPY by a file", "floor", _shell("copy.sh", "file"), ("w1",), steps=("initial",)),
    Tool("scan", "floor", _shell("scan.sh"), steps=("unchanged",), copies=False),
    engine("sync-assets by cursor", "incremental_sync", options=dict(CURSOR), works=("w2",)),
    Tool("COPY by cursor", "floor", _shell("copy.sh", "cursor"), ("w2",), by_cursor=True),
    Tool("sync-assets run", "ours", _shell("dagster.sh", "sync")),
    Tool(EMPTY_RUN, "floor", _shell("dagster.sh", "empty"), ("w1",), copies=False),
    Tool(
        "logical replication",
        "peer",
        _python("logical.py"),
        steps=("initial", "changes"),
        follows=True,
    ),
    Tool(
        "ADBC script", "peer", _python("adbc_table.py"), by_cursor=True, venv="adbc", packages=ADBC
    ),
    Tool("postgres_fdw", "peer", _shell("fdw.sh"), by_cursor=True),
    Tool("pgcopydb", "peer", _shell("pgcopydb.sh"), again=True, program="pgcopydb"),
    Tool(
        "Sling",
        "peer",
        _shell("sling.sh"),
        by_cursor=True,
        text_view=True,
        venv="sling",
        packages=("sling-linux-amd64",),
    ),
    dlt("ConnectorX", "parquet"),
    dlt("PyArrow", "csv"),
)


def chosen(words: str) -> list[Tool]:
    """The tools that a list of names and kinds (ours, floors, peers) stands for."""
    wanted = [word.strip() for word in words.split(",")]
    kinds = {"ours": "ours", "floors": "floor", "peers": "peer"}
    unknown = set(wanted) - {"all", *kinds, *(tool.name for tool in TOOLS)}
    if unknown:
        raise SystemExit(f"no such tool: {', '.join(sorted(unknown))}")
    asked = {kinds.get(word, word) for word in wanted}
    return [tool for tool in TOOLS if {"all", tool.name, tool.kind} & asked]


def named(*names: str) -> list[Tool]:
    """The tools of these names."""
    return [tool for tool in TOOLS if tool.name in names]


def _install(folder: Path, packages: Sequence[str]) -> str:
    """Make a virtual environment, once; the last line of what pip said if it failed."""
    done = folder / "installed"
    if done.exists() and done.read_text() == " ".join(packages):
        return ""
    for words in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *packages],
    ):
        made = subprocess.run(words, check=False, capture_output=True, text=True)
        if made.returncode:
            return f"not installed: {(made.stderr.strip().splitlines() or ['?'])[-1]}"
    done.write_text(" ".join(packages))
    return ""


def versions(tool: Tool, venvs: Path) -> str:
    """What a tool was made of."""
    if tool.program:
        words = [tool.program, "--version"]
    elif tool.venv:
        words = [str(venvs / tool.venv / "bin/python"), "-c", VERSIONS]
        words += [name.partition("[")[0] for name in tool.packages]
    else:
        return ""
    said = subprocess.run(words, check=False, capture_output=True, text=True).stdout.strip()
    return said.splitlines()[0] if said else "?"
