"""How many connections all syncs together may open on a source: what its pool's limit allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dagster as dg

from sync_assets import specs
from sync_assets.config import TableSyncConfig

BESIDE_WORKERS = 2
"""A sync's connections to the source beside its workers'."""


@dataclass(frozen=True, slots=True)
class PoolUse:
    """A source's pool: how many syncs it lets read at once, and what that may open there."""

    pool: str
    limit: int | None
    per_sync: int
    allowed: int | None

    @property
    def problem(self) -> str | None:
        """What is wrong and how to mend it; None if the source allows as much as may be opened."""
        if self.allowed is None or (
            self.limit is not None and self.limit * self.per_sync <= self.allowed
        ):
            return None
        fits = self.allowed // self.per_sync
        mend = (
            f"set it with: dagster instance concurrency set {self.pool} {fits}"
            if fits
            else f"one sync alone may open {self.per_sync}: lower max_workers"
        )
        held = f"{self.limit} times {self.per_sync}" if self.limit is not None else "any number of"
        return (
            f"the pool {self.pool} lets syncs open {held} connections to the source, which allows"
            f" {self.allowed}; {mend}"
        )


def pool_uses(
    instance: dg.DagsterInstance, configs: Iterable[TableSyncConfig]
) -> Iterator[PoolUse]:
    """Each source's pool as this instance limits it, for the most demanding of its components."""
    set_limits = {each.name: each.limit for each in instance.event_log_storage.get_pool_limits()}
    default = instance.global_op_concurrency_default_limit
    sources: dict[str, list[TableSyncConfig]] = {}
    for config in configs:
        sources.setdefault(config.source_connection, []).append(config)
    for connection, users in sorted(sources.items()):
        allowed = [u.max_source_connections for u in users if u.max_source_connections is not None]
        pool = specs.pool_of(connection)
        yield PoolUse(
            pool,
            set_limits.get(pool, default),
            max(user.workers.max_workers for user in users) + BESIDE_WORKERS,
            min(allowed, default=None),
        )
