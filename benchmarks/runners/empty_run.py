"""`sync-assets run` with asset bodies that do nothing: what Dagster itself takes."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from sync_assets.assets import body, specs, work
from sync_assets.assets.metadata import NOTHING
from sync_assets.cli import main
from sync_assets.cli.changing import run
from sync_assets.engine import Receipt

KEPT = ("source", "target", "mode", "reason")
COUNTS = dict.fromkeys(("source_max_xmin", "watermark_before", "watermark", "bytes"), 0)
ROWS = ("exported", "inserted", "updated", "unchanged", "deleted")
WORK = dict.fromkeys(("chunks", "workers"), 0) | {f"rows_{name}": 0 for name in ROWS}


def followed(own: work.Work, *_: object) -> work.Done:
    """No look at a database, and a receipt of nothing for each table."""
    empty = Receipt(**dict.fromkeys(KEPT, ""), **COUNTS, **WORK, seconds={"total": 0.0})
    return work.Done([empty for _ in own.members], [NOTHING for _ in own.members])


def results(attempt: body._Attempt, *_: object) -> Iterator[dg.MaterializeResult[None]]:
    """The materializations alone."""
    for synced in attempt.members:
        yield dg.MaterializeResult(asset_key=specs.target_key(synced))


work.Work.followed, body._Attempt.results = followed, results  # type: ignore[assignment]  # noqa: SLF001
run.idle_tables = lambda _: iter(())
main()
