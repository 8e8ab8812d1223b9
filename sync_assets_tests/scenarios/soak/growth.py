"""What may grow with time: measured at rest after each event, and how fast it grew."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression
from types import MappingProxyType

import psutil

from sync_assets_tests.fixtures.pair import execute
from sync_assets_tests.scenarios.soak.stage import Stage

HOUR = 3600.0
MEGABYTE = 1e6
CATALOG = "SELECT sum(reltuples) FROM (SELECT count(*) AS reltuples FROM {}) AS counted"
ALLOWED: Mapping[str, float] = MappingProxyType(
    {
        "MB of Dagster's storage": 150.0,
        "MB of the home": 60.0,
        "MB of the target's database": 10.0,
        "MB of batch files": 0.0,
        "rows of the target's catalog": 60.0,
        "rows of our own state": 60.0,
        "connections to the source": 0.5,
        "connections to the target": 0.5,
        "connections to Dagster's storage": 4.0,
        "MB of memory of the daemon": 60.0,
        "MB of memory of the webserver": 60.0,
        "MB of memory of the code server": 60.0,
        "open files of the daemon": 12.0,
        "open files of the webserver": 12.0,
        "open files of the code server": 12.0,
    }
)
"""By how much each may grow in an hour.

Dagster keeps the events of each run until somebody deletes the run; tables that were added are in
the catalog of the target and in our state.
"""

WARM = 600.0
"""Seconds after which what is loaded once has been, and as many receipts are kept as may be."""

AT_LEAST = 1800.0
"""Seconds that a series has to span for its rate to mean something."""


@dataclass(frozen=True)
class Sample:
    """The sizes at one moment, and which processes they are of."""

    at: float
    sizes: Mapping[str, float]
    births: Mapping[str, float]


def sample(stage: Stage) -> Sample:
    """Measure everything."""
    sizes, births = dict(_of_servers(stage)), {}
    for name in stage.home.names:
        tree = stage.home.tree(name)
        sizes[f"MB of memory of the {name}"] = sum(_memory(each) for each in tree) / MEGABYTE
        sizes[f"open files of the {name}"] = sum(_files(each) for each in tree)
        births[name] = tree[0].create_time() if tree else 0.0
    sizes["MB of the home"] = _bytes_below(stage.home.dagster_home) / MEGABYTE
    sizes["MB of batch files"] = _bytes_below(stage.home.batch_dir) / MEGABYTE
    return Sample(time.monotonic(), sizes, births)


def _of_servers(stage: Stage) -> Iterator[tuple[str, float]]:
    servers = stage.servers
    size = "SELECT pg_database_size(current_database())"
    (((dagster,),), ((target,),)) = (
        execute(servers.dagster.url("dagster"), size),
        servers.pair.target(size),
    )
    yield "MB of Dagster's storage", dagster / MEGABYTE
    yield "MB of the target's database", target / MEGABYTE
    counted = " + ".join(
        f"(SELECT count(*) FROM pg_catalog.{name})"
        for name in ("pg_class", "pg_attribute", "pg_type", "pg_depend", "pg_index")
    )
    yield "rows of the target's catalog", servers.pair.target(f"SELECT {counted}")[0][0]
    ours = "(SELECT count(*) FROM sync_assets.state) + (SELECT count(*) FROM sync_assets.receipt)"
    yield "rows of our own state", servers.pair.target(f"SELECT {ours}")[0][0]
    for name, server, database in (
        ("the source", servers.primary, "source"),
        ("the target", servers.target, "target"),
        ("Dagster's storage", servers.dagster, "dagster"),
    ):
        # On the two ends whoever looks and writes is a superuser, and no run is.
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND datname = current_database() AND pid <> pg_backend_pid()"
            " AND (usename <> 'postgres' OR datname = 'dagster')"
        )
        yield f"connections to {name}", execute(server.url(database), query)[0][0]


def _memory(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss)
    except psutil.Error:
        return 0.0


def _files(process: psutil.Process) -> int:
    try:
        return process.num_fds()
    except psutil.Error:
        return 0


def _bytes_below(folder: Path) -> int:
    sizes = []
    for path in folder.rglob("*"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # noqa: PERF203 - gone meanwhile
            continue
    return sum(sizes)


def rates(samples: Sequence[Sample]) -> dict[str, tuple[float, float, float | None]]:
    """First and last size of everything, and by how much it grew in an hour, if that can be said.

    Of a process, within the longest of its lives.
    """
    found = {}
    for name in samples[0].sizes if samples else ():
        series = _longest_life(name, samples)
        values = [(each.at, each.sizes[name]) for each in series if name in each.sizes]
        warm = [(at, size) for at, size in values if at >= values[0][0] + WARM]
        slope = None
        if warm and warm[-1][0] - warm[0][0] >= AT_LEAST:
            slope = HOUR * linear_regression(*zip(*warm, strict=True)).slope
        found[name] = (values[0][1], values[-1][1], slope)
    return found


def _longest_life(name: str, samples: Sequence[Sample]) -> Sequence[Sample]:
    owner = name.partition(" of the ")[2] or name
    lives: dict[float, list[Sample]] = {}
    for each in samples:
        lives.setdefault(each.births.get(owner, 0.0), []).append(each)
    return max(lives.values(), key=lambda life: life[-1].at - life[0].at)


def grown_too_fast(samples: Sequence[Sample]) -> list[str]:
    """What grew faster than it may."""
    return [
        f"{name}: {slope:.1f} an hour, {ALLOWED[name]} are allowed"
        for name, (_, _, slope) in rates(samples).items()
        if slope is not None and slope > ALLOWED[name]
    ]
