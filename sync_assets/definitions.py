"""The code location: the tables written in `defs/` or $SYNC_DEFS, their databases, the executor."""

import dataclasses
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

import dagster as dg

from sync_assets.assets import specs
from sync_assets.assets.body import sync_asset
from sync_assets.automation.checks import checks_of
from sync_assets.automation.loading import told_where_it_fails
from sync_assets.automation.switches import tell_lost_switches
from sync_assets.component import TableSync
from sync_assets.config.automation import Alerts
from sync_assets.config.folder import SHIPPED, Written, locate, read_components
from sync_assets.config.model import SyncedTable, TableSyncConfig
from sync_assets.engine.errors import ConfigurationError
from sync_assets.executors import executor_from
from sync_assets.resources import bound_from_environment
from sync_assets.runs.shared_targets import rivals_among

# Observable source assets are marked beta in Dagster.
warnings.filterwarnings("ignore", category=dg.BetaWarning)


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that is configured; connects to nothing."""
    with told_where_it_fails(_alerts):
        executor = dg.Definitions(executor=executor_from(os.environ))
        definitions = dg.Definitions.merge(load_tables(locate(os.environ)), executor)
    tell_lost_switches(definitions)
    return definitions


def _alerts() -> list[Alerts]:
    """Where the components tell of failures, each place once."""
    configs = _configs(locate(os.environ))
    every = [each.alerts for each in configs if each.alerts.reach_somebody]
    return [each for number, each in enumerate(every) if each not in every[:number]]


@cache
def _configs(place: Path) -> Sequence[TableSyncConfig]:
    return [component.config for component in read_components(place)]


@cache
def _tree(place: Path) -> dg.ComponentTree:
    folder = place if place.is_dir() else place.parent
    return dg.ComponentTree.from_module(defs_module=_module(folder), project_root=folder)


def with_keys(written: Written) -> Written:
    """What is written, with the keys that the components give their assets."""
    _configs(written.place)
    with _without_the_tree():
        components = _tree(written.place).get_all_components(TableSync)
    tables = [each for component in components for each in component.tables]
    keys = {each.address: each.key for each in tables if each.key is not None}
    return dataclasses.replace(written, keys=keys)


@cache
def load_tables(place: Path) -> dg.Definitions:
    """The assets of every component in `place` with their databases; read once per process."""
    # Dagster would bury a mistake under its tree of components: ours are read, and told, first.
    configs = _configs(place)
    connections = {
        connection
        for each in configs
        for connection in (*each.source_connection, each.target_connection)
    }
    resources = bound_from_environment(connections | {"source", "target"})
    with _without_the_tree():
        loaded = _tree(place).build_defs()
    return dg.Definitions.merge(loaded, dg.Definitions(resources=resources))


@contextmanager
def _without_the_tree() -> Iterator[None]:
    """Let a mistake in what is written be told alone, not below Dagster's tree of components."""
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, ConfigurationError):
            raise cause from None
        raise


def load_chosen(written: Written, tables: Sequence[SyncedTable]) -> dg.Definitions:
    """What a run of these tables needs, and nothing else: a thousand definitions take seconds.

    All of it where something else in its place may have a say in their assets: a component of another
    kind, a key that changes ours afterwards, a module.
    """
    if written.more:
        return load_tables(written.place)
    everyone = written.tables
    connections = {c for each in tables for c in (each.source_connection, each.target_connection)}
    targets = {specs.target_key(synced) for synced in everyone}
    observed, rivals = {specs.source_key(each) for each in tables} - targets, rivals_among(everyone)
    return dg.Definitions(
        assets=[sync_asset(op, op[0].workers, observed, rivals) for op in specs.by_op(tables)],
        asset_checks=[check for synced in tables for check in checks_of(synced)],
        resources=bound_from_environment(connections),
    )


def _module(folder: Path) -> ModuleType:
    if folder == SHIPPED:
        return importlib.import_module("sync_assets.defs")
    # Dagster wants a package; a folder outside of every package is given a name of its own.
    name = f"sync_defs_{sha256(str(folder).encode()).hexdigest()[:8]}"
    module = module_from_spec(ModuleSpec(name, None, is_package=True))
    module.__path__ = [str(folder)]
    return sys.modules.setdefault(name, module)
