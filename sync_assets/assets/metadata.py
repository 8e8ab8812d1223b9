"""A receipt as Dagster's metadata: its own names under `sync/`, and Dagster's standard keys."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import dagster as dg

from sync_assets.assets.lineage import MARKER, SCHEMA, column_lineage, table_schema
from sync_assets.config.model import SyncedTable
from sync_assets.engine.inspection.describe import Described
from sync_assets.engine.inspection.holders import WatermarkAge
from sync_assets.engine.receipt import Receipt
from sync_assets.plain_text import in_markdown, lines_shown

ALWAYS = (
    "rows_inserted",
    "rows_updated",
    "rows_deleted",
    "rows_exported",
    "source_max_xmin",
    "watermark",
    "mode",
    "reason",
)
"""What a person looks for in a receipt, in the order in which it is shown."""

OF_HISTORY = ("versions_opened", "versions_closed")
"""Shown where history is kept, also where there are none."""

SELDOM = ("rows_only_in_target", "rows_left_scope")
"""Shown where there is something to say."""


@dataclass(frozen=True, slots=True)
class Around:
    """What was seen on the source around a sync, as far as it could be seen."""

    marker: str | None = None
    described: Described | None = None
    age: WatermarkAge | None = None

    def aged(self, age: WatermarkAge | None) -> Around:
        """What was seen before a sync, with the age of its mark after it."""
        return replace(self, age=age)


NOTHING = Around()


def metadata_of(synced: SyncedTable, receipt: Receipt, around: Around = NOTHING) -> dict[str, Any]:
    """What a person reads of a receipt, and what Dagster makes of it; the rest stays on the target."""
    lag, holder = lag_seconds(receipt), around.age.holder if around.age else None
    entries: dict[str, Any] = {
        "sync/summary": dg.MetadataValue.md(summary(receipt, around.age)),
        "dagster/row_count": receipt.rows_in_target,
        "sync/seconds/total": receipt.seconds.get("total"),
        "sync/lag_seconds": lag,
        "sync/bytes": receipt.bytes,
        **{f"sync/{name}": receipt[name] for name in ALWAYS},
        "sync/events": list(receipt.events) or None,
        "sync/schema_changes": list(receipt.schema_changes) or None,
        **{f"sync/{name}": receipt[name] or None for name in SELDOM},
        **{f"sync/{name}": receipt[name] for name in OF_HISTORY},
        "sync/exact": None if receipt.exact else False,
        "sync/dry_run": receipt.dry_run or None,
        "sync/watermark_held_by": str(holder) if holder else None,
        "sync/description": _comment(synced, around.described),
        MARKER: around.marker,
    }
    shown = {name: value for name, value in entries.items() if value is not None}
    return shown | _columns(synced, receipt, around.described)


def _columns(synced: SyncedTable, receipt: Receipt, described: Described | None) -> dict[str, Any]:
    if not receipt.columns:
        return {}
    return {
        SCHEMA: table_schema(receipt.columns, receipt.key, described.comments if described else {}),
        "dagster/column_lineage": column_lineage(synced, receipt),
    }


def _comment(synced: SyncedTable, described: Described | None) -> str | None:
    """What the source says of the table, where defs.yaml says nothing."""
    said = described.comment if described and not synced.description else None
    return lines_shown(said) if said else None


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
    workers = "1 worker" if receipt.workers == 1 else f"{receipt.workers} workers"
    work = (
        f"{receipt.bytes:,} bytes in {total:,.2f} s by {workers}."
        f" The next run starts at transaction {receipt.watermark}."
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
    if receipt.events:
        lines += ["", *(f"- {in_markdown(event)}" for event in receipt.events)]
    if age and age.holder:
        lines += ["", f"The mark is held back by {in_markdown(str(age.holder))}."]
    return "\n".join(lines)


def loading(key: dg.AssetKey, share: float) -> dg.AssetObservation:
    """What is seen of an asset whose load was ended, and which the next run that reads all goes on with."""
    said = f"loading, {share:.0%}: the next run that reads every row goes on"
    return dg.AssetObservation(key, description=said, metadata={"sync/loading": f"{share:.0%}"})
