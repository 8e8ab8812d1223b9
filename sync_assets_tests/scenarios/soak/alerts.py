"""What people were told, beside what they had to be told: each once, and nothing else."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import dagster as dg

from sync_assets.hindrances.telling import AGAIN
from sync_assets_tests.fixtures.inbox import Inbox
from sync_assets_tests.scenarios.soak.stage import Told

RUN = re.compile(r"^Run ([0-9a-f-]{36})", re.MULTILINE)
FAILED = "a sync failed"
OVER = "no longer in the way"
QUIET = AGAIN[0]
"""Seconds in which what has come back is not told a second time."""

UNSURE = 300.0
"""Seconds before their end in which it may be told or not."""


@dataclass(frozen=True)
class Line:
    """One table in one line of an alert; `over` where it tells the end, `failed` of a run."""

    table: str
    words: str
    over: bool
    failed: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """The table, and the kind of error."""
        return self.table, self.words.removeprefix("over: ").partition(": ")[0]


@dataclass
class Ledger:
    """Every alert since the beginning, and which of them were wanted."""

    inbox: Inbox
    instance: dg.DagsterInstance
    # Of tables, several of which may be in one message.
    expected: int = 0
    sent: int = 0
    wrong: list[str] = field(default_factory=list)
    _read: int = 0
    _runs: Counter[str] = field(default_factory=Counter)
    _lines: list[Line] = field(default_factory=list)
    _settled: set[str] = field(default_factory=set)
    _last: dict[tuple[str, str], float] = field(default_factory=dict)
    _failed: dict[tuple[str, str], float] = field(default_factory=dict)

    def wanted(self, told: Told) -> Told:
        """What of it has to be told now: not what was told within the hour."""
        now = time.time()
        due = {
            table: words
            for table, words in told.hindered.items()
            if now - self._last.get((table, words), 0.0) > QUIET
        }
        return Told(due, "" if told.failed in self._known() else told.failed)

    def is_told(self, told: Told) -> bool:
        """Whether that much was told, of hindered tables and of one that failed."""
        self._take()
        if told.failed and not any(each.table == told.failed for each in self._lines):
            return False
        return all(self._find(table, words) for table, words in told.hindered.items())

    def is_settled(self, told: Told) -> bool:
        """Whether every failed run was told, and the end of each hindrance and failure too."""
        self._take()
        ended = {each.key for each in self._lines if each.over}
        over = all(self._find(t, words, over=True) for t, words in told.hindered.items())
        over = over and all(each.key in ended for each in self._lines if each.failed)
        return over and all(self._is_known(run) for run in self._failures().values())

    def settle(self, told: Told) -> Iterator[str]:
        """What was told too often, too little or unasked since the last time; then begin anew."""
        self._take()
        failures = self._failures()
        for run in (failures.keys() | self._runs.keys()) - self._settled:
            if run not in failures or self._runs[run] > 1 or not self._is_known(failures[run]):
                yield f"run {run} failed: {run in failures}; told {self._runs[run]} times"
        self.expected += 2 * len(told.hindered)
        wanted = Counter(
            (table, words, over) for table, words in told.hindered.items() for over in (False, True)
        )
        of_failures: Counter[Line] = Counter()
        for line in self._lines:
            found = [each for each in wanted if each[::2] == (line.table, line.over)]
            found = [each for each in found if each[1] in line.words]
            if not found and (line.failed or line.key in self._failed):
                recently = time.time() - self._last.get(line.key, 0.0) < QUIET - UNSURE
                of_failures[line] += 2 if recently and line.failed else 1
            elif not found and not self._unsure(line):
                yield f"told unasked: {line}"
            for each in found:
                wanted[each] -= 1
        yield from (
            f"told {often} times: {line}" for line, often in of_failures.items() if often > 1
        )
        self.expected += len(of_failures)
        for (table, words, over), left in wanted.items():
            if left:
                yield f"{table}, {words!r}, over {over}: told {1 - left} times"
        now = time.time()
        self._last |= dict.fromkeys(told.hindered.items(), now)
        self._last |= {each.key: now for each in of_failures if each.failed}
        self._settled |= failures.keys()
        self._lines.clear()

    def _unsure(self, line: Line) -> bool:
        return any(
            table == line.table and words in line.words and time.time() - at > QUIET - UNSURE
            for (table, words), at in self._last.items()
        )

    def _failures(self) -> dict[str, dg.DagsterRun]:
        failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
        return {run.run_id: run for run in self.instance.get_runs(failed)}

    def _is_known(self, run: dg.DagsterRun) -> bool:
        """Whether it was told, or fails with what people know of one of its tables."""
        tables = {key.path[-1] for key in run.asset_selection or ()}
        known = run.run_id in self._runs or run.run_id in self._settled
        return known or bool(tables & self._known())

    def _known(self) -> set[str]:
        """The tables of which people were told something within the hour."""
        told = {**self._last, **self._failed}
        now = {each.table for each in self._lines}
        return now | {table for (table, _), at in told.items() if time.time() - at < QUIET}

    def _find(self, table: str, words: str, *, over: bool = False) -> bool:
        return any(
            (line.table, line.over) == (table, over) and words in line.words for line in self._lines
        )

    def _take(self) -> None:
        """Read what has arrived since."""
        posts = self.inbox.posts[self._read :]
        self._read += len(posts)
        for text in (post["text"] for post in posts):
            lines = read(text)
            self._runs.update(RUN.findall(text))
            self._failed |= {each.key: time.time() for each in lines if each.failed}
            self._lines += lines
            self.sent += len(lines)


def read(text: str) -> list[Line]:
    """The tables that an alert tells of."""
    subject, _, body = text.partition("\n")
    found = []
    for line in body.partition("\nRun ")[0].splitlines():
        names, _, words = line.partition(": ")
        found += [
            Line(name.removeprefix("public."), words, OVER in subject, FAILED in subject)
            for name in names.split(", ")
        ]
    return found
