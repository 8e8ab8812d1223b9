"""Which of the configured tables a command is about."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn

from sync_assets.cli.asset_selection import is_selection, nearest_selection, selects
from sync_assets.cli.output import NAMED_AT_MOST, say
from sync_assets.config.folder import Written, locate, read_written
from sync_assets.config.model import SyncedTable
from sync_assets.connections import SET_URL, database_of, named_connections, url_variable
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.names import RelationName, listed, matches, nearest, spellings, suggestion
from sync_assets.engine.postgres.access.connect import check_database

Address = tuple[str, str]
"""A target: its connection and its table, written out."""


def written_tables() -> tuple[Path, list[SyncedTable]]:
    """Where the tables are written down, and all of them, if any."""
    written = _read()
    return written.place, written.tables


def configured_tables() -> tuple[Path, list[SyncedTable]]:
    """Where the tables are written down, and all of them; raises ConfigurationError if none is."""
    written = configured()
    return written.place, written.tables


def configured(*, anew: bool = False) -> Written:
    """All that is written down; raises ConfigurationError if no table is.

    What patterns stand for is what the source was found to have last, or has now where that is asked
    for `anew`.
    """
    written = _read(anew=anew)
    if not written.tables:
        raise _nothing_in(written)
    return written


def _nothing_in(written: Written) -> ConfigurationError:
    patterns = [e.source for c in written.components for e in c.config.tables]
    left = [each for component in written.components for each in component.config.left_out()]
    if left:
        more = f" (and {len(left) - 1:,} more)" if len(left) > 1 else ""
        name, why = str(left[0].name), left[0].why
        why = why if why.startswith(name) else f"{name}: {why}"
        return ConfigurationError(
            f"of what the patterns match nothing can be synced: {why}{more}",
            remedy=left[0].remedy or "Name another table, or sync_mode: full_sync.",
        )
    if patterns:
        return ConfigurationError(
            f"nothing on the source is matched by {listed(patterns, NAMED_AT_MOST)}",
            remedy="Correct the patterns; what the source has is listed by: sync-assets refresh.",
        )
    return ConfigurationError(
        "no tables are configured",
        remedy="Name the folder or defs.yaml that lists them in SYNC_DEFS.",
    )


def _read(*, anew: bool = False) -> Written:
    written = read_written(locate(os.environ))
    unknown = [
        each
        for each in written.components
        if each.config.has_patterns and (anew or each.config.catalog is None)
    ]
    if unknown:
        from sync_assets.config.refresh import refresh

        found = {
            each.catalog_file: refresh(each.config, each.catalog_file, os.environ)
            for each in unknown
        }
        for unkept in {str(each.unkept) for each in found.values() if each.unkept}:
            say(f"What the source has is not kept: {unkept}", err=True)
        known = {file: each.catalog for file, each in found.items()}
        written = read_written(locate(os.environ), known)
    if not any(each.names_assets for each in written.components):
        return written
    # Only the component itself knows; Dagster takes a second or two to import.
    from sync_assets.definitions import with_keys

    return with_keys(written)


def selected(tables: Sequence[SyncedTable], patterns: Sequence[str]) -> list[SyncedTable]:
    """The tables whose target is named or matched, or asset selected, with those of their group.

    Each pattern must find one.
    """
    found = [synced for pattern in patterns for synced in _chosen(tables, pattern)]
    chosen = {
        (synced.target_connection, target)
        for synced in (found if patterns else tables)
        for target in (synced.table.target, *synced.snapshot_targets)
    }
    return [s for s in tables if (s.target_connection, s.table.target) in chosen]


def names_of(addresses: Iterable[Address]) -> dict[Address, str]:
    """What each target is called: with its connection where two have the same table."""
    different = set(addresses)
    often = Counter(name for _, name in different)
    return {
        (connection, name): f"{name} ({connection})" if often[name] > 1 else name
        for connection, name in different
    }


def _chosen(tables: Sequence[SyncedTable], pattern: str) -> list[SyncedTable]:
    found = [synced for synced in tables if matches(synced.table.target, pattern)]
    # Or those of all sources whose table is meant.
    found = found or _of_whole(tables, pattern)
    if not found and is_selection(pattern):
        found = [synced for synced in tables if selects(pattern, synced)]
    if not found:
        _refuse(tables, pattern)
    return found


def _of_whole(tables: Sequence[SyncedTable], pattern: str) -> list[SyncedTable]:
    """The partitions of the table of many sources that is named or matched."""
    wholes = ((synced, synced.table.whole) for synced in tables)
    return [synced for synced, whole in wholes if whole and matches(whole, pattern)]


def named(tables: Sequence[SyncedTable], name: str, connection: str | None) -> SyncedTable:
    """The one table that is the target of this very name; raises ConfigurationError."""
    found = [
        each
        for each in tables
        if name in spellings(each.table.target) and connection in (None, each.target_connection)
    ]
    if not found:
        if parts := _of_whole(tables, name):
            targets = [str(each.table.target) for each in parts]
            raise ConfigurationError(
                f"{name} is the table of many sources, and one of them is asked for",
                remedy=f"Name one: {listed(targets, NAMED_AT_MOST)}.",
            )
        _refuse(tables, name)
    require_one(name, [each.target_connection for each in found])
    return found[0]


def require_one(name: str, connections: Sequence[str]) -> None:
    """Raise ConfigurationError where a target of this name is on more than one connection."""
    if len(connections) > 1:
        raise ConfigurationError(
            f"{name} is a target table on {' and on '.join(sorted(connections))}",
            remedy=f"Say which: --connection {connections[0]}.",
        )


def _refuse(tables: Sequence[SyncedTable], pattern: str) -> NoReturn:
    targets = [synced.table.target for synced in tables]
    hint = nearest_selection(pattern) if is_selection(pattern) else meant_by(pattern, targets)
    raise ConfigurationError(
        f"no target table matches {pattern!r}",
        remedy=f"{hint} Configured are {listed(targets, NAMED_AT_MOST)}.".lstrip(),
    )


def require_one_table(tables: Sequence[SyncedTable], asked: Mapping[str, Any]) -> None:
    """Raise ConfigurationError where what is asked of one table or group is asked of several."""
    given = [name for name in ("rows", "confirm_deletes") if asked.get(name) is not None]
    first, *others = tables
    if given and {each.table.target for each in others} - {*first.snapshot_targets}:
        raise ConfigurationError(
            f"--{given[0].replace('_', '-')} is for one table or one snapshot group,"
            f" and {len(tables)} tables are chosen",
            remedy=f"Name one, such as {first.table.target}.",
        )
    if asked["rows"] is None:
        return
    options = {
        name: asked[name] for name in ("rows", "full_refresh", "accept_source") if name in asked
    }
    dataclasses.replace(first.table, **options)


def require_urls(tables: Sequence[SyncedTable]) -> None:
    """Raise ConfigurationError naming each variable that is not set, or no URL."""
    require_connections({c for s in tables for c in (s.source_connection, s.target_connection)})


def require_connections(connections: set[str]) -> None:
    """Raise ConfigurationError naming each variable that is not set for these resource keys."""
    missing = sorted(v for v in map(url_variable, connections) if not os.environ.get(v, "").strip())
    if missing:
        known = named_connections(os.environ)
        hints = (suggestion(each, known) for each in sorted(connections) if each not in known)
        hint = next(filter(None, hints), "")
        raise ConfigurationError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
            remedy=f"{SET_URL} {hint}".rstrip(),
        )
    for connection in sorted(connections):
        check_database(database_of(connection, os.environ), connection)


def is_glob(word: str) -> bool:
    """Whether a word may stand for several tables."""
    return not {"*", "?"}.isdisjoint(word)


def meant_by(word: str, names: Collection[RelationName]) -> str:
    """Which table a mistyped name is likely to mean, or which schema's a glob, as a question."""
    if not is_glob(word):
        return suggestion(word, map(str, names))
    schema, _, rest = word.rpartition(".")
    schemas = {name.schema for name in names if fnmatchcase(name.name, rest)}
    close = nearest(schema, schemas) if schema else min(schemas, default=None)
    return f"Did you mean {close}.{rest}?" if close else ""
