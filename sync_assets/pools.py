"""How many syncs may read one source at once, as Dagster's instance has it."""

from __future__ import annotations

from sync_assets import specs
from sync_assets.config import SyncedTable
from sync_assets.launch import opened_instance


def runs_at_once(synced: SyncedTable) -> int:
    """The limit of the pool that the table's syncs run in; raises ConfigurationError."""
    with opened_instance() as instance:
        limits = instance.event_log_storage.get_pool_limits()
        own = {limit.name: limit.limit for limit in limits}.get(specs.pool(synced))
        default = instance.get_concurrency_config().pool_config.default_pool_limit
    return own or default or 1
