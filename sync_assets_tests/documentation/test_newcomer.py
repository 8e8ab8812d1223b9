"""A newcomer's first ten minutes: the ten-minute page, word for word, on a fresh clone.

`make install` on that clone is left out, as it takes minutes: the clone uses these tests' .venv, and
its own code. With SYNC_TEST_NEWCOMER=install it is done too.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sync_assets.private_server.instance import child_environment
from sync_assets.private_server.processes import free_port
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import execute
from sync_assets_tests.fixtures.snippets import ROOT, Place, Snippet, set_up, snippets, tear_down

PAGE = Path("docs/start.md")
INSTALLS = os.environ.get("SYNC_TEST_NEWCOMER") == "install"
MOST_COMMANDS = 10
TEN_MINUTES = 600
TICKED = """{ runsOrError(limit: 20) { ... on Runs { results { status tags { key value } } } } }"""


@pytest.fixture
def place(server18: PostgresServer) -> Iterator[Place]:
    """A clone of this repository, and two databases with tables of somebody else's."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a clone, so it cannot be cloned")
    server18.start()
    # Not pytest's temporary folder: the UI's own server runs under another account if we are root.
    room = Path(tempfile.mkdtemp(prefix="sync-newcomer-"))
    room.chmod(0o711)
    try:
        yield _prepared(room, server18)
    finally:
        tear_down(server18)
        shutil.rmtree(room)


def _prepared(room: Path, server: PostgresServer) -> Place:
    clone = room / "sync-assets"
    # CI's checkout may belong to somebody else, which git refuses unless it is told.
    (room / "gitconfig").write_text("[safe]\n\tdirectory = *\n")
    own = {"GIT_CONFIG_GLOBAL": str(room / "gitconfig"), "HOME": str(room)}
    if not INSTALLS:
        own["PYTHONPATH"] = str(clone)
    environment = child_environment(own, drop=("DAGSTER_", "SYNC_", "PG"))
    subprocess.run(
        ["git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), str(clone)],
        check=True,
        env=environment,
    )
    place = Place(clone, server, environment)
    set_up(place, ROOT / PAGE)
    return place


@pytest.mark.slow
def test_the_ten_minute_page_word_for_word(place: Place) -> None:
    page = list(snippets(place.folder / PAGE, place.folder))
    typed = [command for each in page if each.language == "sh" for command in each.commands]
    assert len(typed) <= MOST_COMMANDS
    assert typed[-1] == "sync-assets verify"
    began = time.monotonic()
    for each in page:
        _follow(each, place)
    assert time.monotonic() - began < TEN_MINUTES
    assert execute(place.url("analytics"), "SELECT count(*) FROM orders") == [(2001,)]


def _follow(snippet: Snippet, place: Place) -> None:
    if "edit" in snippet.notes:
        place.edit(snippet.notes["edit"], snippet.text)
    elif "until" in snippet.notes:
        _until_a_schedule_has_ticked(snippet.text, place)
    elif snippet.language == "sh":
        ended = place.shell(_without_installing(snippet.text, place.folder))
        assert ended.returncode == 0, f"{snippet.name}:\n{ended.stdout}{ended.stderr}"


def _without_installing(text: str, clone: Path) -> str:
    if "make install" in text and not INSTALLS:
        (clone / ".venv").symlink_to(Path(sys.executable).parent.parent)
        return text.replace("make install\n", "")
    return text


def _until_a_schedule_has_ticked(text: str, place: Place) -> None:
    """Run the UI until a run that a schedule launched has succeeded and brought a new row."""
    execute(place.url("shop"), "INSERT INTO orders VALUES (9001, 1, 'new', 1)")
    port = free_port()
    command = place.real(text).replace("3000", str(port))
    with (place.folder / "ui.log").open("w") as log:
        process = subprocess.Popen(
            ["bash", "-c", f". ./exported\nexec {command}"],
            cwd=place.folder,
            env=place.environment,
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + 240
            while not _ticked(port):
                said = (place.folder / "ui.log").read_text()[-3000:]
                assert process.poll() is None, f"the UI ended:\n{said}"
                assert time.monotonic() < deadline, f"no schedule ticked:\n{said}"
                time.sleep(1)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    assert execute(place.url("analytics"), "SELECT status FROM orders WHERE id = 9001") == [
        ("new",)
    ]


def _ticked(port: int) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": TICKED}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            runs: list[dict[str, Any]] = json.load(answer)["data"]["runsOrError"]["results"]
    except OSError:
        return False
    return any(
        run["status"] == "SUCCESS"
        and any(tag["key"] == "dagster/schedule_name" for tag in run["tags"])
        for run in runs
    )
