"""A receipt as Dagster's metadata: its own names under `sync/`, and Dagster's standard keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import dagster as dg

from sync_assets.engine.receipt import ColumnShape, Receipt

NOT_SHOWN = ("columns", "seconds", "run_id", "status")
"""Shown in another form, or known to Dagster already."""


def metadata_of(receipt: Receipt) -> dict[str, Any]:
    """Everything the receipt knows; what it does not know is left out."""
    entries: dict[str, Any] = {}
    for field in dataclasses.fields(receipt):
        value = getattr(receipt, field.name)
        if field.name not in NOT_SHOWN and value not in (None, "", ()):
            entries[f"sync/{field.name}"] = list(value) if isinstance(value, tuple) else value
    entries |= _timings(receipt.seconds, receipt.rows_exported)
    if receipt.columns:
        entries["dagster/column_schema"] = _schema(receipt.columns)
    if receipt.rows_in_target is not None:
        entries["dagster/row_count"] = receipt.rows_in_target
    return entries


def _timings(seconds: Mapping[str, float], rows: int) -> dict[str, float]:
    entries = {f"sync/seconds/{phase}": float(value) for phase, value in seconds.items()}
    total = seconds.get("total")
    return entries | ({"sync/rows_per_second": round(rows / total, 1)} if total else {})


def _schema(columns: tuple[ColumnShape, ...]) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in columns
        ]
    )
