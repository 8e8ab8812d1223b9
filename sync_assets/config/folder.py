"""Where the tables to sync are written down, and everything written there, checked."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType

from sync_assets.config.catalog import Catalog, place_of, read_catalog
from sync_assets.config.model import SyncedTable, TableSyncConfig
from sync_assets.config.parsing import OUR_TYPES, TYPE, parse_component, target_path
from sync_assets.config.yaml_file import Document, read_documents
from sync_assets.engine.errors import ConfigurationError

SHIPPED = Path(__file__).parent.parent / "defs"
FILE_NAMES = ("defs.yaml", "defs.yml")
PLACE = "SYNC_DEFS is {value!r}; give the absolute path of a folder, or of a defs.yaml in one"


@dataclass(frozen=True, slots=True)
class Component:
    """One `sync_assets.TableSync`: the file in a folder below the root, and its number there."""

    root: Path
    folder: Path
    number: int
    document: Document
    config: TableSyncConfig

    @property
    def catalog_file(self) -> Path:
        """Where what its source has is kept."""
        return place_of(self.root, state_key(self.config, self.root, self.folder, self.number))

    @property
    def names_assets(self) -> bool:
        """Whether it may give its assets other keys than their tables have."""
        return self.config.translation is not None or self.document.value["type"] not in OUR_TYPES

    @property
    def tables(self) -> list[SyncedTable]:
        """Its tables; those that name no group are in that of the folder."""
        return self.config.synced_tables(group_name(self.folder))


def state_key(config: TableSyncConfig, root: Path, folder: Path, number: int) -> str:
    """What Dagster calls the state of a component, which is what its source was found to have."""
    below = folder.relative_to(root).as_posix() + (f"[{number}]" if number else "")
    return config.defs_state.key or f"TableSync[{below}]"


def _local_catalog(
    known: Mapping[Path, Catalog], root: Path, folder: Path, number: int, config: TableSyncConfig
) -> Catalog | None:
    file = place_of(root, state_key(config, root, folder, number))
    return known.get(file) or read_catalog(file)


def group_name(folder: Path) -> str:
    """The group of tables that name none: their folder."""
    return re.sub(r"[^A-Za-z0-9_]", "_", folder.name) or "default"


def locate(environment: Mapping[str, str]) -> Path:
    """The folder or file that holds the tables: what SYNC_DEFS names, else the shipped `defs`."""
    value = environment.get("SYNC_DEFS")
    if value is None:
        return SHIPPED
    path = Path(value)
    if not path.is_absolute() or not (path.is_dir() or _is_defs_file(path)):
        raise ConfigurationError(PLACE.format(value=value), remedy="")
    return path


@dataclass(frozen=True)
class Written:
    """Every component of ours, and whether anything else there may have a say in their assets.

    `keys` are those that the components gave their assets, by the addresses of the tables.
    """

    place: Path
    components: list[Component]
    more: bool
    keys: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def tables(self) -> list[SyncedTable]:
        """The tables of all components."""
        every = [synced for component in self.components for synced in component.tables]
        return [
            dataclasses.replace(each, key=self.keys[each.address])
            if each.address in self.keys
            else each
            for each in every
        ]


def read_components(place: Path) -> list[Component]:
    """Read every component in a file or below a folder; the first mistake is raised."""
    return read_written(place).components


def read_written(place: Path, known: Mapping[Path, Catalog] = MappingProxyType({})) -> Written:
    """Read all that is written in a file or below a folder; the first mistake is raised.

    `known` are catalogs that were found just now, by the files that keep them.
    """
    root = place if place.is_dir() else place.parent
    more = next(root.rglob("*.py"), None) is not None
    components: list[Component] = []
    targets: dict[tuple[str, str], str] = {}
    wholes: dict[tuple[str, str], str] = {}
    names: dict[str, str] = {}
    for file in [place] if place.is_file() else _files(place):
        for number, document in enumerate(read_documents(file)):
            catalog_of = partial(_local_catalog, known, root, file.parent, number)
            config = parse_component(document, catalog_of)
            more = more or config is None or document.value.keys() > {"type", "attributes"}
            if config is not None:
                component = Component(root, file.parent, number, document, config)
                _claim_targets(component, targets)
                _claim_wholes(component, targets, wholes)
                _claim_name(component, names)
                more = more or component.names_assets
                components.append(component)
    if not components and place != SHIPPED:
        first = shlex.quote(str(place / "shop" / "defs.yaml"))
        raise ConfigurationError(
            f"{place} holds no defs.yaml with type: {TYPE}",
            remedy="" if place.is_file() else f"Write one: sync-assets init --output {first}",
        )
    return Written(place, components, more)


def _is_defs_file(path: Path) -> bool:
    return path.name == "defs.yaml" and path.is_file()


def _files(folder: Path) -> Iterator[Path]:
    """The files Dagster reads: a folder's own hides those below it, which must not go unseen."""
    own = next((folder / name for name in FILE_NAMES if (folder / name).is_file()), None)
    below = [
        file
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith((".", "__pycache__"))
        for file in _files(child)
    ]
    if own and below:
        raise ConfigurationError(
            f"{own}: Dagster would not read {below[0]} below it; move one of them", remedy=""
        )
    yield from [own] if own else below


def _claim_targets(component: Component, targets: dict[tuple[str, str], str]) -> None:
    config, document = component.config, component.document
    for position, synced in enumerate(config.synced_tables("")):
        name, path = str(synced.table.target), target_path(config, position)
        first = targets.setdefault((config.target_connection, name), document.place(path))
        if first != document.place(path):
            raise document.error(path, f"{name!r} is already the target of the table in {first}")


def _claim_wholes(
    component: Component, targets: dict[tuple[str, str], str], wholes: dict[tuple[str, str], str]
) -> None:
    """Refuse a table of many sources that is the target of one: it would take the rows of all for its own."""
    config, document = component.config, component.document
    places = [
        (synced, target_path(config, position))
        for position, synced in enumerate(config.synced_tables(""))
    ]
    for synced, path in places:
        if synced.table.whole is not None:
            key = (config.target_connection, str(synced.table.whole))
            wholes.setdefault(key, document.place(path))
            if key in targets:
                said = f"partition_of: {key[1]!r} is the target of the table in {targets[key]}"
                raise document.error(path, said)
    for synced, path in places:
        name = str(synced.table.target)
        if (first := wholes.get((config.target_connection, name))) is not None:
            raise document.error(path, f"{name!r} is the table of many sources of that in {first}")


def _claim_name(component: Component, names: dict[str, str]) -> None:
    name, path = component.config.name, ("attributes", "name")
    if name is not None and name in names:
        raise component.document.error(path, f"{name!r} is already the name of {names[name]}")
    if name is not None:
        names[name] = component.document.place(path)
