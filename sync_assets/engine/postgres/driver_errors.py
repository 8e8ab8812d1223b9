"""The driver's boundary: every psycopg2 error becomes a `SyncError` here, and nowhere else.

SQLSTATEs by class: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import psycopg2

from sync_assets.engine import errors
from sync_assets.engine.names import RelationName, quoted

Side = Literal["source", "target"]


@dataclass(frozen=True, slots=True)
class Greeting:
    """A session of ours, as the server knows it, and the time-outs that are set for its role."""

    side: Side
    pid: int
    role: str
    database: str
    encoding: str
    time_outs: Mapping[str, str]


_LOST_FOR_NOW = re.compile(
    "refused|timeout|timed out|server closed|reset by peer|broken pipe|temporary failure"
    "|no such file|unreachable|terminat|ssl syscall|could not receive|could not send",
    re.IGNORECASE,
)
_TO_MAKE_ROOM = (
    "Every connection that the server, the database or the role may have is taken. Lower the pool's "
    "limit or max_workers, as each table takes up to max_workers + 2, or raise max_connections or "
    "the limit of the role there: sync-assets check counts what is free."
)
_REFUSALS = (
    (
        "too many (clients|connections)|connection slots are reserved|no more connections allowed",
        errors.ConnectionLost,
        "the {} is full",
        _TO_MAKE_ROOM,
    ),
    (
        "starting up|shutting down|in recovery mode|not (yet )?accepting connections",
        errors.ConnectionLost,
        "the {} lets nobody in for now",
        None,
    ),
    (
        "not permitted to log in",
        errors.ConnectionFailed,
        "the {} does not let the role in",
        "Give it the attribute LOGIN again, or name another role in the URL.",
    ),
    (
        "pg_hba.conf",
        errors.ConnectionFailed,
        "the {} does not let us in from here",
        "Its pg_hba.conf must name this host, role and database, with or without encryption.",
    ),
    (
        "permission denied for database",
        errors.ConnectionFailed,
        "the {} does not let the role in",
        "Grant it CONNECT on the database.",
    ),
)
"""By what a server says that answers and lets nobody in, which comes without a SQLSTATE: the error's
kind, what it says of the side, and the remedy, if not the kind's own. Servers that speak another
language than English are told apart by nothing."""


def connect_failure(error: psycopg2.Error, side: Side) -> errors.SyncError:
    """The `SyncError` for a connection that was not made; libpq's text never holds a password."""
    text = " ".join(str(error).split())
    for said, kind, place, remedy in _REFUSALS:
        if re.search(said, text, re.IGNORECASE):
            return kind(f"{place.format(side)}: {text}", remedy=remedy)
    kind = errors.ConnectionLost if _LOST_FOR_NOW.search(text) else errors.ConnectionFailed
    return kind(f"cannot connect to the {side}: {text}", remedy=errors.ConnectionFailed("").remedy)


def may_be_the_password(error: psycopg2.Error) -> bool:
    """Whether a server has answered, and may have refused the password, in whatever language."""
    others = (*(said for said, *_ in _REFUSALS), "SSL error|certificate|translate host name")
    text = str(error)
    return not (_LOST_FOR_NOW.search(text) or re.search("|".join(others), text, re.IGNORECASE))


_CHECK = "23514"
_OF_ENCODING = ("22021", "22P05")
_CANCELLED = "57014"
_BY_TIME_OUT = {
    "25P03": "idle_in_transaction_session_timeout",
    "25P04": "transaction_timeout",
    "57P05": "idle_session_timeout",
}
_UNDEFINED = ("42883", "42P01", "42704")
_BODY = re.compile(
    r'''PL/pgSQL function (("[^"]+"|\w+)\.[^\n]*?\)) line|SQL function "([^"\n]+)"'''
)
"""A function's name in CONTEXT, which carries no value up to there."""

_BY_SQLSTATE: tuple[tuple[str, type[errors.SyncError]], ...] = (
    ("08", errors.ConnectionLost),
    *((code, errors.ServerCancelled) for code in _BY_TIME_OUT),
    ("57P", errors.ConnectionLost),
    ("53300", errors.ConnectionLost),
    ("53200", errors.ServerCancelled),
    ("53100", errors.OutOfSpace),
    ("58030", errors.OutOfSpace),
    ("40001", errors.RecoveryConflict),
    ("40", errors.LockTimeout),
    ("55P03", errors.LockTimeout),
    (_CANCELLED, errors.ServerCancelled),
    ("42501", errors.PrivilegeError),
    ("28", errors.ConnectionFailed),
    ("3D", errors.ConnectionFailed),
    ("22", errors.SchemaConflict),
    ("23", errors.SchemaConflict),
    ("42P07", errors.SchemaConflict),
    ("428C9", errors.SchemaConflict),
)


def classify(
    error: psycopg2.Error, session: Greeting | None = None, place: str = ""
) -> errors.SyncError:
    """The `SyncError` for a driver's error, without the values that DETAIL and CONTEXT carry.

    `place` says where among the rows it was, where that is known.
    """
    return _classified(error, session, place).located(table=errors.table_of(error))


def _classified(error: psycopg2.Error, session: Greeting | None, place: str) -> errors.SyncError:
    code = error.pgcode or ""
    if code in _OF_ENCODING and session:
        return _untranslatable(error, session, place)
    side = session.side if session else None
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
        said = f"the connection to {where} broke off"
        return kind(said, remedy=_lifting(session, kind, code, said))
    if code.startswith("22"):
        # A data exception quotes the value, and here and there bytes of it after a colon.
        said = re.sub(r'"[^"]*"', '"…"', said.split(": ")[0])
    constraint = error.diag.constraint_name if code.startswith("23") else None
    owner = error.diag.table_name or error.diag.datatype_name
    # Of a row that breaks a CHECK the server names both itself.
    told = all(f'"{name}"' in said for name in (constraint, owner))
    named = f" (constraint {constraint} of {owner})" if constraint and not told else ""
    remedy = _remedy(error, said, side) or _lifting(session, kind, code, said)
    return kind(f"{where} said: {said}{named}", remedy=remedy)


