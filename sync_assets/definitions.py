"""The code location: the tables written in `defs/` or $SYNC_DEFS, their databases, the executor."""

import importlib
import os
import sys
import warnings
from functools import cache
from hashlib import sha256
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

import dagster as dg

from sync_assets.automation.switches import tell_lost_switches
from sync_assets.config.folder import SHIPPED, locate, read_components
from sync_assets.executors import executor_from
from sync_assets.resources import bound_from_environment

# Observable source assets are marked beta in Dagster.
warnings.filterwarnings("ignore", category=dg.BetaWarning)


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that is configured; connects to nothing."""
    executor = dg.Definitions(executor=executor_from(os.environ))
    definitions = dg.Definitions.merge(load_tables(locate(os.environ)), executor)
    tell_lost_switches(definitions)
    return definitions


@cache
def load_tables(place: Path) -> dg.Definitions:
    """The assets of every component in `place` with their databases; read once per process."""
    # Dagster would bury a mistake under its tree of components: ours are read, and told, first.
    configs = [component.config for component in read_components(place)]
    connections = {c for each in configs for c in (each.source_connection, each.target_connection)}
    folder = place if place.is_dir() else place.parent
    tree = dg.ComponentTree.from_module(defs_module=_module(folder), project_root=folder)
    resources = bound_from_environment(connections | {"source", "target"})
    return dg.Definitions.merge(tree.build_defs(), dg.Definitions(resources=resources))


def _module(folder: Path) -> ModuleType:
    if folder == SHIPPED:
        return importlib.import_module("sync_assets.defs")
    # Dagster wants a package; a folder outside of every package is given a name of its own.
    name = f"sync_defs_{sha256(str(folder).encode()).hexdigest()[:8]}"
    module = module_from_spec(ModuleSpec(name, None, is_package=True))
    module.__path__ = [str(folder)]
    return sys.modules.setdefault(name, module)
