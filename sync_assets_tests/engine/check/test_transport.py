"""What `check` says of how bytes travel, on connections that are plain, encrypted and verified."""

from __future__ import annotations

import psycopg2.extensions
import pytest

from sync_assets.engine import Database
from sync_assets.engine.check.check import check
from sync_assets.engine.check.finding import Finding, Severity
from sync_assets.engine.errors import ConnectionFailed
from sync_assets.engine.postgres.access import transport
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.access.transport import Transport
from sync_assets.engine.postgres.connection import ask
from sync_assets_tests.fixtures.bastion import Bastion
from sync_assets_tests.fixtures.tls import Encrypted

DIRECT = pytest.mark.skipif(
    psycopg2.extensions.libpq_version() < 170000, reason="libpq has it from 17 on"
)


@pytest.fixture
def _network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take 127.0.0.1 for another machine's address: a test has no other machine."""
    monkeypatch.setattr(transport, "is_loopback", lambda _: False)


def seen(source: DatabaseOrUrl, encrypted: Encrypted) -> tuple[Transport, list[Finding]]:
    """What a source's connection has, and what is found of it; the target is behind a socket."""
    found = check(source, encrypted.server.url(), (), max_workers=1)
    assert found.source is not None, found.findings
    assert found.target is not None
    assert found.target.transport == Transport("socket", None, None, "prefer")
    ours = [each for each in found.findings if each.check in ("plain_text", "unverified")]
    return found.source.transport, ours


@pytest.mark.usefixtures("_network")
@pytest.mark.parametrize(
    ("mode", "severity", "said", "header"),
    [
        ("disable", Severity.WARNING, "is not encrypted: whoever listens", "not encrypted"),
        ("prefer", Severity.NOTE, "sslmode=prefer does not verify", "TLSv1.3, not verified"),
        ("require", Severity.NOTE, "sslmode=require does not verify", "TLSv1.3, not verified"),
    ],
)
def test_what_a_network_may_read_or_change_is_found(
    encrypted: Encrypted, mode: str, severity: Severity, said: str, header: str
) -> None:
    its, (found,) = seen(encrypted.url(sslmode=mode), encrypted)
    assert (found.severity, found.where) == (severity, "source")
    assert said in found.what
    assert "sslmode=verify-full" in found.mend
    assert str(its) == header


@pytest.mark.usefixtures("_network")
@pytest.mark.parametrize("mode", ["require", "verify-ca"])
def test_an_authority_alone_proves_no_host(encrypted: Encrypted, mode: str) -> None:
    # libpq takes `require` for `verify-ca` where there is an authority.
    its, (found,) = seen(encrypted.verified(mode), encrypted)
    assert (found.severity, its.verified) == (Severity.NOTE, "authority")
    assert f"sslmode={mode} verifies who has signed" in found.what
    assert str(its) == f"TLSv1.3, verified ({mode})"


@pytest.mark.usefixtures("_network")
def test_a_host_that_is_verified_is_no_finding(encrypted: Encrypted) -> None:
    its, found = seen(encrypted.verified(), encrypted)
    assert found == []
    assert str(its) == "TLSv1.3, verified (verify-full)"


def test_a_socket_and_the_loopback_are_no_finding(encrypted: Encrypted) -> None:
    for url in (encrypted.server.url(), encrypted.url(sslmode="disable"), encrypted.url()):
        assert seen(url, encrypted)[1] == []
    assert seen(encrypted.server.tcp_url() + "?sslmode=disable", encrypted)[0].way == "loopback"


def test_the_name_is_verified_through_a_bastion(encrypted: Encrypted, bastion: Bastion) -> None:
    its, found = seen(Database(encrypted.verified(), ssh=bastion.name), encrypted)
    assert found == []
    assert str(its) == "TLSv1.3, verified (verify-full) through SSH"
    other = Database(encrypted.verified(host="db.internal"), ssh=bastion.name)
    failed = check(other, encrypted.server.url(), (), max_workers=1)
    assert failed.source is None
    assert 'for "localhost" does not match host name "db.internal"' in failed.findings[0].what


def test_what_is_plain_behind_a_bastion_is_a_note(encrypted: Encrypted, bastion: Bastion) -> None:
    database = Database(encrypted.url(sslmode="disable"), ssh=bastion.name)
    its, (found,) = seen(database, encrypted)
    assert (found.severity, its.way) == (Severity.NOTE, "tunnel")
    assert "as far as the bastion" in found.what


@DIRECT
def test_tls_may_begin_without_being_negotiated(direct: Encrypted, bastion: Bastion) -> None:
    url = direct.verified(sslnegotiation="direct")
    its, found = seen(url, direct)
    assert found == []
    assert its == Transport("loopback", "TLSv1.3", "name", "verify-full")
    assert seen(Database(url, ssh=bastion.name), direct)[0].verified == "name"


@DIRECT
def test_a_server_that_wants_to_negotiate_is_told_from_one_that_is_down(
    encrypted: Encrypted,
) -> None:
    url = encrypted.verified(sslnegotiation="direct")
    with pytest.raises(ConnectionFailed, match="Leave sslnegotiation=direct out"):
        ask(url, lambda _: None)


@pytest.mark.parametrize(
    ("address", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_the_loopback_is_told_from_a_network(address: str, *, is_ours: bool) -> None:
    assert transport.is_loopback(address) is is_ours


def test_a_server_that_cannot_be_verified_is_not_connected_to(encrypted: Encrypted) -> None:
    url = encrypted.verified(host="db.internal")
    with pytest.raises(ConnectionFailed, match="does not match host name"):
        ask(url, lambda _: None)
