"""What a table costs where there are many, nearly all of them idle: time, sessions, statements, storage.

`python benchmarks/tables.py [--tables 1000] [--rounds 3]` makes small tables on a private PostgreSQL
and takes every tool through a first load, two runs without a change, one in which ten tables have
changed, and one of those ten alone. Times are those of whole processes. Sessions and statements are
what the source has counted. `--publish` writes docs/benchmarks.md anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from compare import SETTINGS, Bench, Course, described, in_turn, last_words, measure_step, opened
from report_tables import EVERY, FEW, finish_tables
from servers import execute
from tools import RUNNERS, Tool
from work import Work, fresh_copy

from sync_assets.private_server.server import PostgresServer, embedded_binaries

COUNTING = {
    "shared_preload_libraries": "pg_stat_statements",
    # A table has statements of its own, and none may be forgotten.
    "pg_stat_statements.max": "200000",
    "max_locks_per_transaction": "256",
}
CHANGED = 10
SMALL = Work("tables", "t00001", "id", "")
COUNTED = """
SELECT sessions, (SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements WHERE dbid = datid)
FROM pg_stat_database WHERE datname = '{}'
"""
DIGEST = "SELECT sum(hashtextextended(format('%s', ({columns})), 0)) AS digest FROM {table}"


def _python(runner: str) -> tuple[str, ...]:
    return ("python", str(RUNNERS / runner))


def _way(name: str) -> tuple[str, ...]:
    return ("bash", str(RUNNERS / "many_tables.sh"), name)


TOOLS: Sequence[Tool] = (
    Tool("sync-assets", "ours", _python("engine_tables.py"), steps=EVERY),
    Tool("sync-assets run", "ours", _way("run"), steps=(*EVERY, "plan")),
    Tool("pg_dump | psql", "floor", _way("dump"), steps=("initial",)),
    Tool("bare Dagster run", "floor", _python("bare_run.py"), steps=("initial",), copies=False),
    Tool("pgcopydb", "peer", _way("pgcopydb"), steps=("initial",), program="pgcopydb"),
    Tool(
        "Sling",
        "peer",
        _way("sling"),
        steps=("initial", "unchanged", "changed"),
        venv="sling",
        packages=("sling-linux-amd64",),
    ),
)


def main() -> None:
    """Read the command line, and measure."""
    asked = arguments()
    names = [f"t{number:05}" for number in range(1, asked.tables + 1)]
    tools = [tool for tool in TOOLS if {tool.name, tool.kind, "all"} & set(asked.tools.split(","))]
    results = asked.room.absolute() / "tables.jsonl"
    if asked.fresh:
        results.unlink(missing_ok=True)
    with opened(asked.room.absolute(), results, asked.limit, SETTINGS | COUNTING) as bench:
        execute(bench.pair.source.url(), "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        able = [tool for tool in tools if not _problem(bench, tool, len(names))]
        bench.describe("tables", [])
        for number in range(1, asked.rounds + 1):
            measure_tables(bench, names, able, number)
    finish_tables(results, publish=asked.publish)


def arguments() -> argparse.Namespace:
    """What can be chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    room = Path(tempfile.gettempdir()) / "sync-assets-tables"
    parser.add_argument("--room", type=Path, default=room, help=f"kept between calls ({room})")
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tools", default="ours,floor", help="names or kinds (ours,floor), or all")
    parser.add_argument("--limit", type=float, default=900, help="seconds a step may take (900)")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md")
    return parser.parse_args()


def _problem(bench: Bench, tool: Tool, count: int) -> str:
    problem = tool.problem(bench.venvs)
    if problem:
        told = {"work": SMALL.name, "rows": count, "step": "install", "tool": tool.name}
        bench.record(**told, error=problem)
    return problem


