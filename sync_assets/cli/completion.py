"""What a shell may complete: the configured tables.

The completion itself is click's: `eval "$(_SYNC_ASSETS_COMPLETE=bash_source sync-assets)"`.
"""

from __future__ import annotations

from pathlib import Path

import click


def complete_tables(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The configured targets that begin so; none where the configuration cannot be read."""
    from sync_assets.cli import read_env_file
    from sync_assets.cli.selection import written_tables
    from sync_assets.engine.errors import SyncError

    read_env_file(Path.cwd())
    try:
        _, tables = written_tables()
    except SyncError:
        return []
    names = (str(synced.table.target) for synced in tables)
    return [name for name in names if name.startswith(incomplete)]
