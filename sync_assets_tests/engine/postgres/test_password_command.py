"""A password that a command prints: when it is run, when again, and what is said where it fails."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sync_assets.engine import Database
from sync_assets.engine.errors import (
    ConfigurationError,
    ConnectionFailed,
    ConnectionLost,
    SyncError,
)
from sync_assets.engine.postgres.access import password
from sync_assets.engine.postgres.connection import ask
from sync_assets.engine.postgres.session import Cursor, row
from sync_assets_tests.fixtures.guarded import Token
from sync_assets_tests.fixtures.pair import eventually, execute

SECRET = "s3cr3t-t0ken"


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    """Begin each test as a new process does."""
    password._forget()
    yield
    password._forget()


def who(cursor: Cursor) -> str:
    name: str = row(cursor, "SELECT session_user::text")[0]
    return name


def test_many_connections_share_what_was_printed_once(token: Token) -> None:
    database = token.database(token.server.url())
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: ask(database, who), range(16)))
    assert found == {token.role}
    assert token.asked == 1


def test_a_password_that_the_server_refuses_is_renewed_once_for_all_threads(token: Token) -> None:
    database = token.database(token.server.url())
    ask(database, who)
    token.renew()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: ask(database, who), range(16))) == {token.role}
    assert token.asked == 2


def test_a_password_that_was_valid_until_now_is_renewed(token: Token) -> None:
    database = token.database(token.server.url())
    ask(database, who)
    execute(token.server.url(), f"ALTER ROLE {token.role} VALID UNTIL '2001-01-01'")
    with pytest.raises(ConnectionFailed, match="what the password command prints"):
        ask(database, who)
    # Asked once more, it printed what was refused: there was nothing else to try.
    assert token.asked == 2
    execute(token.server.url(), f"ALTER ROLE {token.role} VALID UNTIL 'infinity'")
    assert ask(database, who) == token.role


def test_a_password_past_its_lifetime_is_printed_anew(token: Token) -> None:
    database = replace(token.database(token.server.url()), password_lifetime=0.0)
    assert [ask(database, who) for _ in range(3)] == [token.role] * 3
    assert token.asked == 3


def test_a_password_may_hold_any_character(token: Token) -> None:
    odd = 'a\'b "c" \\d %40 \t ü'
    execute(token.server.url(), f"ALTER ROLE {token.role} PASSWORD {adapt_text(odd)}")
    (token.folder / "token").write_text(f"{odd}\r\nnot this\n")
    assert ask(token.database(token.server.url()), who) == token.role


def adapt_text(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def test_a_server_that_is_not_there_costs_no_second_password(token: Token) -> None:
    token.server.stop()
    with pytest.raises(ConnectionLost):
        ask(token.database("dbname=postgres"), who)
    assert token.asked == 1


def test_a_forked_process_asks_for_itself(token: Token) -> None:
    ask(token.database(token.server.url()), who)
    child = os.fork()
    if child == 0:
        os._exit(len(password.known_passwords()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("command", "kind", "said"),
    [
        ("no-such-program --token", ConfigurationError, "no-such-program: No such file"),
        ("/dev/null", ConfigurationError, "/dev/null: Permission denied"),
        ("echo 'half", ConfigurationError, "no closing quotation"),
        ("true", ConfigurationError, "printed no password"),
        (r"printf '\nlater'", ConfigurationError, "printed no password"),
        (r"printf '\377'", ConfigurationError, "printed no password"),
        ("sh -c 'exit 3'", ConnectionFailed, "of the source failed with exit code 3. Run it"),
        ("sh -c 'kill -9 $$'", ConnectionFailed, "was ended by signal 9"),
        (
            f"sh -c 'echo {SECRET}; echo earlier >&2; echo session expired: {SECRET} >&2; exit 1'",
            ConnectionFailed,
            "exit code 1: session expired: ***.",
        ),
    ],
)
def test_what_goes_wrong_is_said_without_what_was_printed(
    command: str, kind: type[SyncError], said: str
) -> None:
    with pytest.raises(kind) as raised:
        ask(Database("postgresql://u@127.0.0.1:1/d", command), who)
    assert said in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "earlier" not in str(raised.value)


def test_the_last_line_of_a_command_is_bounded() -> None:
    with pytest.raises(ConnectionFailed) as raised:
        ask(Database("postgresql://u@127.0.0.1:1/d", "sh -c 'seq -s, 9999 >&2; exit 1'"), who)
    assert len(str(raised.value)) < 400
    assert "…" in str(raised.value)


def test_a_command_that_takes_too_long_is_ended_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password, "TIME_OUT", 0.5)
    file = tmp_path / "pid"
    with pytest.raises(ConnectionLost, match="printed nothing within"):
        ask(Database("dbname=d", f"sh -c 'sleep 600 & echo $! > {file}; wait'"), who)
    started = int(file.read_text())
    assert eventually(lambda: not is_running(started))


def is_running(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_a_command_gets_no_password_of_ours(
    token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SYNC_EU_URL", "SYNC_ALERT_SMTP", "DAGSTER_PG_PASSWORD", "PGPASSWORD"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("AWS_PROFILE", "shop")
    seen = tmp_path / "seen"
    look = f"import os; open({str(seen)!r}, 'w').write(str(dict(os.environ))); print(open({str(token.folder / 'token')!r}).read())"
    command = shlex.join([sys.executable, "-c", look])
    ask(Database(token.url(token.server.url()), command), who)
    assert SECRET not in seen.read_text()
    assert "'AWS_PROFILE': 'shop'" in seen.read_text()


def test_a_password_in_the_url_beside_a_command_is_refused(token: Token) -> None:
    url = token.url(token.server.url(), SECRET)
    with pytest.raises(ConfigurationError, match="source URL has a password, and there is") as told:
        ask(Database(url, token.command), who)
    assert SECRET not in str(told.value)
    assert token.asked == 0


def test_neither_the_url_nor_the_command_is_shown() -> None:
    assert SECRET not in repr(Database(f"postgresql://u:{SECRET}@h/d", f"echo {SECRET}"))
