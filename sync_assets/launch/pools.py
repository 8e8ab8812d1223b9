"""How many connections all syncs together may open on a source: what its pool's limit allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dagster as dg

from sync_assets.assets import specs
from sync_assets.config.model import SyncedTable, TableSyncConfig
from sync_assets.engine.check.check import BESIDE_WORKERS
from sync_assets.engine.check.finding import Finding, Severity
from sync_assets.launch.instance import opened_instance


@dataclass(frozen=True, slots=True)
class PoolUse:
    """A source's pool: how many syncs it lets read at once, and what that may open there."""

    pool: str
    limit: int | None
    per_sync: int
    allowed: int | None

    @property
    def finding(self) -> Finding | None:
        """What `check` tells of it; None if the source allows as much as may be opened."""
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
        what = (
            f"the pool {self.pool} lets syncs open {held} connections to the source, which allows"
            f" {self.allowed}"
        )
        return Finding(Severity.WARNING, "source", what, mend, check="pools")


def runs_at_once(synced: SyncedTable) -> int:
    """How many syncs may read the table's source at once, as Dagster's instance has it.

    Raises ConfigurationError or ConnectionFailed. A pool without a limit counts as one.
    """
    with opened_instance() as instance:
        return _limit(instance, specs.pool(synced)) or 1


def pool_uses(
    instance: dg.DagsterInstance, configs: Iterable[TableSyncConfig]
) -> Iterator[PoolUse]:
    """Each source's pool as this instance limits it, for the most demanding of its components."""
    sources: dict[str, list[TableSyncConfig]] = {}
    for config in configs:
        for connection in config.source_connection:
            sources.setdefault(connection, []).append(config)
    for connection, users in sorted(sources.items()):
        allowed = [u.max_source_connections for u in users if u.max_source_connections is not None]
        pool = specs.pool_of(connection)
        yield PoolUse(
            pool,
            _limit(instance, pool),
            max(user.workers.max_workers for user in users) + BESIDE_WORKERS,
            min(allowed, default=None),
        )


def _limit(instance: dg.DagsterInstance, pool: str) -> int | None:
    own = {each.name: each.limit for each in instance.event_log_storage.get_pool_limits()}
    return own.get(pool, instance.global_op_concurrency_default_limit)
