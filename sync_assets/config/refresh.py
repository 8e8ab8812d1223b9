"""Look at what the source of a component has, and keep it beside the definitions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from sync_assets.config.catalog import Catalog, discover, taking, write_catalog
from sync_assets.config.model import TableSyncConfig
from sync_assets.connections import SET_URL, database_of, url_variable
from sync_assets.engine.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Difference:
    """What a look found otherwise than the last one: names as they are written in `source`."""

    new: tuple[str, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a source found, and why that could not be kept, if it could not."""

    catalog: Catalog
    unkept: ConfigurationError | None


def refresh(
    config: TableSyncConfig,
    file: Path,
    environment: Mapping[str, str],
    take: Collection[str] = (),
) -> Look:
    """Look anew, those that `take` matches taken, and keep it in the file; raises SyncError.

    A folder of definitions may be one that nobody writes to, as in a container: what was found
    holds for this process all the same.
    """
    found = looked_at(config, environment)
    found = taking(found, take) if take else found
    try:
        write_catalog(file, found)
    except ConfigurationError as error:
        return Look(found, error)
    return Look(found, None)


def looked_at(config: TableSyncConfig, environment: Mapping[str, str]) -> Catalog:
    """What the source has now, of several the first; raises SyncError."""
    connection = config.source_connection[0]
    variable = url_variable(connection)
    if not environment.get(variable, "").strip():
        raise ConfigurationError(
            f"{variable} is not set, and what {connection} has is not known yet",
            remedy=SET_URL,
        )
    source = database_of(connection, environment)
    return discover(source, config.catalog, takes_new=config.on_new_table == "add")


def difference(before: Catalog | None, after: Catalog) -> Difference:
    """What is new, and what is gone; at a first look nothing is either."""
    old = {each.source for each in before.relations} if before else None
    now = {each.source for each in after.relations}
    if old is None:
        return Difference((), ())
    return Difference(tuple(sorted(now - old)), tuple(sorted(old - now)))