def made(server: PostgresServer, names: Sequence[str]) -> str:
    """The name of a database of that many tables, made where it is missing; nothing changes it."""
    name = f"tables_{len(names)}"
    if not execute(server.url(), f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
        half = f"{name}_unfinished"
        server.drop_database(half)
        url = server.create_database(half)
        for table in names:
            execute(
                url,
                "SET synchronous_commit = off",
                f"CREATE TABLE {table} (id integer PRIMARY KEY, note text NOT NULL, amount numeric,"
                " at timestamptz)",
                f"INSERT INTO {table} SELECT i, md5('{table}' || i), i / 7.0, now()"
                " FROM generate_series(1, 100) AS i",
            )
        execute(url, "VACUUM (ANALYZE)", "CHECKPOINT")
        execute(server.url(), f"ALTER DATABASE {half} RENAME TO {name}")
    return name


def measure_tables(bench: Bench, names: Sequence[str], tools: Sequence[Tool], number: int) -> None:
    """All tools on the same tables, step by step."""
    template = made(bench.pair.source, names)
    with fresh_copy(bench.pair.source, template) as source, ExitStack() as stack:
        here = bench.pair.source.url(source)
        courses = [
            stack.enter_context(_prepared(bench, tool, source, names, number))
            for tool in in_turn(tools, number)
        ]
        bench.settle(here)
        for step in (*EVERY, "plan"):
            if step == "unchanged":
                # One transaction that touches none of the tables.
                execute(here, "SELECT pg_current_xact_id()")
            elif step in FEW:
                for table in names[number :: max(len(names) // CHANGED, 1)][:CHANGED]:
                    execute(here, f"UPDATE {table} SET amount = amount + 1 WHERE id % 10 = 1")
            expected = digest(here, names)
            for course in courses:
                if step in course.tool.steps:
                    _take(bench, course, step, names, expected)


@contextmanager
def _prepared(
    bench: Bench, tool: Tool, source: str, names: Sequence[str], number: int
) -> Iterator[Course]:
    """An empty target database, a folder with a home of Dagster's, and what the tool needs besides."""
    room = bench.room / "tools" / tool.name.replace(" ", "_")
    shutil.rmtree(room, ignore_errors=True)
    (room / "home").mkdir(parents=True)
    (room / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    target = f"tables_{''.join(filter(str.isalnum, tool.name)).lower()}"
    bench.pair.target.drop_database(target)
    bench.pair.target.create_database(target)
    environment = {
        "PATH": f"{embedded_binaries()}:{os.environ['PATH']}",
        "HOME": str(room),
        "TMPDIR": str(room),
        "LC_ALL": "C.UTF-8",
        "DAGSTER_HOME": str(room / "home"),
        "SOURCE_URL": bench.pair.source.tcp_url(source),
        "TARGET_URL": bench.pair.target.tcp_url(target),
        "ASKED": " ".join(names),
        "ROOM": str(room),
        "VENV": str(bench.venvs / tool.venv),
        "SYNC_ASSETS": str(Path(sys.executable).with_name("sync-assets")),
    }
    course = Course(tool, SMALL, len(names), number, source, target, environment)
    measure_step(bench, course, "prepare")
    try:
        yield course
    finally:
        bench.pair.target.drop_database(target)


def _take(bench: Bench, course: Course, step: str, names: Sequence[str], expected: object) -> None:
    """Measure one step, check what is on the target afterwards, and keep both."""
    if step == "named":
        few = names[course.number :: max(len(names) // CHANGED, 1)][:CHANGED]
        environment: Mapping[str, str] = {**course.environment, "ASKED": " ".join(few)}
        course = Course(
            course.tool,
            SMALL,
            course.rows,
            course.number,
            course.source,
            course.target,
            environment,
        )
    home = Path(course.environment["DAGSTER_HOME"])
    bytes_before, counts_before = _size(home), counted(bench, course.source)
    done = measure_step(bench, course, step)
    sessions, statements = (
        after - before
        for before, after in zip(counts_before, counted(bench, course.source), strict=True)
    )
    told: dict[str, Any] = described(course, step) | {
        "seconds": round(done.seconds, 3),
        "cpu": round(done.cpu, 2),
        "memory": done.memory,
        "server_cpu": [round(each, 2) for each in done.server_cpu],
        "sessions": sessions,
        "statements": statements,
        "home": _size(home) - bytes_before,
    }
    if done.code:
        error = f"not done in {bench.limit:g} s" if done.timed_out else last_words(bench, course)
        bench.record(**told, error=error)
        return
    exact = (
        not course.tool.copies or digest(bench.pair.target.url(course.target), names) == expected
    )
    bench.record(**told, exact=exact, check="" if exact else "NOT exact")
    execute(bench.pair.target.url(), "CHECKPOINT")


def counted(bench: Bench, database: str) -> tuple[int, int]:
    """Sessions that began on a database, and statements that were sent there, so far."""
    ((sessions, statements),) = execute(bench.pair.source.url(), COUNTED.format(database))
    return sessions, statements


def digest(url: str, names: Sequence[str]) -> object:
    """A checksum of all rows; it takes no transaction id. None where a table is missing."""
    there = execute(url, "SELECT relname FROM pg_class WHERE relname ~ '^t[0-9]{5}$'")
    if {name for (name,) in there} < set(names):
        return None
    each = [DIGEST.format(table=name, columns="id, note, amount, at") for name in names]
    ((found,),) = execute(url, f"SELECT sum(digest) FROM ({' UNION ALL '.join(each)}) AS digests")
    return found


def _size(home: Path) -> int:
    return sum(path.stat().st_size for path in home.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
