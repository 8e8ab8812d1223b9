"""The engine: keeps a table in one PostgreSQL database in step with its source in another.

snapshot → plan → export → load → merge → state: `sync.py` reads in that order, and each word is a
module. It knows nothing of Dagster; `DataCopyEngine` is its face.
"""

from __future__ import annotations

from sync_assets.engine.copy_engine import DataCopyEngine
from sync_assets.engine.errors import PermanentError, SyncError, TransientError
from sync_assets.engine.forecast import Forecast, LeafForecast
from sync_assets.engine.observe import observe
from sync_assets.engine.progress import Phase, Progress
from sync_assets.engine.receipt import ColumnShape, Receipt
from sync_assets.engine.status import TableStatus, read_status
from sync_assets.engine.table import Deletes, RelationName, SyncMode, Table, WorkerConfig
from sync_assets.engine.workers import (
    WorkerReport,
    choose_workers,
    get_worker_config,
    worker_report,
)

__all__ = [
    "ColumnShape",
    "DataCopyEngine",
    "Deletes",
    "Forecast",
    "LeafForecast",
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
    "WorkerConfig",
    "WorkerReport",
    "choose_workers",
    "get_worker_config",
    "observe",
    "read_status",
    "worker_report",
]
