"""The worker rule: pure arithmetic, and control groups as files in a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.workers import (
    GIGABYTE,
    WORKER_MEMORY,
    WorkerConfig,
    WorkerReport,
    choose_workers,
    cpus_within_cgroups,
    get_worker_config,
    memory_within_cgroups,
    recommend,
    worker_report,
)

PLENTY = 64 * GIGABYTE


def test_the_default_limits_are_the_seeds() -> None:
    """The seed's four values, and WorkerConfig's defaults are the same."""
    assert get_worker_config() == {
        "default_workers": 4,
        "max_workers": 8,
        "min_workers": 2,
        "batch_size": 1000,
    }
    assert WorkerConfig(**get_worker_config()) == WorkerConfig()


@pytest.mark.parametrize(
    ("cores", "memory", "config", "workers"),
    [
        (4, PLENTY, WorkerConfig(), 4),
        (1, PLENTY, WorkerConfig(), 2),
        (64, PLENTY, WorkerConfig(), 8),
        (64, PLENTY, WorkerConfig(max_workers=100), 64),
        (8, 3 * WORKER_MEMORY, WorkerConfig(), 3),
        (8, 3 * WORKER_MEMORY - 1, WorkerConfig(), 2),
        (8, 0, WorkerConfig(min_workers=1), 1),
        (1, PLENTY, WorkerConfig(min_workers=1, max_workers=1), 1),
    ],
)
def test_the_rule(cores: int, memory: int, config: WorkerConfig, workers: int) -> None:
    """The smaller of cores and memory, within the limits."""
    assert recommend(cores, memory, config)[0] == workers


def test_the_reason_names_what_binds() -> None:
    """Cores, memory, minimum or maximum: the reason says which."""
    memory = int(22.1 * GIGABYTE)
    assert recommend(2, memory, WorkerConfig())[1] == (
        "2 usable cores; 22.1 GB available memory would allow 88; min_workers 2, max_workers 8"
    )
    assert recommend(8, GIGABYTE, WorkerConfig())[1].startswith(
        "1.0 GB available memory allows 4; 8 usable cores"
    )
    assert recommend(1, memory, WorkerConfig())[1].endswith("raised to the minimum")
    assert recommend(16, memory, WorkerConfig())[1].endswith("held at the maximum")


def test_default_workers_goes_before_the_rule() -> None:
    """A given number is not measured, but is clamped; None asks the rule."""

    def never() -> WorkerReport:
        raise AssertionError("nothing needs measuring")

    def six() -> WorkerReport:
        return WorkerReport(6, 12, 6, PLENTY, PLENTY, 6, "")

    assert choose_workers(WorkerConfig(default_workers=5), 100, never) == 5
    assert choose_workers(WorkerConfig(default_workers=50), 100, never) == 8
    assert choose_workers(WorkerConfig(default_workers=1), 100, never) == 2
    assert choose_workers(WorkerConfig(default_workers=None), 100, six) == 6


def test_never_more_workers_than_chunks_and_never_none() -> None:
    """One chunk is one worker, whatever min_workers says; so is an empty table."""
    assert choose_workers(WorkerConfig(), 3) == 3
    assert choose_workers(WorkerConfig(), 1) == 1
    assert choose_workers(WorkerConfig(), 0) == 1


def test_limits_that_make_no_sense_are_refused() -> None:
    """Zero, a fraction, a boolean, a minimum above the maximum."""
    for wrong in (
        {"max_workers": 0},
        {"min_workers": True},
        {"batch_size": 1.5},
        {"min_workers": 9},
    ):
        with pytest.raises(ConfigurationError):
            WorkerConfig(**wrong)


def _group(root: Path, folder: str, **files: str) -> None:
    path = root / folder
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text + "\n")


def test_cgroup_2_limits_count_at_every_level(tmp_path: Path) -> None:
    """The tightest quota and limit of the group and those above it hold."""
    membership = tmp_path / "cgroup"
    membership.write_text("0::/slice/pod/us\n")
    root = tmp_path / "fs"
    _group(root, "slice/pod/us", cpu__max="max 100000", memory__max="max")
    _group(root, "slice/pod", cpu__max="250000 100000")
    _group(
        root,
        "slice",
        cpu__max="600000 100000",
        memory__max=str(4 * GIGABYTE),
        memory__current=str(3 * GIGABYTE),
        memory__stat=f"anon 5\ninactive_file {GIGABYTE}",
    )
    assert cpus_within_cgroups(16, root, membership) == 2
    assert memory_within_cgroups(PLENTY, PLENTY, root, membership) == (4 * GIGABYTE, 2 * GIGABYTE)


def test_cgroup_1_limits_count(tmp_path: Path) -> None:
    """A container sees its own limits at the top, whatever path the host gave it."""
    membership = tmp_path / "cgroup"
    membership.write_text("4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")
    root = tmp_path / "fs"
    _group(root, "cpu", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    _group(root, "memory", memory__limit_in_bytes=str(GIGABYTE), memory__usage_in_bytes="0")
    assert cpus_within_cgroups(16, root, membership) == 1
    assert memory_within_cgroups(PLENTY, PLENTY, root, membership) == (GIGABYTE, GIGABYTE)


def test_no_limit_leaves_the_machine_as_it_is(tmp_path: Path) -> None:
    """No cgroups at all, "max", -1 and v1's huge number mean the whole machine."""
    nowhere = tmp_path / "nowhere"
    assert cpus_within_cgroups(16, nowhere, nowhere) == 16
    assert memory_within_cgroups(5, 3, nowhere, nowhere) == (5, 3)
    membership = tmp_path / "cgroup"
    membership.write_text("4:memory:/\n1:cpu:/\n")
    root = tmp_path / "fs"
    _group(root, "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    _group(root, "memory", memory__limit_in_bytes="9223372036854771712")
    assert cpus_within_cgroups(16, root, membership) == 16
    assert memory_within_cgroups(5, 3, root, membership) == (5, 3)


def test_this_machine_is_measured() -> None:
    """Real figures are plausible, and the recommendation follows from them."""
    report = worker_report()
    assert 1 <= report.usable_cores <= report.physical_cores <= report.logical_cores
    assert 0 < report.available_memory <= report.total_memory
    assert (report.recommended_workers, report.reason) == recommend(
        report.usable_cores, report.available_memory, WorkerConfig()
    )


def test_importing_the_rule_does_not_load_psutil() -> None:
    """The engine is imported by every process of a scaled-out deployment: keep it small."""
    code = "import sys, sync_assets.engine.workers; sys.exit('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
