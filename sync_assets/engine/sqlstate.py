"""The driver's boundary: every psycopg2 error becomes a `SyncError` here, and nowhere else.

SQLSTATEs by class: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import errno
import re
from typing import Literal

import psycopg2

from sync_assets.engine import errors
from sync_assets.engine.table import RelationName, quoted

Side = Literal["source", "target"]

_LOST_FOR_NOW = re.compile(
    "refused|starting up|shutting down|timeout|timed out|too many|remaining connection slots"
    "|server closed|reset by peer|broken pipe|temporary failure|no such file|in recovery mode"
    "|not yet accepting|unreachable|terminat|ssl syscall|could not receive|could not send",
    re.IGNORECASE,
)


def connect_failure(error: psycopg2.Error, side: Side) -> errors.SyncError:
    """The `SyncError` for a connection that was not made; libpq's text never holds a password."""
    text = " ".join(str(error).split())
    kind = errors.ConnectionLost if _LOST_FOR_NOW.search(text) else errors.ConnectionFailed
    return kind(f"cannot connect to the {side}: {text}", remedy=errors.ConnectionFailed("").remedy)


_NOT_NULL, _CHECK = "23502", "23514"
_BY_SQLSTATE: tuple[tuple[str, type[errors.SyncError]], ...] = (
    ("08", errors.ConnectionLost),
    ("57P", errors.ConnectionLost),
    ("53300", errors.ConnectionLost),
    ("53100", errors.OutOfSpace),
    ("58030", errors.OutOfSpace),
    ("40001", errors.RecoveryConflict),
    ("40", errors.LockTimeout),
    ("55P03", errors.LockTimeout),
    ("57014", errors.ServerCancelled),
    ("42501", errors.PrivilegeError),
    ("28", errors.ConnectionFailed),
    ("3D", errors.ConnectionFailed),
    ("22", errors.SchemaConflict),
    ("23", errors.SchemaConflict),
    ("42P07", errors.SchemaConflict),
    ("428C9", errors.SchemaConflict),
)


def classify(error: psycopg2.Error, side: Side | None = None) -> errors.SyncError:
    """The `SyncError` for a driver's error, without the values that DETAIL and CONTEXT carry."""
    code = error.pgcode or ""
    where = f"the {side}" if side else "the server"
    kind = next((kind for prefix, kind in _BY_SQLSTATE if code.startswith(prefix)), None)
    if kind is None:
        # Without a SQLSTATE nothing came from the server: libpq itself lost it, and in the middle
        # of a COPY or of a script the driver raises no more than the plain base class for that.
        lost = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
        lost = (lost or type(error) is psycopg2.DatabaseError) and not code
        kind = errors.ConnectionLost if lost else errors.DatabaseError
    if kind is errors.RecoveryConflict and side == "target":
        kind = errors.LockTimeout
    said = error.diag.message_primary or next(iter(str(error).splitlines()), "no message")
    if "no message from the libpq" in said:
        return kind(f"the connection to {where} broke off")
    if code.startswith("22"):
        # A data exception quotes the value, and here and there bytes of it after a colon.
        said = re.sub(r'"[^"]*"', '"…"', said.split(": ")[0])
    constraint = error.diag.constraint_name if code.startswith("23") else None
    owner = error.diag.table_name or error.diag.datatype_name
    named = f" (constraint {constraint} of {owner})" if constraint else ""
    return kind(f"{where} said: {said}{named}", remedy=_remedy(error, code))


def _remedy(error: psycopg2.Error, code: str) -> str | None:
    """What mends it, where the server names the place."""
    seen = error.diag
    if code == _CHECK and seen.schema_name and seen.datatype_name and seen.constraint_name:
        domain = RelationName(seen.schema_name, seen.datatype_name)
        return (
            "That type is on the target with a check of its own. To lift it, run on the target: "
            f"ALTER DOMAIN {domain.as_sql} DROP CONSTRAINT {quoted(seen.constraint_name)}."
        )
    if code != _NOT_NULL or not (seen.schema_name and seen.table_name and seen.column_name):
        return None
    table = RelationName(seen.schema_name, seen.table_name)
    return (
        "If somebody renamed the column on the target, give it its name back. Or run on the target: "
        f"ALTER TABLE {table.as_sql} ALTER COLUMN {quoted(seen.column_name)} DROP NOT NULL."
    )


def disk_failure(error: OSError) -> errors.SyncError | None:
    """The `SyncError` for batch files that cannot be written or read, None for anything else."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.OutOfSpace("no space is left for batch files (SYNC_BATCH_DIR)")
    if error.filename is None:
        return None
    return errors.ConfigurationError(
        f"{error.filename}: {error.strerror}",
        remedy="Name a folder of your own for batch files in SYNC_BATCH_DIR.",
    )
