"""`sync-assets demo`: a whole sync between two databases on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sync_assets.cli.examples import examples
from sync_assets.cli.output import print_rows
from sync_assets.engine.errors import SyncError

if TYPE_CHECKING:
    from sync_assets.demo.story import Compared, Event, Stage, Synced

FOLDER = ".demo"
HEADINGS = ("table", "read", "inserted", "updated", "unchanged", "engine")
NUMBERS = "lrrrrr"


class DatabasesDiffer(SyncError):
    """A sync has left the target different from the source: please report this."""


@click.command(epilog=examples("sync-assets demo", "sync-assets demo --serve --port 3001"))
@click.option("--serve", is_flag=True, help="Open the Dagster UI on it, until Ctrl-C.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the UI.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535))
def command(*, serve: bool, host: str, port: int) -> None:
    """Sync real listings between two databases, change the source, sync again, compare.

    Everything happens in ./.demo: an embedded PostgreSQL server with the databases source, target
    and dagster. The server is stopped at the end; with --serve, when the UI is. A demo that
    was run before is then shown as it is, and not run again.
    """
    folder = Path.cwd() / FOLDER
    if serve:
        serve_demo(folder, host, port)
    else:
        run_demo(folder)


def run_demo(folder: Path) -> None:
    """Tell the demo's story from the start, and stop the server."""
    from sync_assets.demo.stage import raised
    from sync_assets.private_server.serve import stop_on_termination

    started = time.monotonic()
    with stop_on_termination(), raised(folder) as stage:
        tell_anew(stage)
    click.echo(
        f"\nDone in {time.monotonic() - started:.0f} s; nothing is left running, the databases are"
        f" in {FOLDER}.\nOpen the Dagster UI on them: sync-assets demo --serve"
    )


def serve_demo(folder: Path, host: str, port: int) -> None:
    """Open the UI on the demo, whose story is told first unless it was."""
    from sync_assets.demo.stage import raised, was_told
    from sync_assets.private_server.instance import write_workspace
    from sync_assets.private_server.serve import check_port, serve, stop_on_termination

    check_port(host, port)
    with stop_on_termination(), raised(folder) as stage:
        if not was_told(stage):
            tell_anew(stage)
            click.echo("")
        workspace = write_workspace(folder)
        serve(stage.folder, workspace, stage.environment, (host, port), click.echo)


def tell_anew(stage: Stage) -> None:
    """Tell the story on emptied databases, and print it."""
    from sync_assets.demo.stage import clear, mark_told
    from sync_assets.demo.story import tell

    clear(stage)
    show(tell(stage))
    mark_told(stage)


def show(events: Iterable[Event]) -> None:
    """Print the story as it happens; raise DatabasesDiffer at the first difference."""
    from sync_assets.demo.story import Compared, Synced

    for event in events:
        if isinstance(event, Synced):
            _show_sync(event)
        elif isinstance(event, Compared):
            _show_comparison(event)
        else:
            click.echo(event.text)


def _show_sync(event: Synced) -> None:
    print_rows(HEADINGS, [_row(receipt) for receipt in event.receipts], NUMBERS)
    click.echo(f"sync-assets run took {event.seconds:.1f} s in all.")


def _row(receipt: Any) -> tuple[str, ...]:
    counts = ("rows_exported", "rows_inserted", "rows_updated", "rows_unchanged")
    milliseconds = 1000 * receipt["seconds"]["total"]
    return (
        receipt["target"],
        *(f"{receipt[name]:,}" for name in counts),
        f"{milliseconds:,.0f} ms",
    )


def _show_comparison(event: Compared) -> None:
    different = [comparison for comparison in event.comparisons if not comparison.equal]
    if different:
        first = different[0]
        raise DatabasesDiffer(
            f"{len(different)} of {len(event.comparisons)} tables differ: "
            + (first.problem or f"{first.source_digest} became {first.target_digest}"),
            table=first.target,
        )
    rows = sum(c.source_digest.rows for c in event.comparisons if c.source_digest)
    click.echo(
        f"Compared by SHA-256 of all rows: {len(event.comparisons)} tables, {rows:,} rows, equal."
    )
