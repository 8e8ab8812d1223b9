"""Ask Dagster's home what hinders the tables, and mend what is safe to mend."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from sync_assets.assets import specs
from sync_assets.automation.home import HomeLook, every_op
from sync_assets.automation.switches import switch_on
from sync_assets.config.model import SyncedTable
from sync_assets.definitions import load_tables
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.holders import end_silent
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.hindrances.circumstances import Failures, Home, Trouble
from sync_assets.hindrances.kinds import FIX
from sync_assets.hindrances.record import recorded
from sync_assets.hindrances.telling import Memory
from sync_assets.launch.instance import (
    FILES,
    BrokenHome,
    instance_to_read,
    mend_home,
    opened_instance,
)
from sync_assets.launch.other_homes import other_homes
from sync_assets.runs.home import find_home
from sync_assets.runs.in_flight import SILENCE, end_dead_runs
from sync_assets.runs.pools import free_of_ended


@dataclass(frozen=True, slots=True)
class Part:
    """Tables that share their connections, and where their target is."""

    tables: Sequence[SyncedTable]
    target_url: DatabaseOrUrl


@dataclass(frozen=True, slots=True)
class Asked:
    """What Dagster's home says of a part, and what its sensors have left there."""

    home: Home
    recorded: Memory = field(default_factory=dict)
    failures: Failures = field(default_factory=dict)


def ask(place: Path, parts: Sequence[Part]) -> list[Asked]:
    """Ask the home that a run would use, of each part; one that does not open is what is found.

    Where there is none yet, none is made.
    """
    try:
        with instance_to_read() as instance:
            return [_asked(instance, place, part) for part in parts]
    except SyncError as error:
        return [Asked(Home([_broken(error, part)])) for part in parts]


def _asked(instance: dg.DagsterInstance, place: Path, part: Part) -> Asked:
    look = _look(instance, place, part)
    home = look.from_outside()
    troubles = [*home.troubles, *_other_homes(part)]
    found = dataclasses.replace(home, troubles=troubles)
    return Asked(found, recorded(instance, part.tables), look.failures())


def _look(instance: dg.DagsterInstance, place: Path, part: Part) -> HomeLook:
    repository, location = load_tables(place).get_repository_def(), specs.code_location(os.environ)
    ops = every_op(part.tables, part.target_url)
    return HomeLook(instance, repository, location, part.tables, ops)


def _broken(error: SyncError, part: Part) -> Trouble:
    command = FIX if isinstance(error, BrokenHome) else ""
    targets = [each.table.target for each in part.tables]
    return Trouble("home_broken", error.message, error.remedy, targets, "", command)


def _other_homes(part: Part) -> Iterator[Trouble]:
    targets, ours = [each.table.target for each in part.tables], str(find_home(os.environ))
    for other in other_homes(ours, os.environ):
        what = f"process {other.pid} ({other.command}) records its runs in {other.home},"
        what += f" and this command in {ours}"
        mend = "Let both have one DAGSTER_HOME: neither sees the other's runs, pools and switches."
        yield Trouble("homes_differ", what, mend, targets, other.home)


def mend(place: Path, part: Part, kinds: AbstractSet[str]) -> None:
    """Mend hindrances of these kinds, where that is safe without asking; raises SyncError."""
    if "home_broken" in kinds:
        _mend_home()
    if "hung" in kinds:
        end_silent(part.target_url, [each.table.target for each in part.tables], SILENCE)
    with opened_instance() as instance:
        look = _look(instance, place, part)
        if "run_dead" in kinds:
            end_dead_runs(instance, look.part)
        if "pool_full" in kinds:
            for pool in {specs.pool(each) for each in part.tables}:
                free_of_ended(instance, pool)
        if kinds & {"switched_off", "unwatched"}:
            switch_on(instance, look.location, set(look.off()))


def _mend_home() -> None:
    """Mend the home's files until it opens, or says something else."""
    for _ in FILES:
        try:
            with opened_instance():
                return
        except BrokenHome as broken:  # noqa: PERF203 (one file after the other)
            mend_home(broken)
