"""Compare sync-assets with the floors and with other tools: the same tables, changes and checks.

`python benchmarks/compare.py` runs everything, interleaved, three times; `--help` shows what can be
chosen. Data, virtual environments, logs and raw results are kept in the folder `--room`, so that a
second call begins at once. `--publish` writes docs/benchmarks.md anew.
"""

from __future__ import annotations

import argparse
import enum
import fcntl
import functools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exact import Contents, contents, verdict
from measure import Measured, measured
from psycopg2.extensions import parse_dsn
from report import finish
from servers import Pair, execute, private_pair
from surroundings import surroundings
from tools import STEPS, Tool, chosen
from work import WORKS, Work, change, fresh_copy, made

from sync_assets.private_server.server import embedded_binaries

SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "max_connections": "60",
    # For logical replication; everybody's target writes the WAL of it.
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    # On, as everywhere, but asleep: its work is done between the steps, for everybody alike.
    "autovacuum_naptime": "1d",
}
SLOW = 20.0
"""A peer whose step takes more seconds is measured once."""

STATEMENTS = """
SELECT format('CREATE TABLE %1$s (%2$s)', '{table}', string_agg(format('%I %s%s', attname,
         format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN ' NOT NULL' END), ', '
         ORDER BY attnum)),
       format('ALTER TABLE public.%s ADD PRIMARY KEY (%s)', '{table}', '{key}'),
       format('MERGE INTO %s t USING incoming s ON t.%s = s.%2$s WHEN MATCHED AND (%s) IS DISTINCT '
         'FROM (%s) THEN UPDATE SET %s WHEN NOT MATCHED THEN INSERT (%s) VALUES (%s)', '{table}', '{key}',
         string_agg('t.' || attname, ', ' ORDER BY attnum) FILTER (WHERE attname <> '{key}'),
         string_agg('s.' || attname, ', ' ORDER BY attnum) FILTER (WHERE attname <> '{key}'),
         string_agg(attname || ' = s.' || attname, ', ' ORDER BY attnum) FILTER (WHERE attname <> '{key}'),
         string_agg(attname, ', ' ORDER BY attnum), string_agg('s.' || attname, ', ' ORDER BY attnum))
FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped
"""


@dataclass
class Bench:
    """The servers, a folder, and where results go."""

    pair: Pair
    room: Path
    results: Path
    limit: float
    expected: dict[tuple[str, int, str], Contents] = field(default_factory=dict)

    @property
    def venvs(self) -> Path:
        """Where the peers' virtual environments are."""
        return self.room / "venvs"

    def describe(self, part: str, tools: Sequence[Tool]) -> None:
        """Keep where the results that follow are measured."""
        self._keep({"part": part, **surroundings(self.pair.source, tools, self.venvs)})

    def _keep(self, values: Mapping[str, Any]) -> None:
        with self.results.open("a") as file:
            file.write(json.dumps(values) + "\n")

    def record(self, **values: Any) -> None:
        """Keep one result, and tell it."""
        self._keep(values)
        told = values.get("error") or values.get("check") or ""
        times = f"{values['seconds']:8.2f} s" if "seconds" in values else " " * 10
        cpu = f"{values['cpu']:6.2f} s CPU" if "cpu" in values else ""
        place = f"{values['work']} {values['rows']:>10,} {values['step']:9} {values['tool']:22}"
        print(f"{place}{times} {cpu}  {told}", flush=True)

    def settle(self, *urls: str) -> None:
        """What would be done by the time of the next sync: hint bits, statistics, a checkpoint.

        Nobody shall be the first to read what ANALYZE has written.
        """
        for url in urls:
            execute(url, "VACUUM (ANALYZE)", "VACUUM pg_statistic", "CHECKPOINT")


class Outcome(enum.Enum):
    """How a step went; a slow one is not measured again."""

    FINE = enum.auto()
    SLOW = enum.auto()
    FAILED = enum.auto()


@dataclass(frozen=True)
class Course:
    """One tool's way through a round over one table."""

    tool: Tool
    work: Work
    rows: int
    number: int
    source: str
    target: str
    environment: Mapping[str, str]


def main() -> None:
    """Read the command line, and measure."""
    asked = arguments()
    tools = chosen(asked.tools)
    with ExitStack() as stack:
        bench = stack.enter_context(opened(asked.room, asked.results, asked.limit))
        kept = _able(bench, tools, asked)
        bench.describe("compare", kept)
        tired: set[tuple[str, str]] = set()
        for number in range(1, asked.rounds + 1):
            for work in (WORKS[name] for name in asked.works.split(",")):
                going = [tool for tool in kept if (tool.name, work.name) not in tired]
                tired |= measure_round(
                    bench, work, asked.rows, going, asked.steps.split(","), number
                )
    finish(asked.results, publish=asked.publish)


