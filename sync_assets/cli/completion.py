"""What a shell may complete: the configured tables, and the connections that have a URL.

The completion itself is click's: `eval "$(_SYNC_ASSETS_COMPLETE=bash_source sync-assets)"`.
"""

from __future__ import annotations

import os
from pathlib import Path

import click


def complete_tables(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The configured targets that begin so; none where the configuration cannot be read.

    One in `public` is completed without its schema where it is begun so.
    """
    from sync_assets.cli import read_env_file
    from sync_assets.cli.selection import written_tables
    from sync_assets.engine.errors import SyncError
    from sync_assets.engine.names import spellings

    read_env_file(Path.cwd())
    try:
        _, tables = written_tables()
    except SyncError:
        return []
    begun = (
        [name for name in spellings(synced.table.target) if name.startswith(incomplete)]
        for synced in tables
    )
    return [names[0] for names in begun if names]


def complete_connections(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[str]:
    """The connections that begin so and have a URL, `source` for SYNC_SOURCE_URL."""
    from sync_assets.cli import read_env_file
    from sync_assets.connections import named_connections

    read_env_file(Path.cwd())
    return [name for name in named_connections(os.environ) if name.startswith(incomplete)]
