"""Tables of many sources, whose partitions are targets: assets that no run of their own makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

import dagster as dg

from sync_assets.assets import specs
from sync_assets.config.model import SyncedTable
from sync_assets.engine.names import listed
from sync_assets.plain_text import in_markdown

MOST_NAMED = 20
"""Sources that the description names."""


def whole_key(synced: SyncedTable) -> dg.AssetKey | None:
    """The asset of the table that a target is a partition of."""
    whole = synced.table.whole
    return specs.asset_key(synced.target_connection, whole) if whole else None


def whole_specs(
    own: Sequence[SyncedTable],
    everyone: Sequence[Sequence[SyncedTable]],
    written: AbstractSet[dg.AssetKey],
) -> Iterator[dg.AssetSpec]:
    """The tables of many sources that the component of the tables `own` is the one to show.

    The partitions of one may be in several components: the first of these shows it, with all.
    """
    parts: dict[dg.AssetKey, list[SyncedTable]] = {}
    for synced in (each for tables in everyone for each in tables):
        key = whole_key(synced)
        if key is not None and key not in written:
            parts.setdefault(key, []).append(synced)
    for key, members in parts.items():
        if any(members[0] is each for each in own):
            yield _spec(key, members)


def materialized(synced: SyncedTable) -> Iterator[dg.AssetMaterialization]:
    """What a sync of a partition says of the table of all sources: that it has new rows."""
    key, part = whole_key(synced), synced.table.partition_of
    if key is not None and part is not None:
        partition = {"sync/partition": str(synced.table.target), "sync/source": part.value}
        yield dg.AssetMaterialization(key, metadata=partition)


def _spec(key: dg.AssetKey, members: Sequence[SyncedTable]) -> dg.AssetSpec:
    first, parts = members[0], [e.table.partition_of for e in members if e.table.partition_of]
    columns = " or ".join(map(in_markdown, sorted({part.column for part in parts})))
    named = listed([in_markdown(part.value) for part in parts], MOST_NAMED)
    return dg.AssetSpec(
        key,
        description=f"The rows of {len(parts)} sources, told apart by {columns}: {named}. Each is synced"
        " into its own partition.",
        deps=[specs.target_key(each) for each in members],
        group_name=first.group,
        kinds={"postgres"},
        metadata={"dagster/table_name": f"{first.target_connection}.{first.table.whole}"},
    )
