"""Connections through a bastion: one tunnel, what becomes of it, and what is said where there is none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from psycopg2.extensions import parse_dsn

from sync_assets.engine import Database
from sync_assets.engine.errors import (
    ConfigurationError,
    ConnectionFailed,
    ConnectionLost,
    SyncError,
)
from sync_assets.engine.postgres.access import tunnel
from sync_assets.engine.postgres.access.tunnels import end_tunnels
from sync_assets.engine.postgres.connection import Sessions, ask
from sync_assets.engine.postgres.session import Cursor, row
from sync_assets.private_server.server import PostgresServer, free_port
from sync_assets_tests.fixtures.bastion import Bastion, running_sshd, tunnels
from sync_assets_tests.fixtures.guarded import Token
from sync_assets_tests.fixtures.pair import eventually


def pid(cursor: Cursor) -> int:
    found: int = row(cursor, "SELECT pg_backend_pid()")[0]
    return found


@pytest.fixture
def database(guarded: PostgresServer, bastion: Bastion) -> Database:
    """A database behind the bastion."""
    return Database(guarded.tcp_url(), ssh=bastion.name)


def test_all_connections_share_one_tunnel(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: ask(database, pid), range(16)))) == 16
    assert len(tunnels()) == 1


def test_what_a_server_sees_is_the_bastion_and_what_libpq_checks_the_database_s_name(
    database: Database,
) -> None:
    sessions = Sessions(database, database)
    with sessions.connected("source") as connection:
        seen = connection.info.dsn_parameters
        assert seen["host"] == "127.0.0.1"
        assert seen["hostaddr"] == "127.0.0.1"
        assert seen["port"] != parse_dsn(database.url)["port"]
    named = replace(database, url=database.url.replace("@127.0.0.1", "@localhost"))
    with Sessions(named, named).connected("source") as connection:
        assert connection.info.dsn_parameters["host"] == "localhost"


def test_a_destination_may_be_written_as_a_url(database: Database, bastion: Bastion) -> None:
    bastion.host("127.0.0.1")
    assert ask(replace(database, ssh=f"ssh://127.0.0.1:{bastion.port}"), pid)


def test_a_statement_is_cancelled_through_the_tunnel(database: Database) -> None:
    sessions = Sessions(database, database)
    with sessions.connected("source") as connection, ThreadPoolExecutor(1) as pool:
        cursor = connection.cursor()
        asleep = pool.submit(cursor.execute, "SELECT pg_sleep(60)")
        assert eventually(lambda: not asleep.done())
        while not asleep.done():
            sessions.cancel()
        assert "canceling statement" in str(asleep.exception())


def test_a_tunnel_that_has_ended_is_opened_anew(database: Database) -> None:
    ask(database, pid)
    (first,) = tunnels()
    first.kill()
    assert eventually(lambda: tunnels() == [])
    assert ask(database, pid)
    assert tunnels() != [first]


def test_a_tunnel_that_ends_under_a_connection_is_what_is_said(database: Database) -> None:
    def cut(cursor: Cursor) -> int:
        for each in tunnels():
            each.kill()
        return pid(cursor)

    with pytest.raises(ConnectionLost, match="the SSH tunnel to the source: ssh to bastion has"):
        ask(database, cut)


def test_what_was_said_of_one_connection_is_no_reason_for_the_end(bastion: Bastion) -> None:
    port = free_port()
    closed = Database(f"postgresql://u@127.0.0.1:{port}/d", ssh=bastion.name)
    with pytest.raises(ConnectionLost, match="bastion does not reach"):
        ask(closed, pid)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", port))
        listening.listen()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, closed, pid)
            with listening.accept()[0] as accepted:
                accepted.recv(1)
                for each in tunnels():
                    each.kill()
                failure = str(asked.exception())
    assert "ssh to bastion has ended" in failure


def test_a_token_is_renewed_behind_a_bastion(token: Token, bastion: Bastion) -> None:
    database = replace(token.database(token.server.url()), ssh=bastion.name)
    ask(database, pid)
    token.renew()
    assert ask(database, pid)
    assert token.asked == 2


CONNECTED = """
import sys, time
from sync_assets.engine import Database
from sync_assets.engine.postgres.connection import Sessions
database = Database(sys.argv[1], ssh="bastion")
with Sessions(database, database).connected("source"):
    print("connected", flush=True)
    {then}
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
def test_a_tunnel_ends_with_the_process_that_opened_it(
    guarded: PostgresServer, bastion: Bastion, how: signal.Signals | None
) -> None:
    script = CONNECTED.format(then="time.sleep(600)" if how else "pass")
    with subprocess.Popen(
        [sys.executable, "-c", script, guarded.tcp_url()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        # Its shell, and ssh below it.
        begun = psutil.Process(process.pid).children(recursive=True) if how else []
        assert how is None or "ssh" in {each.name() for each in begun}
        if how:
            process.send_signal(how)
    assert eventually(lambda: not any(map(is_running, begun)), seconds=10)


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_forked_process_has_a_tunnel_of_its_own_and_leaves_ours(database: Database) -> None:
    ask(database, pid)
    (ours,) = tunnels()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ask(database, pid)
            code = len(tunnels())
            end_tunnels()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert tunnels() == [ours]
    assert ask(database, pid)


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for as long as a bastion may take."""
    monkeypatch.setattr(tunnel, "CONNECT_TIMEOUT", 1)


@pytest.mark.parametrize(
    ("lines", "kind", "said", "remedy"),
    [
        (
            ["UserKnownHostsFile /dev/null"],
            ConnectionFailed,
            "the host key of this is not known here",
            "accept it: ssh this",
        ),
        (
            ["UserKnownHostsFile {folder}/other_hosts"],
            ConnectionFailed,
            "the host key of this is another than known_hosts has",
            "ssh-keygen -R",
        ),
        (["IdentityFile {folder}/other_key"], ConnectionFailed, "this refuses our key", "ssh-add"),
        (["HostName no.such.host.invalid"], SyncError, "resol", "Host of ~/.ssh/config|again"),
        (["Port 1"], ConnectionLost, "nobody answers SSH at this", "that its sshd runs"),
        (["Port {silent}"], ConnectionLost, "the SSH connection to this does not", "Run it again"),
        (["Nonsense yes"], ConfigurationError, "does not take its configuration", "ssh -G this"),
    ],
    ids=["unknown", "changed", "refused key", "no host", "no sshd", "silent", "bad configuration"],
)
@pytest.mark.usefixtures("_impatient")
def test_each_way_in_which_ssh_fails_is_told_with_its_remedy(
    database: Database,
    bastion: Bastion,
    lines: list[str],
    kind: type[SyncError],
    said: str,
    remedy: str,
) -> None:
    other = (bastion.folder / "other_key.pub").read_text()
    (bastion.folder / "other_hosts").write_text(f"[127.0.0.1]:{bastion.port} {other}")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        places = {"folder": bastion.folder, "silent": silent.getsockname()[1]}
        bastion.host("this", *(line.format(**places) for line in lines))
        with pytest.raises(kind, match=said) as raised:
            ask(replace(database, ssh="this"), pid)
    text = str(raised.value)
    assert text.startswith("the SSH tunnel to the source: ")
    assert raised.match(remedy)
    assert "\n" not in text
    assert tunnels() == []


def test_a_bastion_that_never_lets_in_is_given_up(
    database: Database, bastion: Bastion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel, "TIME_OUT", 0.5)
    bastion.host("this", "ProxyCommand sleep 600")
    with pytest.raises(ConnectionLost, match=r"this was not there within 0 s|within \d"):
        ask(replace(database, ssh="this"), pid)
    assert eventually(lambda: tunnels() == [])


def test_a_bastion_that_may_not_forward_says_so(database: Database, bastion: Bastion) -> None:
    with running_sshd("PermitOpen 127.0.0.1:1") as strict:
        strict.host("strict")
        bastion.host(
            "strict",
            f"Port {strict.port}",
            f"IdentityFile {strict.folder}/key",
            f"UserKnownHostsFile {strict.folder}/known_hosts",
        )
        with pytest.raises(
            ConnectionFailed, match=r"strict does not forward to 127.0.0.1:"
        ) as told:
            ask(replace(database, ssh="strict"), pid)
    assert told.match("AllowTcpForwarding yes")


def test_a_database_that_the_bastion_does_not_reach_is_named(bastion: Bastion) -> None:
    port = free_port()
    database = Database(f"postgresql://u@127.0.0.1:{port}/d", ssh=bastion.name)
    with pytest.raises(ConnectionLost, match=f"bastion does not reach 127.0.0.1:{port}"):
        ask(database, pid)
    unknown = Database("postgresql://u@no.such.host.invalid/d", ssh=bastion.name)
    with pytest.raises(ConnectionFailed, match=r"bastion knows no host of no.such.host.invalid:5"):
        ask(unknown, pid)


def test_a_server_s_own_refusal_is_told_as_without_a_tunnel(database: Database) -> None:
    with pytest.raises(ConnectionFailed, match='database "nowhere" does not exist'):
        ask(replace(database, url=database.url.removesuffix("postgres") + "nowhere"), pid)


def test_where_there_is_no_ssh_it_is_told_how_to_get_one(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"there is no ssh.*openssh-client"):
        ask(database, pid)


@pytest.mark.parametrize(
    ("url", "ssh", "said"),
    [
        ("postgresql://u@h/d", "-oProxyCommand=reboot", "cannot be reached through SSH at '-oP"),
        ("postgresql://u@h/d", "bastion reboot", "cannot be reached through SSH at 'bastion r"),
        ("postgresql:///d", "bastion", "has no host for an SSH tunnel"),
        ("postgresql:///d?host=/run/postgresql", "bastion", "has no host for an SSH tunnel"),
        ("postgresql://u@one,two/d", "bastion", "names several servers, and an SSH tunnel leads"),
    ],
)
def test_what_leads_nowhere_is_refused_before_ssh_is_run(url: str, ssh: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ask(Database(url, ssh=ssh), pid)
