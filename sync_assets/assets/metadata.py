"""A receipt as Dagster's metadata: its own names under `sync/`, and Dagster's standard keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg

from sync_assets.assets import specs
from sync_assets.assets.lineage import MARKER, SCHEMA, column_lineage, table_schema
from sync_assets.config.model import SyncedTable
from sync_assets.engine.inspection.describe import Described
from sync_assets.engine.inspection.holders import WatermarkAge
from sync_assets.engine.receipt import Receipt
from sync_assets.plain_text import in_markdown, lines_shown

NOT_SHOWN = ("columns", "seconds", "run_id", "status")
"""Shown in another form, or known to Dagster already."""


@dataclass(frozen=True, slots=True)
class Around:
    """What was seen on the source around a sync, as far as it could be seen."""

    marker: str | None = None
    described: Described | None = None
    age: WatermarkAge | None = None


NOTHING = Around()


def metadata_of(synced: SyncedTable, receipt: Receipt, around: Around = NOTHING) -> dict[str, Any]:
    """Everything the receipt knows; what it does not know is left out."""
    entries: dict[str, Any] = {"sync/summary": dg.MetadataValue.md(summary(receipt, around.age))}
    for field in dataclasses.fields(receipt):
        value = getattr(receipt, field.name)
        if field.name not in NOT_SHOWN and value not in (None, "", ()):
            entries[f"sync/{field.name}"] = list(value) if isinstance(value, tuple) else value
    entries |= {"sync/rows_written": receipt.rows_written}
    entries |= _timings(receipt.seconds, receipt.rows_exported) | _ages(receipt, around.age)
    entries["sync/source_asset"] = dg.MetadataValue.asset(specs.source_key(synced))
    if around.marker:
        entries[MARKER] = around.marker
    if receipt.columns:
        entries |= _columns(synced, receipt, around.described)
    if receipt.rows_in_target is not None:
        entries["dagster/row_count"] = receipt.rows_in_target
    return entries


def _columns(synced: SyncedTable, receipt: Receipt, described: Described | None) -> dict[str, Any]:
    comments = described.comments if described else {}
    entries: dict[str, Any] = {
        SCHEMA: table_schema(receipt.columns, comments),
        "dagster/column_lineage": column_lineage(synced, receipt),
    }
    if described and described.comment and not synced.description:
        entries["sync/description"] = lines_shown(described.comment)
    return entries


def _timings(seconds: Mapping[str, float], rows: int) -> dict[str, float]:
    entries = {f"sync/seconds/{phase}": float(value) for phase, value in seconds.items()}
    total = seconds.get("total")
    return entries | ({"sync/rows_per_second": round(rows / total, 1)} if total else {})


def _ages(receipt: Receipt, age: WatermarkAge | None) -> dict[str, Any]:
    """How old the target's data was when it was published, and how far the mark lies back."""
    lag = lag_seconds(receipt)
    entries: dict[str, Any] = {} if lag is None else {"sync/lag_seconds": lag}
    if age is None:
        return entries
    entries["sync/watermark_age_xids"] = age.xids
    held = age.holder.age_seconds if age.holder else None
    if held is not None or lag is not None:
        entries["sync/watermark_age_seconds"] = round(max(held or 0.0, lag or 0.0), 3)
    return entries | ({"sync/watermark_held_by": str(age.holder)} if age.holder else {})


def lag_seconds(receipt: Receipt) -> float | None:
    """Seconds from the snapshot to the end of the run; None for a receipt without times."""
    if not receipt.snapshot_at or not receipt.finished_at:
        return None
    times = map(datetime.fromisoformat, (receipt.finished_at, receipt.snapshot_at))
    finished, taken = times
    # Two clocks: the source's may be ahead of ours.
    return round(max((finished - taken).total_seconds(), 0.0), 3)


def summary(receipt: Receipt, age: WatermarkAge | None = None) -> str:
    """The receipt for a person to read, in Markdown."""
    counts = ("exported", "inserted", "updated", "unchanged", "deleted")
    cells = [f"{receipt[f'rows_{name}']:,}" for name in counts]
    total = receipt.seconds.get("total", 0.0)
    work = (
        f"{receipt.bytes:,} bytes in {total:,.2f} s by {receipt.workers} workers."
        f" The next run starts at transaction {receipt.watermark:,}."
    )
    lines = [
        f"**{in_markdown(receipt.source)} → {in_markdown(receipt.target)}**, {receipt.mode}: {in_markdown(receipt.reason)}",
        "",
        f"| {' | '.join(counts)} |",
        f"|{'---:|' * len(counts)}",
        f"| {' | '.join(cells)} |",
        "",
        work,
    ]
    if age and age.holder:
        lines += ["", f"The mark is held back by {in_markdown(str(age.holder))}."]
    return "\n".join(lines)
