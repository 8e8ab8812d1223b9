"""Data versions from source to target, so that what Dagster calls stale is stale, and columns.

A source's data version is the marker of `engine.observe`. A target's is new only when rows or
columns changed: what depends on it stays fresh through a sync that found nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from sync_assets.assets import specs
from sync_assets.config.model import SyncedTable
from sync_assets.engine.inspection.describe import Described
from sync_assets.engine.inspection.idle import NOTHING_NEW
from sync_assets.engine.receipt import ColumnShape, Receipt
from sync_assets.plain_text import as_markdown, lines_shown

MARKER = "sync/source_marker"
WATERMARK = "sync/watermark"
SCHEMA = "dagster/column_schema"
DATA_VERSION = "dagster/data_version"


def observation(
    key: dg.AssetKey, marker: str, described: Described | None = None
) -> dg.AssetObservation:
    """The event that tells Dagster which version the source is at."""
    metadata = source_metadata(described) if described else {}
    return dg.AssetObservation(key, metadata=metadata, tags={DATA_VERSION: marker})


def last_version(instance: dg.DagsterInstance, key: dg.AssetKey) -> str | None:
    """The version of a source that Dagster knows; None before it was observed."""
    for record in instance.fetch_observations(key, limit=1).records:
        if record.asset_observation is not None:
            return record.asset_observation.data_version
    return None


def last_marker(instance: dg.DagsterInstance, key: dg.AssetKey) -> str | None:
    """The version of its source that a target was synced to last; None where Dagster does not know."""
    event = instance.get_latest_materialization_event(key)
    found = event.asset_materialization if event else None
    marker = found.metadata.get(MARKER) if found else None
    return str(marker.value) if marker else None


def source_metadata(described: Described) -> dict[str, Any]:
    """What the source's catalog says about a table."""
    comment = {"sync/description": lines_shown(described.comment)} if described.comment else {}
    return {SCHEMA: table_schema(described.columns, described.key, described.comments)} | comment


def provenance(synced: SyncedTable, marker: str) -> dict[str, str]:
    """The version of the source that a sync has read.

    Dagster would note the version known before the step began, which is an older one, or none,
    where nobody observed the source.
    """
    return {f"dagster/input_data_version/{specs.source_key(synced).to_user_string()}": marker}


def data_version(
    instance: dg.DagsterInstance, key: dg.AssetKey, receipt: Receipt
) -> dg.DataVersion:
    """The target's version after a sync: the one before, if the sync changed nothing."""
    event = None if receipt.rows_written else instance.get_latest_materialization_event(key)
    before = event.asset_materialization if event else None
    tags = (before.tags or {}) if before else {}
    if before and DATA_VERSION in tags:
        shown = before.metadata.get(SCHEMA)
        if shown is not None and _names(shown.value) == _names(table_schema(receipt.columns)):
            return dg.DataVersion(tags[DATA_VERSION])
    return dg.DataVersion(f"{receipt.watermark}-{receipt.run_id[:8]}")


REASON = "sync/reason"
KEPT = (SCHEMA, "dagster/row_count", MARKER, WATERMARK)
"""What Dagster and the change sensor read of the last materialization, whatever it was."""


@dataclass(frozen=True, slots=True)
class Told:
    """The event that told of a table's last run, and when, in seconds since 1970."""

    event: dg.AssetMaterialization
    at: float


def told_of(
    instance: dg.DagsterInstance, idle: Mapping[dg.AssetKey, Receipt]
) -> dict[dg.AssetKey, Told]:
    """Those tables that a look found idle of whose last run Dagster knows, by one query.

    Others were never shown as synced, or a process that was killed has published rows that Dagster
    never heard of; or a run has failed since, and only one that succeeds takes that back.
    """
    found: dict[dg.AssetKey, Told] = {}
    for record in instance.get_asset_records(list(idle)) if idle else ():
        entry = record.asset_entry
        last, key = entry.last_materialization_record, entry.asset_key
        event = last.asset_materialization if last else None
        mark = event.metadata.get(WATERMARK) if event else None
        known = mark is not None and mark.value == idle[key].watermark
        if last and event and known and last.run_id == entry.last_run_id:
            found[key] = Told(event, last.timestamp)
    return found


def looked_at(
    key: dg.AssetKey, before: dg.AssetMaterialization, marker: str | None = None
) -> dg.AssetMaterialization:
    """The small event for a table that was looked at and has nothing new: the data is as it was.

    `marker` is the source's, where the sensor has seen another one than the last.
    """
    metadata: dict[str, Any] = {
        name: before.metadata[name] for name in KEPT if name in before.metadata
    }
    metadata |= {REASON: NOTHING_NEW} | ({MARKER: marker} if marker else {})
    return dg.AssetMaterialization(key, metadata=metadata, tags=before.tags)


def last_looks(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]
) -> dict[dg.AssetKey, float]:
    """When those tables that a look found idle last were looked at, by one query."""
    found: dict[dg.AssetKey, float] = {}
    for record in instance.get_asset_records(keys) if keys else ():
        last = record.asset_entry.last_materialization_record
        event = last.asset_materialization if last else None
        reason = event.metadata.get(REASON) if event else None
        if last and reason is not None and reason.value == NOTHING_NEW:
            found[record.asset_entry.asset_key] = last.timestamp
    return found


def _names(schema: Any) -> list[tuple[str, str]]:
    return [(column.name, column.type) for column in schema.columns]


def table_schema(
    columns: Sequence[ColumnShape],
    key: Collection[str] = (),
    comments: Mapping[str, str] | None = None,
) -> dg.TableSchema:
    """Columns as Dagster shows them, those of the key marked."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type,
                # The UI takes it for Markdown, and would load the images of whoever wrote it.
                description=as_markdown(said)
                if (said := (comments or {}).get(column.name))
                else None,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable, other=["key"] if column.name in key else []
                ),
            )
            for column in columns
        ]
    )


def column_lineage(synced: SyncedTable, receipt: Receipt) -> dg.TableColumnLineage:
    """Each column of the target and the one on the source that it is copied from.

    A column computed by an expression, and our own ones, have no single origin.
    """
    table, source = synced.table, specs.source_key(synced)
    ours = {table.xmin_column, table.deleted_column, *(name for name, _ in table.expressions)}
    return dg.TableColumnLineage(
        {
            column.name: [dg.TableColumnDep(source, column.name)]
            for column in receipt.columns
            if column.name not in ours
        }
    )
