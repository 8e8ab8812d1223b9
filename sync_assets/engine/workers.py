"""How many workers export one table: cores, affinity, memory and container limits.

The seed's rule: as many workers as there are physical cores, fewer where memory is short, within
min_workers and max_workers. A worker is a thread that waits for COPY; the servers on both ends do
the work, so that more workers than cores would only queue up where they share the machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sync_assets.engine.errors import ConfigurationError

WORKER_MEMORY = 256 * 1024**2
"""Bytes a worker may need: its buffers, four widest rows, and a server process on either end."""

GIGABYTE = 1024**3
CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
UNLIMITED = 2**60
"""cgroup v1 says "no limit" with a number near 2^63; nothing real is above this."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Limits for the workers that export one table, and the rows a batch file holds at least."""

    default_workers: int | None = 4
    max_workers: int = 8
    min_workers: int = 2
    batch_size: int = 1000

    def __post_init__(self) -> None:
        for name in ("default_workers", "max_workers", "min_workers", "batch_size"):
            value = getattr(self, name)
            if value is None and name == "default_workers":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(
                    f"{name} is {value!r}", remedy="It must be a whole number from 1 up."
                )
        if self.min_workers > self.max_workers:
            raise ConfigurationError(
                f"min_workers {self.min_workers} is above max_workers {self.max_workers}",
                remedy="Set min_workers to at most max_workers.",
            )

    @classmethod
    def of(cls, workers: WorkerConfig | int | None) -> WorkerConfig:
        """Limits from a number of workers; the usual ones for None."""
        if isinstance(workers, WorkerConfig):
            return workers
        if workers is None:
            return cls()
        return cls(
            default_workers=workers, min_workers=min(workers, 2), max_workers=max(workers, 8)
        )


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What the machine offers, in cores and bytes, and how many workers follow from it."""

    physical_cores: int
    logical_cores: int
    usable_cores: int
    total_memory: int
    available_memory: int
    recommended_workers: int
    reason: str


def get_worker_config() -> dict[str, int]:
    """Return the default worker limits by name, as the seed has them."""
    return {"default_workers": 4, "max_workers": 8, "min_workers": 2, "batch_size": 1000}


def recommend(usable_cores: int, available_memory: int, config: WorkerConfig) -> tuple[int, str]:
    """Return the number of workers for these cores and bytes, and the reason for it."""
    by_memory = available_memory // WORKER_MEMORY
    wanted = min(usable_cores, by_memory)
    workers = min(max(wanted, config.min_workers), config.max_workers)
    cores = f"{usable_cores} usable core{'s' if usable_cores != 1 else ''}"
    memory = f"{available_memory / GIGABYTE:.1f} GB available memory"
    if by_memory < usable_cores:
        found = f"{memory} allows {by_memory}; {cores}"
    else:
        found = f"{cores}; {memory} would allow {by_memory}"
    bound = ""
    if workers > wanted:
        bound = ", raised to the minimum"
    elif workers < wanted:
        bound = ", held at the maximum"
    limits = f"min_workers {config.min_workers}, max_workers {config.max_workers}"
    return workers, f"{found}; {limits}{bound}"


def worker_report(config: WorkerConfig = WorkerConfig()) -> WorkerReport:
    """Measure this machine, as far as this process may use it, and recommend a worker count."""
    # psutil is loaded here, so that importing the engine stays small.
    import psutil

    logical = psutil.cpu_count(logical=True) or 1
    physical = psutil.cpu_count(logical=False) or logical
    memory = psutil.virtual_memory()
    total, available = memory_within_cgroups(memory.total, memory.available)
    usable = max(1, min(physical, _affinity(logical), cpus_within_cgroups(logical)))
    workers, reason = recommend(usable, available, config)
    return WorkerReport(physical, logical, usable, total, available, workers, reason)


def choose_workers(
    config: WorkerConfig, chunks: int, report: Callable[[], WorkerReport] | None = None
) -> int:
    """Return how many workers export `chunks` chunks; `default_workers` goes before the rule."""
    workers = config.default_workers
    if workers is None:
        measured = worker_report(config) if report is None else report()
        workers = measured.recommended_workers
    workers = min(max(workers, config.min_workers), config.max_workers)
    return max(1, min(workers, chunks))


def cpus_within_cgroups(cpus: int, root: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return the whole CPUs that the quotas of this process's control groups leave of `cpus`."""
    for folder in _groups("cpu", root, membership):
        quota, period = _quota(folder)
        if quota > 0 and period > 0:
            cpus = min(cpus, max(1, quota // period))
    return cpus


def memory_within_cgroups(
    total: int, available: int, root: Path = CGROUPS, membership: Path = MEMBERSHIP
) -> tuple[int, int]:
    """Return total and available bytes within the limits of this process's control groups."""
    for folder in _groups("memory", root, membership):
        limit, used = _memory_limit(folder)
        if limit is not None and limit < UNLIMITED:
            total = min(total, limit)
            available = max(0, min(available, limit - used))
    return total, available


def _affinity(logical: int) -> int:
    # Only Linux can pin a process to some CPUs in a way that Python can ask for.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return logical


def _groups(controller: str, root: Path, membership: Path) -> Iterator[Path]:
    """Yield this process's groups for a controller up to the root: each may set a limit."""
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        # Inside a container the path is often the host's, and the group's own files are at the
        # top; folders that don't exist read as having no limit.
        group = Path(path.lstrip("/"))
        yield from (top / part for part in (group, *group.parents))


def _quota(folder: Path) -> tuple[int, int]:
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    if not period:
        quota = _read(folder / "cpu.cfs_quota_us")
        period = _read(folder / "cpu.cfs_period_us")
    return _number(quota) or 0, _number(period) or 0


def _memory_limit(folder: Path) -> tuple[int | None, int]:
    for limit_file, used_file, cache_key in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit = _number(_read(folder / limit_file))
        if limit is not None:
            used = _number(_read(folder / used_file)) or 0
            # File pages that nobody uses are counted as used, but given back on demand.
            return limit, max(0, used - _field(_read(folder / "memory.stat"), cache_key))
    return None, 0


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return _number(value) or 0
    return 0


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        # "max", "" and the like: no limit
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
