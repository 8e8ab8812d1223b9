"""`sync-assets run`: bring tables up to date through Dagster, so that its UI knows of it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sync_assets.cli.completion import complete_tables
from sync_assets.cli.errors import tell_of
from sync_assets.cli.examples import examples
from sync_assets.cli.output import print_json, print_rows, say
from sync_assets.cli.run_display import LiveDisplay, PlainDisplay
from sync_assets.cli.selection import Address, configured_tables, names_of, require_urls, selected
from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import SyncError
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.state.advance import receipts_kept

COUNTS = ("exported", "inserted", "updated", "unchanged", "deleted")
HEADINGS = ("source", "target", "mode", *COUNTS, "seconds")
NUMBERS = "lllrrrrrr"
SPARE = ("source", "mode", "unchanged", "deleted")
FAILED, INTERRUPTED = 1, 130


@click.command(
    epilog=examples(
        "sync-assets run",
        "sync-assets run public.orders 'sales.*'",
        "sync-assets run group:shop",
        "sync-assets run 'key:target/public/*'",
        "sync-assets run public.orders --confirm-deletes 5000",
        "sync-assets run --json | jq '.tables[].rows_inserted'",
    )
)
@click.argument("select", nargs=-1, shell_complete=complete_tables)
@click.option("--full-refresh", is_flag=True, help="Read every row, whatever changed.")
@click.option("--accept-source", is_flag=True, help="Accept another source database, this once.")
@click.option("--confirm-deletes", type=click.IntRange(0), metavar="N", help="Allow N deletes.")
@click.option("--dry-run", is_flag=True, help="Count what would change, and publish nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with the receipts.")
def command(
    select: tuple[str, ...],
    *,
    full_refresh: bool,
    accept_source: bool,
    confirm_deletes: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring the tables up to date; of all that are configured, or of those that SELECT names.

    SELECT is a target table (schema.table; public may be left out), a glob with * and ?, or a
    selection of assets as Dagster writes it: group:shop, key:target/public/*, tag:tier=gold,
    source/public/orders+.

    The exit code is 0 when all went well, 1 when a table failed (the others are done), 2 when
    nothing was contacted, 130 when it was interrupted.
    """
    # An orderly stop (kill, docker stop, systemd) ends like Ctrl-C: cancelled on the servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options: dict[str, Any] = {
        "full_refresh": full_refresh,
        "accept_source": accept_source,
        "dry_run": dry_run,
    }
    if confirm_deletes is not None:
        options["confirm_deletes"] = confirm_deletes
    place, tables = configured_tables()
    tables = selected(tables, select)
    require_urls(tables)
    receipts_kept()
    sys.exit(_run(place, tables, options, as_json=as_json))


def _run(
    place: Path, tables: Sequence[SyncedTable], options: dict[str, Any], *, as_json: bool
) -> int:
    # Dagster takes a second or two to import: mistakes are told before it.
    from sync_assets.launch.run import not_reached, run_tables
    from sync_assets.runs.failures import may_pass

    names = names_of(synced.address for synced in tables)
    again: list[SyncedTable] = []
    with LiveDisplay(names) if sys.stderr.isatty() else PlainDisplay(names) as display:
        ended = run_tables(place, tables, options, display)
        errors = dict(ended.errors)
        if not ended.interrupted:
            again = [each for each in tables if may_pass(display.errors.get(each.address))]
        if again:
            told = ", ".join(names[each.address] for each in again)
            display.say(f"Once more, as what they failed for may have passed: {told}")
            ended = run_tables(place, again, options, display)
            for each in again:
                errors.pop(each.address, None)
            errors |= ended.errors
    errors |= display.errors
    for synced in tables:
        if synced.address not in errors and synced.address not in display.receipts:
            errors[synced.address] = not_reached(synced)
    _print_results(names, tables, again, display.receipts, errors, as_json=as_json)
    if ended.interrupted:
        say("Interrupted.", err=True)
        return INTERRUPTED
    return FAILED if errors else 0


def _print_results(
    names: Mapping[Address, str],
    tables: Sequence[SyncedTable],
    again: Sequence[SyncedTable],
    receipts: dict[Address, Receipt],
    errors: dict[Address, SyncError],
    *,
    as_json: bool,
) -> None:
    for address, error in errors.items():
        tell_of(address, names, error)
    if as_json:
        from sync_assets.cli.documents import RunDocument, RunTable, table_or_error

        ended: dict[Address, Receipt | SyncError] = {**errors, **receipts}
        found = [table_or_error(RunTable, each, ended[each.address]) for each in tables]
        print_json(RunDocument(found, [names[each.address] for each in again]))
    elif receipts:
        addresses = [synced.address for synced in tables if synced.address in receipts]
        rows = [_row(names[address], receipts[address]) for address in addresses]
        print_rows(HEADINGS, rows, NUMBERS, spare=SPARE)


def _row(name: str, receipt: Receipt) -> tuple[str, ...]:
    counts = [f"{receipt[f'rows_{name}']:,}" for name in COUNTS]
    seconds = f"{receipt.seconds.get('total', 0.0):.2f}"
    return (receipt.source, name, receipt.mode, *counts, seconds)
