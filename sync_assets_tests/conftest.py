"""What every test gets: no configuration from outside, and the servers of `fixtures`."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from sync_assets_tests.fixtures.ways import TURNS, is_of_these_ways, take_turns

pytest_plugins = [
    "sync_assets_tests.fixtures.servers",
    "sync_assets_tests.fixtures.pair",
    "sync_assets_tests.fixtures.guarded",
    "sync_assets_tests.fixtures.bastion",
    "sync_assets_tests.fixtures.tls",
    "sync_assets_tests.fixtures.replicated",
    "sync_assets_tests.fixtures.inbox",
    "sync_assets_tests.fixtures.live",
    "sync_assets_tests.fixtures.ticks",
]

# What tests import stays: looking for garbage among it took a fifth of what collecting them lasts.
gc.set_threshold(50_000)

# A shell starts what runs in the background with SIGINT ignored, and children inherit that: the
# tests that interrupt a process would interrupt nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOM = 8 * 2**30
"""Bytes: more than all files of servers and Dagster that the workers of two cores ever hold."""


def in_memory(folder: Path = Path("/dev/shm")) -> Path | None:
    """A folder in memory that serves as the temporary one, where there is one with room."""
    if not os.access(folder, os.W_OK) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return None
    free = min(shutil.disk_usage(folder).free, psutil.virtual_memory().available)
    return folder if free > ROOM else None


# Databases come and go by the thousand, and a disk spends longer on their files than we on theirs.
if "TMPDIR" not in os.environ and (memory := in_memory()):
    os.environ["TMPDIR"] = str(memory)
    tempfile.tempdir = None

OURS = ("DAGSTER_", "SYNC_", "PG")
FOR_TESTS = "SYNC_TEST_"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneWorkerForWhatIsShared:
    """Give each worker its next test, but to one all tests that share what takes long to set up."""
    return OneWorkerForWhatIsShared(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores: many tests wait for a process or for a clock's next minute."""
    return 2 + len(psutil.Process().cpu_affinity() or [0])


class OneWorkerForWhatIsShared(LoadScopeScheduling):  # type: ignore[misc]  # not annotated
    """As `--dist loadgroup`, which pytest 9.2's node ids no longer carry."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        if "/live/" in module:
            return "live"
        return module if has_a_fixture_of_its_own(self.config.rootpath / module) else nodeid


@functools.cache
def has_a_fixture_of_its_own(module: Path) -> bool:
    """Whether a module sets something up once for all its tests."""
    return 'scope="module"' in module.read_text()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no worker waits for another's at the end."""
    kept = {
        item.nodeid
        for item in items
        if is_of_these_ways(_parameters(item), 15 if item.get_closest_marker("from_15") else 0)
    }
    if TURNS and not any("::" in each for each in config.args):
        kept = set(take_turns(kept))
    config.hook.pytest_deselected(items=[each for each in items if each.nodeid not in kept])
    items[:] = [each for each in items if each.nodeid in kept]
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _parameters(item: pytest.Item) -> Iterable[object]:
    """The values of a test's parameters."""
    found: dict[str, object] = getattr(getattr(item, "callspec", None), "params", {})
    return found.values()


@pytest.fixture(scope="session")
def _state_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, _state_files: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(_state_files))
    for name in list(os.environ):
        if name.startswith(OURS) and not name.startswith(FOR_TESTS):
            monkeypatch.delenv(name)
