"""What a run costs the target: connections, statements, locks, WAL, catalog rows, temporary files.

`python benchmarks/target_cost.py [--rows N] [--room FOLDER]` prints a table of runs over W1 and one of
the locks that they hold there. A run that finds nothing is measured ten times, and each figure is the
median. Autovacuum is off, and a checkpoint goes before each run: every page that is written is in the
WAL whole, as it is after a quiet time. To see locks, pg_locks is read after each statement of one more
run of the same kind, which makes that one slower; the time that a lock is held is that run's.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
from servers import Pair, execute, private_pair
from statements import CONNECT, Recording
from work import W1, fresh_copy, made

from sync_assets.engine import DataCopyEngine

SETTINGS = {"autovacuum": "off", "max_wal_size": "4GB", "shared_buffers": "256MB"}
IDLE = 10
ELSEWHERE = "INSERT INTO bystander VALUES (1)"
"""Something has happened on the source, or a run need not even look."""

FIGURES = """
SELECT pg_current_wal_insert_lsn() - '0/0',
  (SELECT sum(n_tup_ins) FROM pg_stat_sys_tables WHERE schemaname = 'pg_catalog'),
  (SELECT sum(n_tup_upd + n_tup_del) FROM pg_stat_sys_tables WHERE schemaname = 'pg_catalog'),
  (SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables
   WHERE schemaname = 'sync_assets'),
  (SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database())
"""
LOCKS = """
SELECT l.pid, coalesce(l.relation::regclass::text, 'advisory'), l.mode
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE a.application_name = 'sync_assets' AND a.datname = current_database() AND (
  l.locktype = 'advisory' OR l.relation IN (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname IN ('public', 'sync_assets')))
"""
Lock = tuple[int, str, str]


class Watch(Recording):
    """Notes the locks that the target's sessions hold after each of their statements."""

    def __init__(self, source_port: str, target: str) -> None:
        super().__init__(source_port)
        self.held: dict[tuple[str, str], float] = {}
        self._since: dict[Lock, float] = {}
        self._looking = psycopg2.connect(target)
        self._looking.autocommit = True

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._look(0.0)
        self._looking.close()

    def note(self, port: str, text: str, work: Callable[[], Any]) -> Any:
        """Do it, and look."""
        done = super().note(port, text, work)
        last = self.statements[-1]
        if last.end == "target":
            self._look(last.began)
        return done

    def _look(self, began: float) -> None:
        with self._looking.cursor() as cursor:
            cursor.execute(LOCKS)
            now = set(cursor.fetchall())
        for lock in self._since.keys() - now:
            _, name, mode = lock
            held = began - self._since.pop(lock)
            self.held[name, mode] = max(held, self.held.get((name, mode), 0.0))
        for lock in now - self._since.keys():
            self._since[lock] = began


@dataclass(frozen=True)
class Cost:
    """One run's."""

    connections: float
    statements: float
    wal: float
    catalog_rows: float
    catalog_dead: float
    state_rows: float
    temporary: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.connections:.0f} | {self.statements:.0f} | {self.wal / 1024:,.1f} | "
            f"{self.catalog_rows:.0f} | {self.catalog_dead:.0f} | {self.state_rows:.0f} | "
            f"{self.temporary / 1024:,.0f} | {self.seconds * 1000:,.0f}"
        )


def typical(costs: list[Cost]) -> Cost:
    """The median of each figure."""
    return Cost(*(statistics.median(each) for each in zip(*map(astuple, costs), strict=True)))


