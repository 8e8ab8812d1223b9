"""Tables chosen by Dagster's own asset selection syntax: `group:shop`, `key:target/public/*`."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from sync_assets.config.folder import locate
from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import ConfigurationError

SYNTAX = re.compile(r"[:+()/ ]")
"""What no plain glob has, and every selection that is more than a name."""

BARE_KEY = re.compile(r'\bkey:([^\s"()+]+)')
"""A key without quotes, in which Dagster takes nothing but ASCII letters, digits and few signs."""


def is_selection(word: str) -> bool:
    """Whether a word that names no table may be a selection."""
    return SYNTAX.search(word) is not None


def selects(word: str, synced: SyncedTable) -> bool:
    """Whether a selection chooses the table's asset; raises ConfigurationError."""
    from sync_assets.assets import specs

    return specs.target_key(synced).path in _paths(locate(os.environ), word)


@cache
def _paths(place: Path, word: str) -> list[list[str]]:
    # Dagster takes a second or two to import, and a plain name does not need it.
    import dagster as dg

    from sync_assets.definitions import load_tables

    graph = load_tables(place).resolve_asset_graph()
    try:
        selection = dg.AssetSelection.from_string(BARE_KEY.sub(r'key:"\1"', word))
        return [list(key.path) for key in selection.resolve(graph)]
    except dg.DagsterInvalidSubsetError:
        return []
    except dg.DagsterError as error:
        raise ConfigurationError(
            f"{word!r} selects no assets: {str(error).partition(chr(10))[0]}",
            remedy="Write a table's name, a glob, or a selection such as group:shop,"
            " key:target/public/* or +target/public/orders.",
        ) from None
