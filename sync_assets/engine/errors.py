"""What can go wrong, told apart by what the reader does about it.

::

    SyncError
    ├── TransientError            the same run again is enough
    │   ├── ConnectionLost        a server went away, restarted or refused for now
    │   ├── RecoveryConflict      a standby cancelled the read to keep up with its primary
    │   ├── SourceBehind          the source shows an older state than the last run saw
    │   ├── SourceNotFlushed      the source's WAL is not yet on its disk
    │   ├── SourceChanged         DDL on the source met this run
    │   ├── ChangesUnknown        the source's WAL cannot tell yet which pages changed
    │   ├── LockTimeout           somebody holds a lock this run needs
    │   ├── BlockingOthers        this run held a lock that somebody else needs
    │   ├── ServerCancelled       an administrator or a limit of the server ended the statement
    │   └── ConcurrentRun         another run works on this target table
    └── PermanentError            a person must act
        ├── ConfigurationError    the request does not make sense
        ├── ConnectionFailed      the server cannot be reached or does not let us in
        ├── PrivilegeError        the role lacks a right
        ├── NoSuchRelation        the source has no such table
        ├── UnsupportedRelation   the relation cannot be read this way
        ├── UnusableKey           no key identifies a row
        ├── UnsupportedVersion    the server is too old
        ├── SchemaConflict        the target cannot hold what the source sends
        ├── SchemaNotApproved     the source's columns changed, and a person is to be asked
        ├── SourceIdentityChanged the source is another database than before
        ├── DeleteGuard           more rows would go than was allowed
        ├── OutOfSpace            a disk is full
        ├── Cancelled             somebody stopped this run
        └── DatabaseError         the server refused for a reason of its own

A class's docstring is its remedy: what to do about it, printed with every message.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator


class SyncError(Exception):
    """Report this with the message above; it should have been a more exact error."""

    # Not a part of the text above, which is printed: `loaded` is the share, from 0 to 1, that is there of
    # a first load which the error has ended, and which the next run goes on with.

    def __init__(
        self,
        message: str,
        *,
        table: str | None = None,
        phase: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.table = table
        self.phase = phase
        self.loaded: float | None = None
        self.remedy = remedy if remedy is not None else inspect.cleandoc(type(self).__doc__ or "")

    @property
    def kind(self) -> str:
        """The class's name, as machines read it."""
        return type(self).__name__

    def located(self, *, table: str | None = None, phase: str | None = None) -> SyncError:
        """Say where it happened, unless that is already known; return the same error."""
        self.table = self.table or table
        self.phase = self.phase or phase
        return self

    def __str__(self) -> str:
        place = " ".join(
            part for part in (self.table, f"({self.phase})" if self.phase else "") if part
        )
        text = f"{place}: {self.message}" if place else self.message
        end = "" if text.endswith("?") else "."
        return f"{text.rstrip('.')}{end} {self.remedy}".rstrip()


_ABOUT = "sync_assets_table"


@contextlib.contextmanager
def about(table: object) -> Iterator[None]:
    """Say of what is raised within that it is about this target table, unless it says so already.

    That holds of the driver's own errors, too, once they are turned into a SyncError.
    """
    try:
        yield
    except SyncError as error:
        error.located(table=str(table))
        raise
    except Exception as error:
        vars(error).setdefault(_ABOUT, str(table))
        raise


def table_of(error: BaseException) -> str | None:
    """The target table that another's error is about, where `about` has told."""
    return vars(error).get(_ABOUT)


class TransientError(SyncError):
    """Run it again."""


class ConnectionLost(TransientError):
    """Nothing was lost: run it again once the server answers."""


class RecoveryConflict(TransientError):
    """Run it again, or raise max_standby_streaming_delay on the standby."""


class SourceBehind(TransientError):
    """Wait until this server has caught up, or sync from the one that was read last."""


class SourceNotFlushed(TransientError):
    """Nothing was published: run it again once the source writes its WAL."""


class SourceChanged(TransientError):
    """Run it again once the change of the source's schema has finished."""


class ChangesUnknown(TransientError):
    """Run it again later, give the role what is missing, or let it scan (changed_blocks: auto)."""


class LockTimeout(TransientError):
    """Run it again once the other session has released its lock."""


class BlockingOthers(TransientError):
    """Nothing was published: run it again once the other session is done."""


class ServerCancelled(TransientError):
    """Run it again, or lift the limit that ended it."""


class ConcurrentRun(TransientError):
    """Wait for the other run to end, or terminate it."""


class PermanentError(SyncError):
    """Mend the cause, then run it again."""


class ConfigurationError(PermanentError):
    """Correct the configuration, then run it again."""


class ConnectionFailed(PermanentError):
    """Check host, port, database, role and password in the URL."""


class PrivilegeError(PermanentError):
    """Grant the role what it lacks, then run it again: sync-assets check prints the statements."""


class NoSuchRelation(PermanentError):
    """Check schema, name and upper and lower case as the catalog stores them."""


class UnsupportedRelation(PermanentError):
    """Name a relation of a supported kind, or leave this one out."""


class UnusableKey(PermanentError):
    """Add a primary key, or a unique index on NOT NULL columns, on the source."""


class UnsupportedVersion(PermanentError):
    """Use PostgreSQL 14 or newer as source and 15 or newer as target."""


class SchemaConflict(PermanentError):
    """Change the target table so that it can hold the source's rows, or sync into another one."""


class SchemaNotApproved(PermanentError):
    """Look at what changed on the source, and take it: sync-assets approve TABLE."""

    changes: tuple[str, ...] = ()
    """What changed, in words."""

    change: str = ""
    """The name of exactly these changes: a run that may take them takes no other."""


class SourceIdentityChanged(PermanentError):
    """Point the source back to the right database, or accept the new one once (accept_source)."""


class DeleteGuard(PermanentError):
    """If the source is right, allow this many deletes for one run (confirm_deletes)."""


class OutOfSpace(PermanentError):
    """Free space on the disk that is named, then run it again."""


class Cancelled(PermanentError):
    """Nothing was published: the next run finishes the work."""


class DatabaseError(PermanentError):
    """Look into that server's log, which says more, and mend the cause there; then run it again."""
