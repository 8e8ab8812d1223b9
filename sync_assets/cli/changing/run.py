"""`sync-assets run` and `approve`: bring tables up to date through Dagster, so that its UI knows of it."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

from sync_assets.cli.completion import complete_tables
from sync_assets.cli.errors import tell_of_all
from sync_assets.cli.examples import examples
from sync_assets.cli.output import SHOWN, named, print_json, print_rows, say, say_sentence
from sync_assets.cli.output import tables as in_words
from sync_assets.cli.reading.plan import forecasts
from sync_assets.cli.run_display import PlainDisplay, display
from sync_assets.cli.selection import (
    Address,
    configured,
    names_of,
    require_one_table,
    require_urls,
    selected,
)
from sync_assets.config.folder import Written
from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import SchemaNotApproved, SyncError
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.state.advance import receipts_kept
from sync_assets.runs.home import runs_kept

COUNTS = ("exported", "inserted", "updated", "unchanged", "deleted")
HEADINGS = ("source", "target", "mode", *COUNTS, "seconds")
NUMBERS = "lllrrrrrr"
SPARE = ("source", "mode", "unchanged", "deleted")
FAILED, INTERRUPTED = 1, 130
LAUNCH = "sync_assets.launch.run"


@click.command(
    epilog=examples(
        "sync-assets run",
        "sync-assets run public.orders 'sales.*'",
        "sync-assets run group:shop",
        "sync-assets run 'key:target/public/*'",
        "sync-assets run public.orders --confirm-deletes 5000",
        "sync-assets run public.orders --rows \"created_at >= '2026-01-01'\"",
        "sync-assets run --json | jq '.tables[].rows_inserted'",
    )
)
@click.argument("select", nargs=-1, shell_complete=complete_tables)
@click.option("--full-refresh", is_flag=True, help="Read every row, whatever changed.")
@click.option("--accept-source", is_flag=True, help="Accept another source database, this once.")
@click.option("--confirm-deletes", type=click.IntRange(0), metavar="N", help="Allow N deletes.")
@click.option("--rows", metavar="SQL", help="Read only the rows again that fulfil this condition.")
@click.option("--dry-run", is_flag=True, help="Count what would change, and publish nothing.")
@click.option(
    "--parallel", type=click.IntRange(1), metavar="N", default=1, help="Sync N tables at once."
)
@click.option("--all", "everything", is_flag=True, help="Print a line for every table.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with the receipts.")
def command(
    select: tuple[str, ...],
    *,
    parallel: int,
    everything: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Bring tables up to date: all that are configured, or those that SELECT names.

    SELECT is a target table (schema.table; public may be left out), a glob with * and ?, or a
    selection of assets as Dagster writes it: group:shop, key:target/public/*, tag:tier=gold,
    source/public/orders+.

    With --rows the rows of one table, or of one snapshot group, that fulfil an SQL condition on the
    source are read again, compared with the target and put right; what the next run reads stays as it is.

    Tables are looked at first: those of which the source proves that nothing was written since their
    last run take no part in this one.

    The exit code is 0 when all went well, 1 when a table failed (the others are done), 2 when
    nothing was contacted, 130 when it was interrupted.
    """
    written = configured(anew=True)
    tables = selected(written.tables, select)
    require_one_table(tables, asked)
    options = {
        name: value for name, value in asked.items() if value is not None and value is not False
    }
    _run(written, tables, options, parallel=parallel, everything=everything, as_json=as_json)


@click.command(
    epilog=examples("sync-assets approve public.orders", "sync-assets approve 'sales.*' --yes")
)
@click.argument("select", nargs=-1, required=True, shell_complete=complete_tables)
@click.option("--yes", is_flag=True, help="Take the changes without asking.")
def approve(select: tuple[str, ...], *, yes: bool) -> None:
    """Take the changes of columns that tables with `on_schema_change: ask` have stopped at.

    SELECT names tables as for `run`. Shows what changed on the source and what will be done to the
    target, asks, and runs those tables. A change that came after you were shown the others is not
    taken: the run stops at it.
    """
    written = configured(anew=True)
    tables = selected(written.tables, select)
    require_urls(tables)
    names = names_of(synced.address for synced in tables)
    failed = {
        address: error
        for address, error in forecasts(tables, {}).items()
        if isinstance(error, SyncError)
    }
    asked = {
        address: error for address, error in failed.items() if isinstance(error, SchemaNotApproved)
    }
    others = {address: error for address, error in failed.items() if address not in asked}
    tell_of_all(others, names, everything=False)
    if not asked:
        if others:
            sys.exit(FAILED)
        say("No change of columns waits to be approved.")
        return
    approved = [error.change for error in asked.values()]
    due = [synced for synced in tables if synced.address in asked]
    for address, planned in forecasts(due, {"approved_changes": tuple(approved)}).items():
        if isinstance(planned, SyncError):
            raise planned
        say_sentence(f"{names[address]}: {'; '.join(asked[address].changes)}")
        for statement in planned.ddl:
            say(f"  {statement}")
    if yes or click.confirm("Take this, and sync?"):
        together = selected(tables, [str(synced.table.target) for synced in due])
        _run(written, together, {"approved_changes": approved})


def _run(
    written: Written,
    tables: Sequence[SyncedTable],
    options: Mapping[str, Any],
    *,
    parallel: int = 1,
    everything: bool = False,
    as_json: bool = False,
) -> NoReturn:
    # An orderly stop (kill, docker stop, systemd) ends like Ctrl-C: cancelled on the servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    require_urls(tables)
    receipts_kept()
    runs_kept(os.environ)
    names = names_of(synced.address for synced in tables)
    with display(names) as shown:
        work = _Work(written, tables, options, shown, parallel)
        interrupted = work.do()
    _print_results(work, everything=everything, as_json=as_json)
    say(_total(work), err=True)
    if interrupted:
        say("Interrupted.", err=True)
    sys.exit(INTERRUPTED if interrupted else FAILED if work.errors else 0)


