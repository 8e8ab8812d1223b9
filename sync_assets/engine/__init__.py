"""The engine: keeps a table in one PostgreSQL database in step with its source in another.

snapshot → plan → export → load → merge → state: `run/sync.py` reads in that order, and each word is
a package. It knows nothing of Dagster; `DataCopyEngine` is its face. The public names are imported on
first use: a run waits for no module that it does not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sync_assets.engine.computed.masks import Mask
    from sync_assets.engine.copy_engine import DataCopyEngine
    from sync_assets.engine.errors import PermanentError, SyncError, TransientError
    from sync_assets.engine.inspection.observe import observe
    from sync_assets.engine.inspection.status import TableStatus, read_status
    from sync_assets.engine.limits import Hours, Limits, PauseWhile
    from sync_assets.engine.names import PartitionOf, RelationName
    from sync_assets.engine.postgres.access.database import Database
    from sync_assets.engine.progress import Phase, Progress
    from sync_assets.engine.receipt import ColumnShape, Receipt
    from sync_assets.engine.run.forecast import Forecast, LeafForecast
    from sync_assets.engine.table import Deletes, SyncMode, Table
    from sync_assets.engine.verification import Example, Verification
    from sync_assets.engine.workers import (
        WorkerConfig,
        WorkerReport,
        choose_workers,
        get_worker_config,
        worker_report,
    )

__all__ = [
    "ColumnShape",
    "DataCopyEngine",
    "Database",
    "Deletes",
    "Example",
    "Forecast",
    "Hours",
    "LeafForecast",
    "Limits",
    "Mask",
    "PartitionOf",
    "PauseWhile",
    "PermanentError",
    "Phase",
    "Progress",
    "Receipt",
    "RelationName",
    "SyncError",
    "SyncMode",
    "Table",
    "TableStatus",
    "TransientError",
    "Verification",
    "WorkerConfig",
    "WorkerReport",
    "choose_workers",
    "get_worker_config",
    "observe",
    "read_status",
    "worker_report",
]

_HOMES = {
    "copy_engine": ("DataCopyEngine",),
    "errors": ("PermanentError", "SyncError", "TransientError"),
    "inspection.observe": ("observe",),
    "inspection.status": ("TableStatus", "read_status"),
    "limits": ("Hours", "Limits", "PauseWhile"),
    "computed.masks": ("Mask",),
    "names": ("PartitionOf", "RelationName"),
    "postgres.access.database": ("Database",),
    "progress": ("Phase", "Progress"),
    "receipt": ("ColumnShape", "Receipt"),
    "run.forecast": ("Forecast", "LeafForecast"),
    "table": ("Deletes", "SyncMode", "Table"),
    "verification": ("Example", "Verification"),
    "workers": (
        "WorkerConfig",
        "WorkerReport",
        "choose_workers",
        "get_worker_config",
        "worker_report",
    ),
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
