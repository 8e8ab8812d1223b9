"""What a home keeps under the keys of an earlier version, in which they had no true names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dagster as dg

from sync_assets.assets import specs
from sync_assets.config.model import SyncedTable
from sync_assets.engine.check.finding import Finding, Severity
from sync_assets.engine.names import RelationName, listed

NAMED_AT_MOST = 5


def moved_assets(instance: dg.DagsterInstance, tables: Sequence[SyncedTable]) -> Iterator[Finding]:
    """The assets whose history is under another key, until somebody wipes it there."""
    ends = {(each.source_connection, each.table.source): specs.source_key(each) for each in tables}
    ends |= {(each.target_connection, each.table.target): specs.target_key(each) for each in tables}
    moved = {
        _former_key(*end): key
        for end, key in ends.items()
        if _former_key(*end) != specs.asset_key(*end)
    }
    found = [former for former in moved if instance.has_asset_key(former)]
    if found:
        pairs = [f"{old.to_user_string()} is {moved[old].to_user_string()}" for old in found]
        yield Finding(
            Severity.WARNING,
            "Dagster",
            f"assets are called by the true names of their tables: {listed(pairs, NAMED_AT_MOST)}",
            "write the new keys where your own assets, jobs and alerts have the old ones, then wipe"
            " those in the UI, with the history that stays under them; no row is read again",
            check="moved",
        )


def _former_key(connection: str, relation: RelationName) -> dg.AssetKey:
    return dg.AssetKey([connection, *map(specs.sanitized, (relation.schema, relation.name))])
