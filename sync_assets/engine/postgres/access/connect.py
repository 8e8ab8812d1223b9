"""Opening one connection: the URL looked at, the password found, the server greeted."""

from __future__ import annotations

import re
from collections.abc import Mapping

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from sync_assets.engine import errors
from sync_assets.engine.postgres import time_outs
from sync_assets.engine.postgres.access.database import Database, DatabaseOrUrl, as_database
from sync_assets.engine.postgres.access.password import printed_password
from sync_assets.engine.postgres.access.place import check_destination, place_behind
from sync_assets.engine.postgres.access.tunnels import carry, tunnel_to
from sync_assets.engine.postgres.driver_errors import (
    Greeting,
    Side,
    connect_failure,
    may_be_the_password,
)
from sync_assets.engine.postgres.session import (
    PINNED_NAMES,
    SOURCE_VERSION,
    TARGET_VERSION,
    Connection,
    encoding_of,
    opened,
)

APPLICATION = "sync_assets"
"""What our sessions call themselves."""


def connect(given: DatabaseOrUrl, side: Side) -> tuple[Connection, Greeting]:
    """Open one connection, ready for explicit transactions; raises SyncError."""
    database = as_database(given)
    check_database(database, side)
    failure = None
    try:
        connection = _opened(database, side)
    except psycopg2.Error as error:
        failure = _failure(error, database, side)
    if failure:
        raise failure
    connection.autocommit = True
    try:
        return connection, greet(connection, side)
    except BaseException:
        connection.close()
        raise


def _failure(error: psycopg2.Error, database: Database, side: Side) -> errors.SyncError:
    """What a connection that was not made ends with, and what of its ways in may be at fault."""
    failure = connect_failure(error, side)
    parts = psycopg2.extensions.parse_dsn(database.url)
    if parts.get("sslnegotiation") == "direct" and "SSL" in failure.message:
        # A server that knows of no such beginning hangs up, as one that goes down does.
        return errors.ConnectionFailed(failure.message, remedy=_NEGOTIATED)
    if database.password_command and failure.remedy == errors.ConnectionFailed("").remedy:
        failure.remedy = _PRINTED
    return failure


_NEGOTIATED = (
    "Leave sslnegotiation=direct out of the URL where the server is older than PostgreSQL 17, has no TLS, or "
    "has a proxy before it that wants to be asked first."
)
_PRINTED = (
    "Check host, port, database and role in the URL, and what the password command prints: it must be "
    "that role's password."
)


def _opened(database: Database, side: Side) -> Connection:
    """A connection, through a tunnel where there is to be one; raises SyncError and the driver's errors."""
    if database.ssh is None:
        return _let_in(database, side, {})
    tunnel = tunnel_to(database.ssh, place_behind(database), side)
    before = tunnel.lines
    try:
        connection = _let_in(database, side, tunnel.way)
    except psycopg2.Error as error:
        if not isinstance(connect_failure(error, side), errors.ConnectionLost):
            raise
        failure = tunnel.failure(side, before)
        if failure is None:
            raise
    else:
        carry(connection, tunnel)
        return connection
    raise failure


def _let_in(database: Database, side: Side, way: Mapping[str, str]) -> Connection:
    """A connection with the password that is kept or, where a server refuses that, with a new one."""
    if database.password_command is None:
        return opened(database.url, APPLICATION, **way)
    printed, lifetime = printed_password(database.password_command), database.password_lifetime
    password = printed.get(lifetime, side)
    try:
        return opened(database.url, APPLICATION, password=password, **way)
    except psycopg2.Error as error:
        if not may_be_the_password(error):
            raise
        newer = printed.get(lifetime, side, refused=password)
        if newer == password:
            raise
    return opened(database.url, APPLICATION, password=newer, **way)


def check_database(given: DatabaseOrUrl, name: str) -> None:
    """Refuse a URL that libpq would misread, two passwords for one database, and a tunnel to nowhere.

    `name` says which database it is. Raises ConfigurationError.
    """
    database = as_database(given)
    check_url(database.url, name)
    parts = psycopg2.extensions.parse_dsn(database.url)
    if database.password_command is not None and parts.get("password"):
        raise errors.ConfigurationError(
            f"the {name} URL has a password, and there is a password command, too",
            remedy="Take the password out of the URL, or unset the command: one of them is meant.",
        )
    if database.ssh is not None:
        check_destination(database, name)


def check_url(url: str, name: str) -> None:
    """Refuse what libpq would misread, without repeating it: a part may be the password.

    `name` says which database the URL is for. Raises ConfigurationError.
    """
    try:
        parts = psycopg2.extensions.parse_dsn(url)
    except psycopg2.Error:
        parts = None
    misread = parts is None or any(
        "@" in str(parts.get(name, "")) for name in ("host", "port", "dbname")
    )
    if misread or (parts and not re.fullmatch(r"[\d,]*", str(parts.get("port", "")))):
        raise errors.ConfigurationError(
            f"the {name} URL is not one that libpq can read",
            remedy="Write postgresql://role:password@host:port/database, "
            "with special characters in the password percent-encoded (@ as %40, / as %2F).",
        )
    if parts and parts.get("client_encoding", "UTF8").upper() not in ("UTF8", "UTF-8", "UNICODE"):
        raise errors.ConfigurationError(
            f"the {name} URL sets client_encoding, which a run cannot keep to: text travels as UTF8,"
            " or as it is between two databases of one encoding",
            remedy="Leave client_encoding out of the URL.",
        )


_GREETING = "SELECT pg_catalog.pg_backend_pid(), session_user::text, current_database()::text, {}"


def greet(connection: Connection, side: Side) -> Greeting:
    """Set a new session up, and ask whose it is; raises UnsupportedVersion and the driver's errors."""
    least = SOURCE_VERSION if side == "source" else TARGET_VERSION
    if connection.server_version < least:
        raise errors.UnsupportedVersion(
            f"the {side} is PostgreSQL {connection.server_version // 10000}, "
            f"at least {least // 10000} is needed"
        )
    settings = [f"SET {PINNED_NAMES}"]
    settings += ["SET default_transaction_read_only = on"] if side == "source" else []
    # A server that looks for its client stops working for a process that was killed.
    # Not every platform can; there, it notices when it next writes to us.
    looks = ["SET client_connection_check_interval = '2s'"]
    # What was set for the role first, then what we make of it.
    last = _GREETING.format(", ".join((*time_outs.SHOWN, *time_outs.ours())))
    with connection.cursor() as cursor:
        try:
            cursor.execute("; ".join((*settings, *looks, last)))
        except psycopg2.errors.InvalidParameterValue:
            cursor.execute("; ".join((*settings, last)))
        ((pid, role, database, *values),) = cursor.fetchall()
    set_for_role = dict(zip(time_outs.NAMES, values, strict=False))
    limits = {name: text for name, text in set_for_role.items() if text not in (None, "0")}
    return Greeting(side, pid, role, database, encoding_of(connection), limits)
