"""Which account runs a private server: ours, or an unprivileged one where we are root.

PostgreSQL refuses to run as root. Then its programs run under an account that exists already; no
account is added, and nothing that was there before changes its owner or mode.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync_assets.engine.errors import ConfigurationError

CANDIDATES = ("postgres", "nobody")
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
"""What a server's programs see of the environment: no PG* variable, no library path."""


@dataclass(frozen=True)
class Account:
    """The account that runs the programs of a server; without an id, our own."""

    uid: int | None = None
    gid: int | None = None
    handle: int | None = None
    """An open folder that the programs inherit."""

    @property
    def popen(self) -> dict[str, Any]:
        """The arguments with which `subprocess` starts a program under this account."""
        # Not in our folder: programs up to version 15 want to return to where they started.
        arguments: dict[str, Any] = {"env": ENVIRONMENT, "cwd": "/"}
        if self.uid is not None:
            arguments |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        if self.handle is not None:
            arguments["pass_fds"] = (self.handle,)
        return arguments

    def own(self, *paths: Path) -> None:
        """Make these the account's."""
        if self.uid is not None and self.gid is not None:
            for path in paths:
                os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def can_run(self, *command: str) -> bool:
        """Try whether the account reaches this program and what it is linked against."""
        with contextlib.suppress(OSError):
            tried = subprocess.run(command, check=False, capture_output=True, **self.popen)
            return tried.returncode == 0
        return False

    def address(self, folder: Path) -> str:
        """Return a path by which programs of this account may open a folder that is theirs.

        Below a folder closed to the account (/root) that is the handle we opened and they inherit.
        """
        for path in (str(folder), f"/proc/self/fd/{self.handle}"):
            if self.can_run("/bin/sh", "-c", 'cd "$1"', "sh", path):
                return path
        raise ConfigurationError(
            f"the account with user id {self.uid}, which has to run PostgreSQL in place of root,"
            f" cannot reach {folder}",
            remedy="Run this as an ordinary user, or in a folder everybody may enter.",
        )


def server_account() -> Account:
    """Choose who runs the server: us, or as root the first unprivileged account that exists."""
    if os.geteuid() != 0:
        return Account()
    for name in CANDIDATES:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise ConfigurationError(
        f"PostgreSQL does not run as root, and none of these accounts exists: {CANDIDATES}",
        remedy="Run this as an ordinary user.",
    )
