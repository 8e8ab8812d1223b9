"""The tables on the source as observable assets, so that lineage and staleness start there."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

import dagster as dg

from sync_assets.assets import specs
from sync_assets.assets.lineage import source_metadata
from sync_assets.config.model import SyncedTable
from sync_assets.engine import observe
from sync_assets.engine.errors import NoSuchRelation, SyncError
from sync_assets.engine.inspection.describe import describe
from sync_assets.resources import PostgresResource
from sync_assets.runs.failures import failure_of


def source_assets(name: str, tables: Sequence[SyncedTable]) -> dg.AssetsDefinition:
    """The sources of `tables`, all in one database, which one query observes together.

    The data version is a marker that moves whenever the table's data may have.
    """
    connection = tables[0].source_connection
    relations = {specs.source_key(synced): synced.table.source for synced in tables}

    @dg.multi_observable_source_asset(  # type: ignore[untyped-decorator]  # not annotated
        name=name,
        specs=[specs.plainly(specs.source_spec(synced)) for synced in tables],
        can_subset=True,
        required_resource_keys={connection},
    )
    def observe_sources(context: dg.AssetExecutionContext) -> Iterator[dg.ObserveResult]:
        resource: PostgresResource = getattr(context.resources, connection)
        wanted = {key: relations[key] for key in sorted(context.selected_asset_keys)}
        try:
            markers = observe(resource.database(), list(wanted.values())).markers
            described = describe(resource.database(), list(markers))
        except SyncError as error:
            raise failure_of(error) from None
        for key, relation in wanted.items():
            if relation in markers:
                yield dg.ObserveResult(
                    key,
                    data_version=dg.DataVersion(markers[relation]),
                    metadata=source_metadata(described[relation]) if relation in described else {},
                )
        missing = ", ".join(str(each) for each in wanted.values() if each not in markers)
        if missing:
            raise failure_of(NoSuchRelation(f"the database {connection} has no {missing}"))

    assert isinstance(observe_sources, dg.AssetsDefinition)  # noqa: S101 (for mypy)
    return specs.with_true_keys(observe_sources, relations)


def shown_first_by(
    own: Sequence[SyncedTable],
    everyone: Sequence[Sequence[SyncedTable]],
    written: AbstractSet[dg.AssetKey],
) -> Iterator[SyncedTable]:
    """The source tables that the component of the tables `own` is the one to show.

    A key is unique in a code location: of several components that read a table the first shows it,
    and a table that some component writes is shown as that.
    """
    shown = set(written)
    for tables in everyone:
        for synced in tables:
            key = specs.source_key(synced)
            if key not in shown:
                shown.add(key)
                if tables is own:
                    yield synced
        if tables is own:
            return
