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
IN_THE_WAY = "something is in the way of a sync"
OVER = "no longer in the way"
QUIET = AGAIN[0]
"""Seconds in which what has come back is not told a second time."""

UNSURE = 300.0
"""Seconds before their end in which it may be told or not."""


@dataclass(frozen=True)
class Line:
    """One table in one line of an alert; `over` where it tells the end."""

    table: str
    words: str
    over: bool


@dataclass
class Ledger:
    """Every alert since the beginning, and which of them were wanted."""

    inbox: Inbox
    instance: dg.DagsterInstance
    # Of tables and of runs, several of which may be in one message.
    expected: int = 0
    sent: int = 0
    wrong: list[str] = field(default_factory=list)
    _read: int = 0
    _texts: list[str] = field(default_factory=list)
    _runs: Counter[str] = field(default_factory=Counter)
    _lines: list[Line] = field(default_factory=list)
    _settled: set[str] = field(default_factory=set)
    _last: dict[tuple[str, str], float] = field(default_factory=dict)

    def wanted(self, told: Told) -> Told:
        """What of it has to be told now: not what was told within the hour."""
        now = time.time()
        due = {
            table: words
            for table, words in told.hindered.items()
            if now - self._last.get((table, words), 0.0) > QUIET
        }
        return Told(due, told.failed)

    def is_told(self, told: Told) -> bool:
        """Whether that much was told, of hindered tables and of one that failed."""
        self._take()
        if told.failed and not self._failed_of(told.failed):
            return False
        return all(self._find(table, words) for table, words in told.hindered.items())

    def is_settled(self, told: Told) -> bool:
        """Whether the end of each hindrance was told too, and every run that failed."""
        self._take()
        over = all(self._find(t, words, over=True) for t, words in told.hindered.items())
        return over and self._failures() <= self._runs.keys()

    def settle(self, told: Told) -> Iterator[str]:
        """What was told too often, too little or unasked since the last time; then begin anew."""
        self._take()
        failures = self._failures()
        for run in sorted(failures | self._runs.keys() - self._settled):
            count = self._runs[run]
            if run in failures - self._settled:
                self.expected += 1
            if count != (run in failures):
                yield f"run {run} failed: {run in failures}; told {count} times"
                self._runs[run] = int(run in failures)
        self.expected += 2 * len(told.hindered)
        wanted = Counter(
            (table, words, over) for table, words in told.hindered.items() for over in (False, True)
        )
        for line in self._lines:
            found = [each for each in wanted if each[::2] == (line.table, line.over)]
            found = [each for each in found if each[1] in line.words]
            if not found and not self._unsure(line):
                yield f"told unasked: {line}"
            for each in found:
                wanted[each] -= 1
        for (table, words, over), left in wanted.items():
            if left:
                yield f"{table}, {words!r}, over {over}: told {1 - left} times"
        now = time.time()
        self._last |= dict.fromkeys(told.hindered.items(), now)
        self._settled |= failures
        self._lines.clear()
        self._texts.clear()

    def _unsure(self, line: Line) -> bool:
        return any(
            table == line.table and words in line.words and time.time() - at > QUIET - UNSURE
            for (table, words), at in self._last.items()
        )

    def _failures(self) -> set[str]:
        failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
        return {run.run_id for run in self.instance.get_runs(failed)}

    def _failed_of(self, table: str) -> bool:
        return any(f"__{table}" in text for text in self._texts)

    def _find(self, table: str, words: str, *, over: bool = False) -> bool:
        return any(
            (line.table, line.over) == (table, over) and words in line.words for line in self._lines
        )

    def _take(self) -> None:
        """Read what has arrived since."""
        posts = self.inbox.posts[self._read :]
        self._read += len(posts)
        for text in (post["text"] for post in posts):
            runs, lines = RUN.findall(text), read(text)
            self._runs.update(runs)
            self._lines += lines
            self._texts.append(text)
            self.sent += len(runs) + len(lines)


def read(text: str) -> list[Line]:
    """The tables that an alert of hindrances tells of."""
    subject, _, body = text.partition("\n")
    if IN_THE_WAY not in subject and OVER not in subject:
        return []
    found = []
    for line in body.splitlines():
        names, _, words = line.partition(": ")
        found += [
            Line(name.removeprefix("public."), words, OVER in subject) for name in names.split(", ")
        ]
    return found