def arguments() -> argparse.Namespace:
    """What can be chosen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    room = Path(tempfile.gettempdir()) / "sync-assets-benchmarks"
    parser.add_argument("--room", type=Path, default=room, help=f"kept between calls ({room})")
    parser.add_argument(
        "--results", type=Path, help="where raw results are added (ROOM/results.jsonl)"
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tools", default="all", help="names, or ours, floors, peers (all)")
    parser.add_argument("--works", default=",".join(WORKS), help="w1, w2, or both")
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--limit", type=float, default=150, help="seconds a step may take (150)")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md")
    asked = parser.parse_args()
    unknown = set(asked.works.split(",")) - set(WORKS)
    if unknown:
        parser.error(f"--works: {', '.join(unknown)}; there are {' and '.join(WORKS)}")
    asked.room = asked.room.absolute()
    asked.results = asked.results or asked.room / "results.jsonl"
    if asked.fresh:
        asked.results.unlink(missing_ok=True)
    return asked


@contextmanager
def opened(
    room: Path, results: Path, limit: float, settings: Mapping[str, str] = SETTINGS
) -> Iterator[Bench]:
    """Start the servers in a folder that nobody else uses meanwhile."""
    room.mkdir(parents=True, exist_ok=True)
    with (room / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(f"{room} is in use by another measurement") from None
        with private_pair(settings, room / "servers", tcp=True) as pair:
            yield Bench(pair, room, results, limit)


def _able(bench: Bench, tools: Sequence[Tool], asked: argparse.Namespace) -> list[Tool]:
    """The tools that can run; of the others, why not."""
    able = []
    for tool in tools:
        problem = tool.problem(bench.venvs)
        if problem:
            for work in asked.works.split(","):
                bench.record(
                    work=work, rows=asked.rows, step="install", tool=tool.name, error=problem
                )
        else:
            able.append(tool)
    return able


def measure_round(
    bench: Bench, work: Work, rows: int, tools: Sequence[Tool], steps: Sequence[str], number: int
) -> set[tuple[str, str]]:
    """All tools on one table, step by step; which of them need not come again."""
    template = made(bench.pair.source, work, rows)
    tired: set[tuple[str, str]] = set()
    stopped: list[Course] = []

    def take(courses: Sequence[Course], step: str) -> None:
        for course in courses:
            if step in course.tool.steps and course not in stopped:
                if step == "unchanged":
                    # Something else was written: only on a source where nothing was would a mark say so.
                    execute(here, "SELECT pg_current_xact_id()")
                outcome = _take(bench, course, step)
                if outcome is Outcome.FAILED:
                    stopped.append(course)
                if outcome is not Outcome.FINE:
                    tired.add((course.tool.name, work.name))

    with fresh_copy(bench.pair.source, template) as source, ExitStack() as stack:
        courses = [
            stack.enter_context(_prepared(bench, tool, work, rows, number, source))
            for tool in in_turn(tools, number)
            if work.name in tool.works
        ]
        here = bench.pair.source.url(source)
        bench.settle(here)
        execute(here, f"SELECT count(*) FROM {work.table}")
        for step in steps:
            if step == "changes":
                bench.settle(*(bench.pair.target.url(course.target) for course in courses))
                change(here, rows)
                take([course for course in courses if course.tool.follows], step)
                bench.settle(here)
                take([course for course in courses if not course.tool.follows], step)
            else:
                take(courses, step)
    return tired


def in_turn(tools: Sequence[Tool], number: int) -> Sequence[Tool]:
    """Another one begins in each round: who comes first finds the servers as nobody after it."""
    first = number * len(tools) // 3 % len(tools)
    return (*tools[first:], *tools[:first])


@contextmanager
def _prepared(
    bench: Bench, tool: Tool, work: Work, rows: int, number: int, source: str
) -> Iterator[Course]:
    """An empty target database, a folder, and what the tool needs before it can begin."""
    room = bench.room / "tools" / tool.name.replace(" ", "_")
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    target = f"{work.name}_{''.join(filter(str.isalnum, tool.name)).lower()}"
    bench.pair.target.drop_database(target)
    bench.pair.target.create_database(target)
    environment = _environment(bench, tool, work, source, target, room)
    course = Course(tool, work, rows, number, source, target, environment)
    if measure_step(bench, course, "prepare").code:
        bench.record(**described(course, "prepare"), error=last_words(bench, course))
    try:
        yield course
    finally:
        if tool.follows:
            execute(bench.pair.target.url(target), "DROP SUBSCRIPTION IF EXISTS work")
        bench.pair.target.drop_database(target)


def _environment(
    bench: Bench, tool: Tool, work: Work, source: str, target: str, room: Path
) -> dict[str, str]:
    here = bench.pair.source
    parts = parse_dsn(here.tcp_url(source))
    create, key, merge = statements(here.url(source), work)
    read = work.as_text if tool.text_view and work.as_text else work.table
    return {
        "PATH": f"{embedded_binaries()}:{os.environ['PATH']}",
        "HOME": str(room),
        "TMPDIR": str(room),
        "LC_ALL": "C.UTF-8",
        "SOURCE_URL": here.tcp_url(source),
        "SOURCE_PARTS": " ".join(
            parts[name] for name in ("host", "port", "dbname", "user", "password")
        ),
        "TARGET_URL": bench.pair.target.tcp_url(target),
        "TABLE": work.table,
        "READ": read,
        "KEY": work.key,
        "CURSOR": work.cursor if tool.by_cursor else "",
        "CREATE_TABLE": create,
        "ADD_KEY": key,
        "MERGE": merge,
        "ROOM": str(room),
        "VENV": str(bench.venvs / tool.venv),
        "SYNC_ASSETS": str(Path(sys.executable).with_name("sync-assets")),
    }


@functools.cache
def statements(url: str, work: Work) -> tuple[str, str, str]:
    """CREATE TABLE, its key, and a MERGE from `incoming`, which floors need."""
    ((create, key, merge),) = execute(url, STATEMENTS.format(table=work.table, key=work.key))
    return create, key, merge


def _take(bench: Bench, course: Course, step: str) -> Outcome:
    """Measure one step, check what it did, and keep both."""
    done = measure_step(bench, course, step)
    told = described(course, step) | {
        "seconds": round(done.seconds, 3),
        "cpu": round(done.cpu, 2),
        "memory": done.memory,
        "server_cpu": [round(each, 2) for each in done.server_cpu],
    }
    if done.code:
        error = f"not done in {bench.limit:g} s" if done.timed_out else last_words(bench, course)
        bench.record(**told, error=error)
        return Outcome.FAILED
    same, told["check"] = _checked(bench, course, step) if course.tool.copies else (True, "")
    bench.record(**told, exact=same, **_own_words(done))
    # Between the steps, so that nobody pays for what somebody else left to be written.
    execute(bench.pair.target.url(), "CHECKPOINT")
    slow = course.tool.kind == "peer" and done.seconds > SLOW
    return Outcome.SLOW if slow else Outcome.FINE


def measure_step(bench: Bench, course: Course, step: str) -> Measured:
    """Run the tool's command for a step."""
    servers = [server.pid for server in bench.pair]
    return measured(
        course.tool.words(bench.venvs, step),
        course.environment,
        limit=bench.limit,
        servers=[pid for pid in servers if pid],
        log=_log(bench, course),
    )


