"""What the source of a component has, as Dagster keeps the state of definitions, and when it is new."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import dagster as dg
import psutil
from dagster.components.utils.defs_state import DefsStateConfig, DefsStateConfigArgs

from sync_assets.config.catalog import Catalog, place_of, read_catalog
from sync_assets.config.folder import state_key
from sync_assets.config.model import TableSyncConfig
from sync_assets.config.refresh import Look, refresh
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.inventory import relations_of
from sync_assets.engine.names import listed
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.runs.unexported import unexported

with unexported():
    from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext
    from dagster._core.storage.defs_state.base import DefsStateStorage
    from dagster._grpc.client import DagsterGrpcClient

logger = logging.getLogger(__name__)

LOCAL = "LOCAL_FILESYSTEM"
NAMED_AT_MOST = 10
RELOAD_SECONDS = 300

ADDED = "New on the source, and synced once the definitions are loaded anew: {}."
WAITING = "New on the source, and not synced: {}. Take it: sync-assets refresh --take TABLE."


@dataclass(frozen=True, slots=True)
class News:
    """What is to be told of relations that are new, or '', and the names of all there are."""

    text: str
    relations: frozenset[str]


NewTables = Callable[[DatabaseOrUrl, Collection[str] | None], News]
"""Looks at the source behind a URL for relations other than those, or than those of the last look."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """How a component comes to know what its source has: what it is, and where that is kept."""

    config: TableSyncConfig
    state: DefsStateConfig
    definitions: Path

    @property
    def is_local(self) -> bool:
        """Whether it is a file below the definitions."""
        return self.config.defs_state.management_type == LOCAL

    @property
    def file(self) -> Path:
        """That file."""
        return place_of(self.definitions, self.state.key)


def number_in_file(context: dg.ComponentLoadContext) -> int | str | None:
    """Which component of its file this is; None if it was made outside a folder of definitions."""
    return getattr(context.component_loc, "instance_key", None)


def state_config(config: TableSyncConfig, context: dg.ComponentLoadContext) -> DefsStateConfig:
    """Where the state of a component is, as Dagster takes it."""
    number = number_in_file(context)
    number = number if isinstance(number, int) else 0
    key = state_key(config, context.defs_module_path, context.path, number)
    kind = config.defs_state.management_type
    args = DefsStateConfigArgs.model_validate({"management_type": kind, "refresh_if_dev": False})
    return DefsStateConfig.from_args(args, default_key=key)


def discovered(context: dg.ComponentLoadContext, config: TableSyncConfig) -> Catalog | None:
    """What the source of a component was found to have.

    Where tables are patterns and nobody has looked yet, the source is asked now; a source that does
    not answer is a warning, and the component has no tables by pattern until it does.
    """
    if number_in_file(context) is None:
        return None
    state = state_config(config, context)
    if config.defs_state.management_type != LOCAL:
        load, storage = DefinitionsLoadContext.get(), DefsStateStorage.get()
        with load.state_path(state, storage, context.project_root) as path:
            return read_catalog(path) if path else None
    file = place_of(context.defs_module_path, state.key)
    catalog = read_catalog(file)
    if catalog is None and config.has_patterns:
        try:
            catalog = _kept(refresh(config, file, os.environ))
        except SyncError as error:
            logger.warning("%s: no table by pattern is known yet: %s", context.path, error)
    return catalog


def new_tables(config: TableSyncConfig, file: Path) -> NewTables:
    """What looks for new tables between two loads of the definitions, and has them loaded anew.

    Where Dagster runs the code server behind `dagster code-server start`, as `dagster dev` does, that
    is asked to; a daemon that starts code servers itself does so every minute.
    """
    loaded = [config]

    def look(source_url: DatabaseOrUrl, told: Collection[str] | None) -> News:
        before = loaded[-1]
        known = {each.name for each in (before.catalog or Catalog()).relations}
        if known.symmetric_difference(relations_of(source_url)):
            # What is taken and what waits was written by a command, if by anybody.
            written = before.with_catalog(read_catalog(file) or before.catalog)
            after = config.with_catalog(_kept(refresh(written, file, os.environ)))
            loaded[:] = [after]
            if _synced(before) != _synced(after):
                _load_anew()
        return _news(loaded[-1], _relations(before) if told is None else frozenset(told))

    return look


def _relations(config: TableSyncConfig) -> frozenset[str]:
    return frozenset(each.source for each in (config.catalog or Catalog()).relations)


def _synced(config: TableSyncConfig) -> list[str]:
    return [each.entry.source for each in config.placed]


def _news(config: TableSyncConfig, told: frozenset[str]) -> News:
    """What is synced, and what waits to be taken, of the relations that nobody was told of."""
    relations = _relations(config)
    new = relations - told
    if not new:
        return News("", relations)
    synced = [each for each in dict.fromkeys(_synced(config)) if each in new]
    waiting: list[str] = []
    if config.on_new_table != "ignore":
        left = {str(each.name) for each in config.left_out()}
        every = (config.catalog or Catalog()).relations
        waiting = [each.source for each in every if not each.taken and each.source in left & new]
    text = " ".join(
        text.format(listed(names, NAMED_AT_MOST))
        for text, names in ((ADDED, synced), (WAITING, waiting))
        if names
    )
    return News(text, relations)


def _kept(look: Look) -> Catalog:
    """What was found; that it is looked for again in each process, where nobody may keep it, is said."""
    if look.unkept is not None:
        logger.warning("%s", look.unkept)
    return look.catalog


def _load_anew() -> None:
    """Ask the code server in front of this one, if there is one, for another in its place."""
    for process in psutil.Process().parents():
        words: list[str] = []
        with suppress(psutil.Error):  # it has ended, or is not ours to read
            words = process.cmdline()
        if "code-server" in words and "start" in words:
            options = dict(pairwise(words))
            port, socket = options.get("--port") or options.get("-p"), options.get("--socket")
            client = DagsterGrpcClient(
                port=int(port) if port else None, socket=socket or options.get("-s")
            )
            # Beside the tick, which ends long before the other server is there and this one is ended.
            threading.Thread(
                target=client.reload_code, args=[RELOAD_SECONDS], name="load-anew", daemon=True
            ).start()
            return
