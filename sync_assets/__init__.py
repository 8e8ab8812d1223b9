"""Keep tables of one PostgreSQL database in step with those of another, as Dagster assets.

`sync_assets.engine` copies: one snapshot of the source, one transaction on the target, and a mark
that never misses a committed row. It knows PostgreSQL and nothing of Dagster. The modules beside
it turn what an operator writes in YAML (`type: sync_assets.TableSync`) into assets with lineage,
metadata and retries; `sync_assets.definitions` is the code location, `sync_assets.cli` the command
line. The public names below are imported on first use, so that `import sync_assets.engine` and
`sync-assets --help` stay light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sync_assets.component import TableSync
    from sync_assets.engine import (
        DataCopyEngine,
        Receipt,
        RelationName,
        SyncError,
        SyncMode,
        Table,
        WorkerConfig,
    )
    from sync_assets.resources import PostgresResource

__all__ = [
    "DataCopyEngine",
    "PostgresResource",
    "Receipt",
    "RelationName",
    "SyncError",
    "SyncMode",
    "Table",
    "TableSync",
    "WorkerConfig",
]

_ELSEWHERE = {"TableSync": "sync_assets.component", "PostgresResource": "sync_assets.resources"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "sync_assets.engine")), name)


def __dir__() -> list[str]:
    return __all__