def described(course: Course, step: str) -> dict[str, Any]:
    """What names a result."""
    return {
        "work": course.work.name,
        "rows": course.rows,
        "tool": course.tool.name,
        "kind": course.tool.kind,
        "step": step,
        "round": course.number,
    }


def _own_words(done: Measured) -> dict[str, Any]:
    """What our own runners print: the receipt, and the kernel's figure for memory."""
    if not done.output.startswith("{"):
        return {}
    said = json.loads(done.output)
    receipt = said["receipt"] if "receipt" in said else said["tables"][0]
    kept = ("seconds", "workers", "chunks", "bytes", "rows_exported", "rows_updated")
    own = {name: receipt[name] for name in kept}
    return {"receipt": own, "vm_hwm": said.get("vm_hwm")}


def _log(bench: Bench, course: Course) -> Path:
    folder = bench.room / "logs"
    folder.mkdir(exist_ok=True)
    return folder / f"{course.work.name}_{course.tool.name.replace(' ', '_')}.log"


def last_words(bench: Bench, course: Course) -> str:
    """The last line that a tool wrote to its log."""
    lines = _log(bench, course).read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def _checked(bench: Bench, course: Course, step: str) -> tuple[bool, str]:
    """Whether the target holds what the source holds, and what is different."""
    work = course.work
    state = (work.name, course.rows, "initial" if step == "initial" else "changed")
    if state not in bench.expected:
        here = contents(bench.pair.source.url(course.source), work.table, work.key)
        if here is None:
            raise SystemExit(f"the source has no {work.table}")
        bench.expected[state] = here
    expected = bench.expected[state]
    url = bench.pair.target.url(course.target)
    there = contents(url, f"{course.tool.schema}.{work.table}", work.key, list(expected.sums))
    return verdict(there, expected)


if __name__ == "__main__":
    main()