def _untranslatable(error: psycopg2.Error, session: Greeting, place: str) -> errors.SyncError:
    """A text that one end cannot write down; the server's own words quote its bytes."""
    # The only words in capitals, in any language.
    found = re.findall(r"\b[A-Z][A-Z0-9_]{2,}\b", error.diag.message_primary or "")
    line = re.search(r"\d+", (error.diag.context or "").partition(", ")[2])
    place = place or (f" in row {line[0]} of a batch" if line else "")
    what = f"a character of {found[0]} that {found[-1]} lacks" if len(found) > 1 else ""
    what = what or f"bytes that are not {found[0] if found else 'text'}"
    other = session.encoding if session.side == "source" else "UTF8"
    name = quoted(f"{session.database}_{other.lower()}")
    return errors.SchemaConflict(
        f"the {session.side}, whose encoding is {session.encoding}, has{place} {what}"
        if session.side == "source"
        else f"the target, whose encoding is {session.encoding}, cannot hold what it got{place}:"
        f" {what}",
        remedy="Mend the text on the source, leave its column out (exclude), or sync into a"
        f" database of encoding {other}, made on the target's server by: CREATE DATABASE {name}"
        f" ENCODING '{other}' LOCALE 'C' TEMPLATE template0;",
    )


def _lifting(
    session: Greeting | None, kind: type[errors.SyncError], code: str, said: str
) -> str | None:
    """How to lift a time-out of the role that ended a session, or may have."""
    if session is None:
        return None
    if code == _CANCELLED:
        # What is said may be in any language.
        suspected = [] if "user request" in said else ["statement_timeout"]
    elif kind is errors.ConnectionLost:
        suspected = list(_BY_TIME_OUT.values())
    else:
        suspected = [_BY_TIME_OUT.get(code, "")]
    lifted = [name for name in suspected if name in session.time_outs]
    if not lifted:
        return None
    values = ", ".join(f"{name} = {session.time_outs[name]}" for name in lifted)
    alter = f"ALTER ROLE {quoted(session.role)} IN DATABASE {quoted(session.database)} SET"
    return (
        f"{kind('').remedy} A run keeps to what is set for its role: {values}. If that ended it,"
        f" lift it on the {session.side}: " + " ".join(f"{alter} {name} = 0;" for name in lifted)
    )


_TO_HOLD_MORE_LOCKS = (
    "Raise max_locks_per_transaction on that server and restart it: a table with many partitions "
    "takes a lock for each."
)
_TO_BYPASS = (
    "Let the role that its policies hold for pass them by: sync-assets check names it, with the "
    "statement."
)
_TO_GRANT = "Grant the role that right: sync-assets check prints the statement."
_TO_WRITE = (
    "The target takes no writes: it is a standby, or its role only reads. sync-assets check says "
    "which."
)
_TO_FILL = "Fill the materialized view once, on the source: sync-assets check prints the statement."
_TO_DISABLE = (
    "Code of the target's own refuses it: a trigger of the table, or an event trigger on DDL, "
    "which sync-assets check names."
)
_TO_INSTALL = (
    "Install what that library belongs to on that server, or leave the columns of its types out: "
    "exclude."
)
_TO_MAKE = (
    "If a value names it, as one of the type regclass does, make it on the target or leave the "
    "column out: exclude. sync-assets check names such columns."
)
_REMEDIES: tuple[tuple[str, str, Side | None, str], ...] = (
    ("53200", "shared memory", None, _TO_HOLD_MORE_LOCKS),
    ("53300", "", None, _TO_MAKE_ROOM),
    ("42501", "row-level security", None, _TO_BYPASS),
    ("42501", "", None, _TO_GRANT),
    ("25006", "", "target", _TO_WRITE),
    ("55000", "has not been populated", None, _TO_FILL),
    ("P0001", "", "target", _TO_DISABLE),
    ("58P01", "", None, _TO_INSTALL),
    *((code, "", "target", _TO_MAKE) for code in ("42P01", "42883", "42704", "3F000")),
)
"""By SQLSTATE, a part of what the server said, and the side: what to do about it."""


def _remedy(error: psycopg2.Error, said: str, side: Side | None) -> str | None:
    """What mends it, where the server names the place."""
    seen, code = error.diag, error.pgcode or ""
    if code in _UNDEFINED and (body := _BODY.search(seen.context or "")):
        return _remedy_of_path(*body.groups())
    if code == _CHECK and seen.schema_name and seen.datatype_name and seen.constraint_name:
        domain = RelationName(seen.schema_name, seen.datatype_name)
        return (
            "That type is on the target with a check of its own. To lift it, run on the target: "
            f"ALTER DOMAIN {domain.as_sql} DROP CONSTRAINT {quoted(seen.constraint_name)}."
        )
    for known, part, where, remedy in _REMEDIES:
        if code == known and part in said and where in (None, side):
            return remedy
    return None


def _remedy_of_path(function: str | None, schema: str | None, name: str | None) -> str:
    """What mends a function that finds its names only under the role's own search_path."""
    mend = f"ALTER FUNCTION {function} SET search_path = {schema}" if function else ""
    return (
        f"The body of {function or name} names something without its schema, and our sessions' "
        "search_path is pg_catalog alone, so that nobody else's code is run. Write the schemas there"
        + (f", or let it find them: {mend}." if mend else ", or set its own search_path.")
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
