"""Processes of this host that work on the same tables and keep another home than ours."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

KEPT_IN = ("DAGSTER_HOME", "DAGSTER_PG_URL")


@dataclass(frozen=True, slots=True)
class OtherHome:
    """A Dagster process, and the home that its environment names."""

    pid: int
    command: str
    home: str


def other_homes(home: str, environment: Mapping[str, str]) -> Iterator[OtherHome]:
    """One process for each home that is not ours, as far as this user may see.

    `environment` is this process's own, whose tables they work on.
    """
    ours = _storage({**environment, "DAGSTER_HOME": home})
    seen: set[str] = set()
    for process in psutil.process_iter():
        try:
            words, its = process.cmdline(), process.environ()
            beside = process.cwd() == str(Path.cwd())
        except psutil.Error:
            continue
        place, theirs = its.get("SYNC_DEFS"), its.get("DAGSTER_HOME")
        same_tables = place == environment.get("SYNC_DEFS") and (place is not None or beside)
        of_dagster = any("dagster" in Path(word).name for word in words[:3])
        if theirs and same_tables and of_dagster and theirs not in seen and _storage(its) != ours:
            seen.add(theirs)
            yield OtherHome(process.pid, " ".join(words[:4]), theirs)


def _storage(environment: Mapping[str, str]) -> str:
    """Where runs are recorded: homes that share a database are one."""
    url = environment.get("DAGSTER_PG_URL", "")
    return url or os.path.realpath(environment.get("DAGSTER_HOME", ""))
