"""Tables chosen by Dagster's own asset selection syntax: `group:shop`, `key:target/public/*`."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sync_assets.config.folder import locate
from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.names import suggestion

if TYPE_CHECKING:
    import dagster as dg

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


def nearest_selection(word: str) -> str:
    """The selection that a mistyped one is likely to be, as a question; nothing where none is near."""
    known: dict[str, None] = {}
    for spec in _definitions(locate(os.environ)).resolve_all_asset_specs():
        words = [f"key:{'/'.join(spec.key.path)}", f"group:{spec.group_name}"]
        words += [f"tag:{name}={value}" for name, value in spec.tags.items()]
        words += [f'owner:"{owner}"' for owner in spec.owners]
        known |= dict.fromkeys([*words, *(f"kind:{kind}" for kind in spec.kinds)])
    return suggestion(word, known)


@cache
def _definitions(place: Path) -> dg.Definitions:
    # Dagster takes a second or two to import, and a plain name does not need it.
    from sync_assets.definitions import load_tables

    return load_tables(place)


@cache
def _paths(place: Path, word: str) -> list[list[str]]:
    import dagster as dg

    graph = _definitions(place).resolve_asset_graph()
    try:
        selection = dg.AssetSelection.from_string(BARE_KEY.sub(r'key:"\1"', word))
        return [list(key.path) for key in selection.resolve(graph)]
    except dg.DagsterInvalidSubsetError:
        return []
    except dg.DagsterError as error:
        hint = nearest_selection(word)
        raise ConfigurationError(
            f"{word!r} selects no assets: {str(error).partition(chr(10))[0]}",
            remedy=hint
            or "Write a table's name, a glob, or a selection such as group:shop,"
            " key:target/public/* or +target/public/orders.",
        ) from None
