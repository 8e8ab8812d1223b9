"""The demo as its user meets it: it ends well, exact, and with nothing left running."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import psycopg2
import pytest

from sync_assets.cli.changing import demo as demo_command
from sync_assets.demo.stage import clear, raised, was_told
from sync_assets.demo.story import Compared, Event, Said, Synced, tell
from sync_assets.private_server.processes import free_port

FLIP = (
    "UPDATE sym_v1.sym_company SET name = overlay(name placing 'Q' from 1 for 1) WHERE name = '3M'"
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder below which no process may work when the test ends."""
    yield tmp_path
    left = _left_behind(tmp_path)
    for process in left:
        process.kill()
    assert left == []


def test_the_demo_ends_exact_and_leaves_nothing(folder: Path) -> None:
    before = _modes(folder.parent)
    done = _demo(folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("rows, equal.") == 3
    assert "sync-assets demo --serve" in done.stdout
    assert [path.name for path in folder.iterdir()] == [".demo"]
    assert _modes(folder.parent) == before
    assert _left_behind(folder) == []


def test_the_story_moves_what_changed_and_only_that(folder: Path) -> None:
    with raised(folder / ".demo") as stage:
        clear(stage)
        events = list(tell(stage))
        assert not was_told(stage)
    syncs = [event for event in events if isinstance(event, Synced)]
    companies = [
        next(r for r in sync.receipts if r["source"] == "sym_v1.sym_company") for sync in syncs
    ]
    late = _number(r"updates (\d+) companies", events)
    assert [r["rows_inserted"] for r in companies] == [companies[0]["rows_exported"], 0, 0]
    assert companies[1]["rows_updated"] == _number(r"(\d+) companies updated", events)
    assert companies[2]["rows_updated"] == late > 0
    # What a mark at max(xmin) would lose: the late rows are older than what was read before them.
    assert _number(r"Transaction (\d+) commits", events) < companies[1]["source_max_xmin"]
    compared = [
        each for event in events if isinstance(event, Compared) for each in event.comparisons
    ]
    assert compared
    assert all(each.equal for each in compared)


def test_one_flipped_byte_fails_the_demo(folder: Path) -> None:
    with raised(folder / ".demo") as stage:
        clear(stage)
        with pytest.raises(demo_command.DatabasesDiffer) as caught:
            demo_command.show(_flip_after_sync(tell(stage), stage.target_url))
    assert caught.value.table == "sym_v1.sym_company"
    assert "1 of 4 tables differ" in str(caught.value)


def test_the_folder_belongs_to_one_process(folder: Path) -> None:
    with raised(folder / ".demo"):
        done = _demo(folder)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: another process works in")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    with _started(folder, "demo") as process:
        _wait_for_line(process, "First sync")
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.strip() == "Interrupted."


@pytest.mark.slow
def test_serve_tells_once_and_leaves_nothing_however_it_ends(folder: Path) -> None:
    # One test, so that the story is told once: Ctrl-C, then a Dagster that was killed.
    lines, errors, code = _serve_until(folder, lambda process: process.send_signal(signal.SIGINT))
    assert (lines.count("equal."), errors, code) == (3, "", 0)
    lines, errors, code = _serve_until(folder, _kill_dagster)
    assert (lines.count("equal."), code) == (0, 1)
    assert errors.startswith("Error: dagster dev ended by itself (SIGKILL)")


def _serve_until(
    folder: Path, end: Callable[[subprocess.Popen[str]], None]
) -> tuple[str, str, int | None]:
    port = free_port()
    with _started(folder, "demo", "--serve", "--port", str(port)) as process:
        lines = _wait_for_line(process, "Dagster UI: ")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info") as answer:
            assert answer.status == 200
        end(process)
        _, errors = process.communicate(timeout=120)
    assert _left_behind(folder) == []
    return lines, errors, process.returncode


def _kill_dagster(process: subprocess.Popen[str]) -> None:
    children = psutil.Process(process.pid).children()
    (dagster,) = (child for child in children if "dev" in child.cmdline())
    dagster.kill()


def test_a_busy_port_is_one_error_before_anything_starts(folder: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        for words in (("demo", "--serve"), ("ui",)):
            with _started(folder, *words, "--port", str(port)) as process:
                _, errors = process.communicate(timeout=120)
            assert process.returncode == 2
            assert len(errors.splitlines()) == 1
            assert f"port {port}" in errors
    assert not (folder / ".demo").exists()


def _flip_after_sync(events: Iterator[Event], url: str) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Synced):
            with closing(psycopg2.connect(url)) as session, session, session.cursor() as cursor:
                cursor.execute(FLIP)
                assert cursor.rowcount == 1
        yield event


def _number(pattern: str, events: list[Event]) -> int:
    text = " ".join(event.text for event in events if isinstance(event, Said))
    match = re.search(pattern, text)
    assert match, text
    return int(match[1])


def _environment() -> dict[str, str]:
    ours = {n: v for n, v in os.environ.items() if not n.startswith(("SYNC_", "DAGSTER_", "PG"))}
    # What another project's variables must not do: send the demo to somebody's database.
    return {**ours, "SYNC_TARGET_URL": "postgresql://nobody@127.0.0.1:1/nowhere"}


def _demo(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sync_assets.cli", "demo"],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def _started(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "sync_assets.cli", *words],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _wait_for_line(process: subprocess.Popen[str], start: str) -> str:
    lines = ""
    assert process.stdout is not None
    for line in process.stdout:
        lines += line
        if line.startswith(start):
            return lines
    raise AssertionError(f"no line starts with {start!r}:\n{lines}")


def _left_behind(folder: Path) -> list[psutil.Process]:
    """Every process that works in this folder, or names it, after a moment to end."""
    left = list(psutil.process_iter())
    deadline = time.monotonic() + 60
    while left and time.monotonic() < deadline:
        left = [process for process in left if _works_in(process, folder)]
        time.sleep(0.1)
    return left


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.cwd().startswith(str(folder)) or str(folder) in " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _modes(folder: Path) -> dict[Path, int]:
    """Owner and mode of a folder and everything above it."""
    return {path: path.stat().st_mode for path in (folder, *folder.parents)}