class _Work:
    """The tables of one command: looked at, synced, and tried once more where that may help."""

    def __init__(
        self,
        written: Written,
        tables: Sequence[SyncedTable],
        options: Mapping[str, Any],
        display: PlainDisplay,
        parallel: int,
    ) -> None:
        self.tables, self.display = tables, display
        self.again: list[SyncedTable] = []
        self.errors: dict[Address, SyncError] = {}
        self._written, self._options, self._parallel = written, options, parallel

    def do(self) -> bool:
        """Do it, and say whether it was interrupted."""
        # Dagster takes a second or two to import: while the servers are asked, that is for nothing. Its
        # modules import each other in circles, where two threads at once may end in a deadlock.
        ahead = threading.Thread(target=importlib.import_module, args=[LAUNCH], daemon=True)
        ahead.start()
        self.display.doing(f"looking at {in_words(len(self.tables))}")
        idle = [] if self._options else idle_tables(self.tables)
        ahead.join()
        if idle:
            from sync_assets.launch.idle import left_out

            known = left_out(idle)
            for synced, receipt in idle:
                if synced.address in known:
                    self.display.finished(synced, receipt)
        due = [each for each in self.tables if each.address not in self.display.receipts]
        self.display.doing(f"starting a run of {in_words(len(due))}")
        interrupted = bool(due) and self._sync(due)
        self.errors |= self.display.errors
        for synced in due:
            if synced.address not in self.errors and synced.address not in self.display.receipts:
                from sync_assets.launch.run import not_reached

                self.errors[synced.address] = not_reached(synced)
        if self.errors and not interrupted:
            from sync_assets.launch.run import keep_failures

            failed = [each for each in due if each.address in self.errors]
            keep_failures([(each, self.errors[each.address]) for each in failed])
        return interrupted

    def _sync(self, due: Sequence[SyncedTable]) -> bool:
        from sync_assets.launch.run import run_tables
        from sync_assets.runs.failures import may_pass

        ended = run_tables(self._written, due, self._options, self.display, self._parallel)
        self.errors |= ended.errors
        if ended.interrupted:
            return True
        self.again = [each for each in due if may_pass(self.display.errors.get(each.address))]
        if not self.again:
            return False
        names = named([self.display.names[each.address] for each in self.again])
        self.display.say(f"Once more, as what they failed for may have passed: {names}")
        ended = run_tables(self._written, self.again, self._options, self.display, self._parallel)
        for each in self.again:
            self.errors.pop(each.address, None)
        self.errors |= ended.errors
        return ended.interrupted


def idle_tables(tables: Sequence[SyncedTable]) -> list[tuple[SyncedTable, Receipt]]:
    """Those a run would find nothing for, of a group all or none; imports nothing of Dagster's."""
    from sync_assets.cli.connections import by_connections
    from sync_assets.engine.inspection.idle import idle_among

    found: dict[Address, Receipt] = {}
    for ends in by_connections(tables):
        with contextlib.suppress(SyncError):  # the run will tell
            asked = [synced.between_sweeps for synced in ends.tables]
            idle = idle_among(ends.source_url, ends.target_url, asked)
            found |= {(ends.target_connection, str(name)): each for name, each in idle.items()}
    return [
        (synced, found[synced.address])
        for synced in tables
        if {
            (synced.target_connection, str(each))
            for each in synced.snapshot_targets or (synced.table.target,)
        }
        <= found.keys()
    ]


def _print_results(work: _Work, *, everything: bool, as_json: bool) -> None:
    receipts, names = work.display.receipts, work.display.names
    tell_of_all(work.errors, names, everything=everything)
    if as_json:
        from sync_assets.cli.documents import RunDocument, RunTable, table_or_error

        ended: dict[Address, Receipt | SyncError] = {**work.errors, **receipts}
        found = [table_or_error(RunTable, each, ended[each.address]) for each in work.tables]
        print_json(RunDocument(found, [names[each.address] for each in work.again]))
        return
    done = [(names[s.address], receipts[s.address]) for s in work.tables if s.address in receipts]
    shown = [each for each in done if each[1].run_id] if len(done) > SHOWN else done
    if len(shown) > SHOWN:
        # The most work first, of which there is something to tell.
        shown = sorted(shown, key=lambda each: -each[1].rows_written)[:SHOWN]
    shown = done if everything else shown
    if shown:
        print_rows(HEADINGS, [_row(*each) for each in shown], NUMBERS, spare=SPARE)
    for name, receipt in shown:
        for event in (*receipt.events, *receipt.schema_changes):
            say_sentence(f"{name}: {event}")
    if len(shown) < len(done):
        say(f"… and {in_words(len(done) - len(shown))} more; --all prints every line.")


def _total(work: _Work) -> str:
    receipts = work.display.receipts.values()
    idle = sum(1 for receipt in receipts if not receipt.run_id)
    rows = sum(receipt.rows_written for receipt in receipts)
    seconds = time.monotonic() - work.display.began
    counts = ((len(receipts) - idle, "synced"), (idle, "unchanged"), (len(work.errors), "failed"))
    told = ", ".join(f"{count:,} {what}" for count, what in counts if count)
    return f"{in_words(len(work.tables))} in {seconds:,.1f} s: {told}; {rows:,} rows written."


def _row(name: str, receipt: Receipt) -> tuple[str, ...]:
    counts = [f"{receipt[f'rows_{name}']:,}" for name in COUNTS]
    seconds = f"{receipt.seconds.get('total', 0.0):.2f}"
    return (receipt.source, name, receipt.mode, *counts, seconds)
