"""The YAML face: `type: sync_assets.TableSync` becomes one asset per table."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components.utils.defs_state import DefsStateConfig
from pydantic import BaseModel, RootModel
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from sync_assets.assets import specs
from sync_assets.assets.body import Results, Seams, Sync, sync_asset
from sync_assets.assets.discovery import (
    Discovery,
    NewTables,
    discovered,
    new_tables,
    number_in_file,
    state_config,
)
from sync_assets.assets.sources import shown_first_by, source_assets
from sync_assets.assets.translation import Translate, translation
from sync_assets.assets.wholes import whole_specs
from sync_assets.automation.alert_sensors import alert_sensors
from sync_assets.automation.change_sensor import change_sensor
from sync_assets.automation.checks import checks_of
from sync_assets.automation.hindrance_sensor import hindrance_sensor
from sync_assets.automation.schedules import schedules_of
from sync_assets.automation.shares import Op
from sync_assets.config.folder import group_name
from sync_assets.config.model import SyncedTable, TableSyncConfig
from sync_assets.config.parsing import parse_attributes
from sync_assets.config.refresh import refresh
from sync_assets.config.templates import Environment, Scope
from sync_assets.config.yaml_file import Document, read_documents
from sync_assets.engine.errors import ConfigurationError
from sync_assets.runs.shared_targets import rivals_among
from sync_assets.scaffolder import TableSyncScaffolder


class RawAttributes(RootModel[dict[str, Any]]):
    """The attributes as they stand in the file.

    Dagster validates a component's model before the component knows its file; checking in `load`
    instead gives one error with the exact line. Tools still see the real schema.
    """

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler.resolve_ref_schema(handler(TableSyncConfig.__pydantic_core_schema__))


@dg.scaffold_with(TableSyncScaffolder)
class TableSync(dg.StateBackedComponent):
    """Keep tables of a PostgreSQL database in step with those of another one.

    A class of your own that extends it may say otherwise what Dagster shows of a target, by
    `get_asset_spec`, and what happens around a sync, by `execute`.
    """

    def __init__(
        self,
        config: TableSyncConfig,
        tables: Sequence[SyncedTable],
        name: str | None = None,
        translate: Translate | None = None,
        discovery: Discovery | None = None,
    ) -> None:
        self.config = config
        self.name = name
        self._translate = translate
        self._discovery = discovery
        self.tables = tuple(self._keyed(synced) for synced in tables)
        specs.refuse_one_key(self.tables)

    def get_asset_spec(self, table: SyncedTable) -> dg.AssetSpec:
        """What Dagster shows of a target, its key among it: ours, as `translation` changes it.

        To be overridden; what depends on it, and all commands, follow the key.
        """
        spec = specs.target_spec(table)
        return self._translate(spec, table) if self._translate else spec

    def execute(self, context: dg.AssetExecutionContext, sync: Sync) -> Results:  # noqa: ARG002
        """Sync the tables of one op, and yield a result for each.

        To be overridden, for what is to happen around `sync.results()`, which does the work; it
        raises dg.Failure, with the engine's error, where that fails.
        """
        yield from sync.results()

    def _new_tables(self) -> NewTables | None:
        found = self._discovery
        if found is None or not found.is_local or not found.config.has_patterns:
            return None
        return new_tables(found.config, found.file)

    def _keyed(self, synced: SyncedTable) -> SyncedTable:
        if self._translate is None and type(self).get_asset_spec is TableSync.get_asset_spec:
            return synced
        return dataclasses.replace(synced, key=tuple(self.get_asset_spec(synced).key.path))

    def _spec(self, synced: SyncedTable) -> dg.AssetSpec:
        # Asked about the table as it was, so that a prefix is there once; a dry run materializes nothing.
        spec = self.get_asset_spec(dataclasses.replace(synced, key=None))
        return spec.replace_attributes(skippable=True)

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """What Dagster validates; the real check is in `load`."""
        return RawAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> TableSync:
        """Read the attributes; raises ConfigurationError naming file, line and key."""
        document = _document(attributes, context)
        config = parse_attributes(document, partial(discovered, context), _scope(context))
        tables = [
            dataclasses.replace(synced, defined_at=_place(document, placed.position))
            for synced, placed in zip(
                config.synced_tables(group_name(context.path)), config.placed, strict=True
            )
        ]
        discovery = None
        if number_in_file(context) is not None:
            discovery = Discovery(config, state_config(config, context), context.defs_module_path)
            context.component_tree.mark_component_defs_state_key(
                loc=context.component_loc, defs_state_key=discovery.state.key
            )
        translate = (
            translation(document, config.translation, context) if config.translation else None
        )
        name = config.name or _named_by_its_place(context)
        return cls(config, tables, name, translate, discovery)

    @classmethod
    def get_code_references_for_yaml(
        cls,
        yaml_path: Path,  # noqa: ARG003 (Dagster's signature)
        source_position: object,  # noqa: ARG003
        context: dg.ComponentLoadContext,  # noqa: ARG003
    ) -> Sequence[Any]:
        """None for the component as a whole: each asset names the line of its own table."""
        return []

    @property
    def defs_state_config(self) -> DefsStateConfig:
        """Where Dagster keeps what the source was found to have."""
        if self._discovery is None:
            raise AssertionError("a component without a file has no state")
        return self._discovery.state

    def write_state_to_path(self, state_path: Path) -> None:
        """Look at the source, for `dg utils refresh-defs-state`; raises SyncError."""
        if self._discovery is not None:
            unkept = refresh(self._discovery.config, state_path, os.environ).unkept
            if unkept is not None:
                raise unkept

    def _sensors_of(
        self, name: str, ops: Sequence[Op], observed: Collection[dg.AssetKey]
    ) -> list[dg.SensorDefinition]:
        """Those of the tables of one source."""
        first = ops[0][0].source_connection == self.config.source_connection[0]
        tables, news = [each for op in ops for each in op], self._new_tables() if first else None
        return [
            change_sensor(name, ops, self.config.sensor_seconds(), observed),
            hindrance_sensor(name, tables, self.config.alerts, news),
        ]

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """What keeps the tables in step; a local state was read when the component was."""
        if self._discovery is None or self._discovery.is_local:
            return self.build_defs_from_state(context, None)
        return super().build_defs(context)

    def build_defs_from_state(
        self,
        context: dg.ComponentLoadContext,
        state_path: Path | None,  # noqa: ARG002 (read by `load`, for all components know of each other)
    ) -> dg.Definitions:
        """What keeps the tables in step.

        - one asset for each target table, and one for each source table not shown elsewhere
        - one for each table of many sources, whose partitions are targets
        - the checks that are asked for
        - a sensor that asks for a run when the source has changed
        - a schedule for each cron expression and time zone
        - a sensor that looks for what stands in the way of a sync
        - where alerts are configured, a sensor that tells of failures
        """
        if not self.tables:
            return dg.Definitions()
        components = _all_components(self, context)
        written = {specs.target_key(synced) for each in components for synced in each.tables}
        observed = {specs.source_key(synced) for synced in self.tables} - written
        ops = specs.by_op(self.tables)
        rivals = rivals_among(synced for each in components for synced in each.tables)
        seams = Seams(self._spec, self.execute)
        assets = [
            sync_asset(members, self.config.worker_config(), observed, rivals, seams)
            for members in ops
        ]
        everyone = [each.tables for each in components]
        shown = list(shown_first_by(self.tables, everyone, written))
        place = specs.observation_name(_folder(context), number_in_file(context))
        name = self.name or _named_by_its_place(context)
        _refuse_twins(self, components)
        sensors = [*alert_sensors(name, self.tables, self.config.alerts)]
        schedules: list[dg.ScheduleDefinition] = []
        for source in self.config.source_connection:
            only = len(self.config.source_connection) == 1
            of_source = "" if only else f"_{source}"
            observable = [each for each in shown if each.source_connection == source]
            if observable:
                assets.append(source_assets(place + of_source, observable))
            its = [op for op in ops if op[0].source_connection == source]
            sensors += self._sensors_of(name + of_source, its, observed)
            schedules += schedules_of(name + of_source, its)
        return dg.Definitions(
            assets=[*assets, *whole_specs(self.tables, everyone, written)],
            asset_checks=[check for synced in self.tables for check in checks_of(synced)],
            sensors=sensors,
            schedules=schedules,
        )


def _place(document: Document, position: int) -> tuple[str, int] | None:
    line = document.line(("attributes", "tables", position))
    return (document.file, line) if document.file else None


def _named_by_its_place(context: dg.ComponentLoadContext) -> str:
    return specs.component_name(_folder(context), number_in_file(context))


def _refuse_twins(component: TableSync, components: Sequence[TableSync]) -> None:
    """Raise ConfigurationError where another component is called like this one."""
    for other in components:
        if other is not component and other.name == component.name:
            places = sorted(_first_line(each) for each in (component, other))
            raise ConfigurationError(
                f"{' and '.join(places)}: both components are called {component.name!r}, by `name` or"
                " folder, and so would be their sensors and schedules",
                remedy="Give one of them another `name`.",
            )


def _first_line(component: TableSync) -> str:
    """Where a component's tables begin."""
    first = component.tables[0] if component.tables else None
    file, line = (first and first.defined_at) or ("TableSync", 1)
    return f"{file}:{line}"


def _folder(context: dg.ComponentLoadContext) -> str:
    return context.path.relative_to(context.defs_module_path).as_posix()


def _document(attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Document:
    tree, position = context.resolution_context.source_position_tree, number_in_file(context)
    if tree is not None and isinstance(position, int):
        return read_documents(Path(tree.position.filename))[position]
    values = attributes.root if isinstance(attributes, RawAttributes) else {}
    return Document(None, {"attributes": values}, {})


def _scope(context: dg.ComponentLoadContext) -> Scope:
    """What Dagster lets a template use, but for a variable that is not set."""
    return {**context.resolution_context.scope, "env": Environment()}


def _all_components(component: TableSync, context: dg.ComponentLoadContext) -> list[TableSync]:
    if number_in_file(context) is None:
        return [component]
    return context.component_tree.get_all_components(TableSync)
