"""The YAML face: `type: sync_assets.TableSync` becomes one asset per table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel, RootModel
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from sync_assets import specs
from sync_assets.assets import sync_asset
from sync_assets.config import SyncedTable, TableSyncConfig
from sync_assets.config_errors import parse_attributes
from sync_assets.engine.table import WorkerConfig
from sync_assets.scaffolder import TableSyncScaffolder
from sync_assets.sources import source_assets
from sync_assets.yaml_file import Document, read_documents


class RawAttributes(RootModel[dict[str, Any]]):
    """The attributes as they stand in the file.

    Dagster validates a component's model before the component knows its file, and templates what
    it resolves; checking in `load` instead gives one error with the exact line, and leaves braces
    alone. Tools still see the real schema.
    """

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(TableSyncConfig.__pydantic_core_schema__)


@dg.scaffold_with(TableSyncScaffolder)
class TableSync(dg.Component):
    """Keep tables of a PostgreSQL database in step with those of another one."""

    def __init__(self, tables: Sequence[SyncedTable], workers: WorkerConfig) -> None:
        self.tables = tuple(tables)
        self.workers = workers

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """What Dagster validates; the real check is in `load`."""
        return RawAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> TableSync:
        """Read the attributes; raises ConfigurationError naming file, line and key."""
        config = parse_attributes(_document(attributes, context))
        group = specs.group_name(context.path)
        return cls(config.synced_tables(group), config.worker_config())

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """One asset per target table, and one per source table that is not shown elsewhere."""
        assets = [sync_asset(synced, self.workers) for synced in self.tables]
        sources = list(_shown_first_by(self, _all_components(self, context)))
        if sources:
            assets.append(source_assets(_observation_name(context), sources))
        return dg.Definitions(assets=assets)


def _observation_name(context: dg.ComponentLoadContext) -> str:
    place = context.path.relative_to(context.defs_module_path).as_posix()
    return specs.observation_name(place, _instance_key(context))


def _document(attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Document:
    tree, position = context.resolution_context.source_position_tree, _instance_key(context)
    if tree is not None and isinstance(position, int):
        return read_documents(Path(tree.position.filename))[position]
    values = attributes.root if isinstance(attributes, RawAttributes) else {}
    return Document(None, {"attributes": values}, {})


def _instance_key(context: dg.ComponentLoadContext) -> int | str | None:
    """Which component of its file this is; None if it was made outside a folder of definitions."""
    return getattr(context.component_loc, "instance_key", None)


def _all_components(component: TableSync, context: dg.ComponentLoadContext) -> list[TableSync]:
    if _instance_key(context) is None:
        return [component]
    return context.component_tree.get_all_components(TableSync)


def _shown_first_by(shower: TableSync, components: Sequence[TableSync]) -> Iterator[SyncedTable]:
    """The source tables that this component is the one to show.

    A key is unique in a code location: of several components that read a table the first shows it,
    and a table that some component writes is shown as that.
    """
    shown = {specs.target_key(synced) for each in components for synced in each.tables}
    for component in components:
        for synced in component.tables:
            key = specs.source_key(synced)
            if key not in shown:
                shown.add(key)
                if component is shower:
                    yield synced
        if component is shower:
            return