@dataclass(frozen=True)
class Bench:
    """Two databases, and the kinds of run that are measured one after the other."""

    source: str
    target: str
    rows: int
    changes: Iterator[int] = field(default_factory=itertools.count)

    def run(self, **options: Any) -> None:
        """One run."""
        engine = DataCopyEngine(self.source, self.target)
        engine.copy_table_data_with_xmin(W1.table, W1.table, **options)

    def recording(self) -> Recording:
        """What notes the statements of a run."""
        return Recording(psycopg2.extensions.parse_dsn(self.source)["port"])

    def measured(self, **options: Any) -> Cost:
        """What one run costs."""
        execute(self.target, "CHECKPOINT")
        before = self._figures()
        with self.recording() as recording:
            self.run(**options)
        mine = [each for each in recording.statements if each.end == "target"]
        connections = sum(each.text == CONNECT for each in mine)
        spent = max(each.began + each.took for each in recording.statements)
        deltas = (now - then for now, then in zip(self._figures(), before, strict=True))
        return Cost(connections, len(mine) - connections, *map(float, deltas), spent)

    def _figures(self) -> tuple[Any, ...]:
        """Counters of the target, once the sessions of a run have told theirs."""
        while execute(
            self.target, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'sync_assets'"
        ):
            pass
        with closing(psycopg2.connect(self.target)) as session, session.cursor() as cursor:
            cursor.execute(FIGURES)
            ((*found,),) = cursor.fetchall()
            return tuple(found)

    def locks(self, **options: Any) -> dict[tuple[str, str], float]:
        """The locks of one run, and for how many seconds it holds each."""
        port = psycopg2.extensions.parse_dsn(self.source)["port"]
        with Watch(port, self.target) as watch:
            self.run(**options)
        return watch.held

    def change(self) -> None:
        """About a hundred rows updated, a hundred inserted."""
        last = self.rows + 100 * next(self.changes)
        execute(self.source, f"SELECT work_change({self.rows // 100}, {last + 1}, {last + 100})")

    def kinds(self) -> Iterator[tuple[str, Cost, dict[tuple[str, str], float]]]:
        """Every kind of run, with what it costs and what it locks."""
        execute(self.source, "CREATE TABLE bystander (id integer)")
        first = self.measured()
        execute(self.target, f"DROP TABLE {W1.table}", "DROP SCHEMA sync_assets CASCADE")
        yield "first load", first, self.locks()
        for deletes in ("ignore", "hard"):
            told = "" if deletes == "ignore" else ", `deletes: hard`"
            options = {"deletes": deletes, "changed_blocks": "off"}
            self.run(**options)
            idle = []
            for _ in range(IDLE):
                execute(self.source, ELSEWHERE)
                idle.append(self.measured(**options))
            execute(self.source, ELSEWHERE)
            yield f"nothing changed{told}", typical(idle), self.locks(**options)
            self.change()
            few = self.measured(**options)
            self.change()
            yield f"some hundred rows{told}", few, self.locks(**options)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--room", type=Path, default=Path(tempfile.gettempdir()) / "target-cost")
    parser.add_argument("--rows", type=int, default=1_000_000)
    asked = parser.parse_args()
    with private_pair(SETTINGS, asked.room / "servers", tcp=True) as pair:
        measure(pair, asked.rows)


def measure(pair: Pair, rows: int) -> None:
    """All kinds of run over a table of so many rows."""
    pair.target.drop_database("target_cost")
    pair.target.create_database("target_cost")
    with fresh_copy(pair.source, made(pair.source, W1, rows)) as source:
        bench = Bench(pair.source.tcp_url(source), pair.target.tcp_url("target_cost"), rows)
        found = list(bench.kinds())
    pair.target.drop_database("target_cost")
    print(
        "| run | connections | statements | WAL, kB | catalog rows written | changed, deleted | "
        "rows in `sync_assets` | temporary files, kB | ms |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for name, cost, _ in found:
        print(f"| {name} | {cost} |")
    print("\n| run | on | lock | held, ms |\n|---|---|---|--:|")
    for name, _, locks in found:
        for (relation, mode), seconds in sorted(locks.items()):
            print(f"| {name} | {relation} | {mode} | {seconds * 1000:,.1f} |")


if __name__ == "__main__":
    main()
