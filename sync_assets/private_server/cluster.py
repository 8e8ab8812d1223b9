"""A server's data folder: created once, who may enter, and the settings of each start."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from sync_assets.engine.errors import ConfigurationError
from sync_assets.private_server.account import Account

Initdb = Callable[..., "subprocess.CompletedProcess[str]"]

SETTINGS_FILE = "sync_assets.conf"
ACCESS = """\
# The socket lies in a folder only its owner may enter; whoever comes another way needs a password.
local all         all trust
local replication all trust
host  all         all 127.0.0.1/32 scram-sha-256
host  replication all 127.0.0.1/32 scram-sha-256
"""


def initialize(account: Account, data: Path, initdb: Initdb) -> None:
    """Create the cluster: UTF-8, and the one locale that orders alike everywhere."""
    arguments = ("-U", "postgres", "--auth=trust", "--encoding=UTF8")
    made = initdb(*arguments, "--locale=C.UTF-8")
    if made.returncode and "invalid locale" in made.stderr:
        made = initdb(*arguments, "--locale=C")
    if made.returncode:
        said = made.stderr.strip() or made.stdout.strip()
        raise ConfigurationError(f"initdb failed in {data}: {said}")
    _write(account, data / "pg_hba.conf", ACCESS)
    own = (data / "postgresql.conf").read_text()
    _write(account, data / "postgresql.conf", f"{own}\ninclude_if_exists '{SETTINGS_FILE}'\n")


def write_settings(account: Account, data: Path, settings: Mapping[str, str]) -> None:
    """Write what the next start shall use; ALTER SYSTEM has the last word."""
    lines = (f"{name} = {_quoted(value)}\n" for name, value in settings.items())
    _write(account, data / SETTINGS_FILE, "".join(lines))


def _write(account: Account, path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
    account.own(path)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
