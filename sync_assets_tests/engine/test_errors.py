"""Errors say what, where and how to mend it, and carry no values."""

from __future__ import annotations

import inspect

import psycopg2
import pytest

from sync_assets.engine import errors
from sync_assets.engine.postgres.access.connect import connect as open_session
from sync_assets.engine.postgres.driver_errors import classify, connect_failure
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import Connect, every_version


def every(cls: type[errors.SyncError]) -> list[type[errors.SyncError]]:
    children = [child for child in cls.__subclasses__() if child.__module__ == errors.__name__]
    return [cls, *(found for child in children for found in every(child))]


@pytest.mark.parametrize("cls", every(errors.SyncError))
def test_every_error_ends_with_its_remedy(cls: type[errors.SyncError]) -> None:
    error = cls("it broke", table="public.orders", phase="merge")
    assert str(error) == f"public.orders (merge): it broke. {inspect.cleandoc(cls.__doc__ or '')}"


@pytest.mark.parametrize("cls", every(errors.SyncError)[1:])
def test_every_error_is_either_transient_or_permanent(cls: type[errors.SyncError]) -> None:
    assert issubclass(cls, errors.TransientError) ^ issubclass(cls, errors.PermanentError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    for cls in every(errors.SyncError):
        assert cls.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cr3t@part@localhost/db",
        "postgresql://u:s3cr3t/part@localhost/db",
        "postgresql://u:s3cr3t#part@localhost/db",
        "postgresql://u:s3cr3t?part@localhost/db",
        "host=localhost password='s3cr3t dbname=x",
        "s3cr3t",
        "mysql://u:s3cr3t@localhost/db",
    ],
)
def test_a_url_that_libpq_would_misread_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(errors.SyncError) as caught:
        open_session(url, "source")
    assert "s3cr3t" not in str(caught.value)
    assert "source" in str(caught.value)


@pytest.mark.parametrize(
    ("said", "kind", "told", "remedy"),
    [
        ("sorry, too many clients already", "ConnectionLost", "is full", "max_connections"),
        (
            "remaining connection slots are reserved for roles with the SUPERUSER attribute",
            "ConnectionLost",
            "is full",
            "max_connections",
        ),
        ("no more connections allowed (max_client_conn)", "ConnectionLost", "is full", "max_wor"),
        ("the database system is starting up", "ConnectionLost", "for now", "once the server"),
        (
            "the database system is not yet accepting connections",
            "ConnectionLost",
            "for now",
            "once",
        ),
        ("the database system is in recovery mode", "ConnectionLost", "for now", "once the"),
        ('role "r" is not permitted to log in', "ConnectionFailed", "let the role in", "LOGIN"),
        (
            'no pg_hba.conf entry for host "::1", user "r", database "d", no encryption',
            "ConnectionFailed",
            "from here",
            "pg_hba.conf must name",
        ),
        ('permission denied for database "d"', "ConnectionFailed", "let the role in", "CONNECT"),
        ('password authentication failed for user "r"', "ConnectionFailed", "connect", "password"),
        ("Connection refused", "ConnectionLost", "cannot connect", "Check host"),
    ],
)
def test_a_server_that_lets_nobody_in_is_told_apart_from_one_that_is_not_there(
    said: str, kind: str, told: str, remedy: str
) -> None:
    place = 'connection to server at "db" (10.0.0.1), port 5432 failed: FATAL:  '
    error = connect_failure(psycopg2.OperationalError(place + said), "source")
    assert (error.kind, said.rsplit(maxsplit=1)[-1] in error.message) == (kind, True)
    assert told in error.message
    assert remedy in error.remedy


@every_version
def test_a_full_server_is_called_full(server: PostgresServer, connect: Connect) -> None:
    admin = connect(server.url()).cursor()
    admin.execute("CREATE ROLE one_at_a_time LOGIN CONNECTION LIMIT 0")
    try:
        with pytest.raises(errors.ConnectionLost, match=r"^the target is full: .*too many") as full:
            open_session(server.url().replace("postgres@", "one_at_a_time@"), "target")
        admin.execute("ALTER ROLE one_at_a_time NOLOGIN")
        with pytest.raises(errors.ConnectionFailed, match="does not let the role in"):
            open_session(server.url().replace("postgres@", "one_at_a_time@"), "target")
    finally:
        admin.execute("DROP ROLE one_at_a_time")
    assert "the limit of the role" in full.value.remedy


@every_version
def test_a_server_without_room_for_another_lock_may_have_it_later(
    server: PostgresServer, connect: Connect
) -> None:
    session = connect(server.url())
    with pytest.raises(psycopg2.Error) as full:
        session.cursor().execute(
            "SELECT count(pg_advisory_xact_lock(i)) FROM generate_series(1, 1000000) i"
        )
    error = classify(full.value)
    assert error.kind == "ServerCancelled"
    assert "max_locks_per_transaction" in error.remedy


def test_a_constraint_that_the_server_names_is_not_named_again(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)")
    pair.sync()
    pair.target("ALTER TABLE t ADD CONSTRAINT small CHECK (v < 10)")
    pair.source("INSERT INTO t VALUES (2, 20)")
    with pytest.raises(errors.SchemaConflict) as caught:
        pair.sync()
    assert 'new row for relation "t" violates check constraint "small"' in caught.value.message
    assert "(constraint" not in caught.value.message
