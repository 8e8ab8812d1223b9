"""`sync-assets plan`: what the next run would do, and why."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeAlias

import click

from sync_assets.cli.completion import complete_tables
from sync_assets.cli.examples import examples
from sync_assets.cli.output import number, print_json, print_rows, say

if TYPE_CHECKING:
    from sync_assets.config.model import SyncedTable
    from sync_assets.engine import Forecast, SyncError

Planned: TypeAlias = "tuple[SyncedTable, Forecast | SyncError]"

HEADINGS = ("table", "mode", "reads", "pages", "rows at most", "size", "seconds")
NUMBERS = "lllrrrr"
SPARE = ("seconds", "pages")


@click.command(
    epilog=examples(
        "sync-assets plan", "sync-assets plan 'sales.*'", "sync-assets plan --full-refresh"
    )
)
@click.argument("select", nargs=-1, shell_complete=complete_tables)
@click.option("--full-refresh", is_flag=True, help="Plan a run that reads every row.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(select: tuple[str, ...], *, full_refresh: bool, as_json: bool) -> None:
    """Show what the next run would do; SELECT names target tables (schema.table, with * and ?).

    For each table: what is read and why, how much of it, every statement that would define or change
    what is on the target, and what becomes of deleted rows. Reads no row and changes nothing. Exit
    code 0, whatever it finds.
    """
    from sync_assets.cli.selection import configured_tables, names_of, require_urls, selected

    _, tables = configured_tables()
    tables = selected(tables, select)
    require_urls(tables)
    found = _once([_planned(synced, full_refresh=full_refresh) for synced in tables])
    if as_json:
        from sync_assets.cli.documents import PlanDocument, PlanTable, table_or_error

        print_json(PlanDocument([table_or_error(PlanTable, *each) for each in found]))
    else:
        _print(found, names_of(synced.address for synced in tables))


def _planned(synced: SyncedTable, *, full_refresh: bool) -> Planned:
    from sync_assets.cli.connections import urls_of
    from sync_assets.engine import DataCopyEngine, SyncError

    engine = DataCopyEngine(*urls_of(synced))
    # Reading everything looks for deleted rows, too.
    chosen = synced.table if full_refresh else synced.between_sweeps
    try:
        found = engine.plan(dataclasses.replace(chosen, full_refresh=full_refresh))
    except SyncError as error:
        return synced, error
    if chosen is not synced.table:
        until = f"{found.deletes} until delete_schedule: {synced.automation.delete_schedule}"
        found = dataclasses.replace(found, deletes=until)
    return synced, found


def _once(found: list[Planned]) -> list[Planned]:
    """Each statement at the table whose run comes to it first: schemas and types may be shared."""
    seen: dict[str, set[str]] = {}
    told: list[Planned] = []
    for synced, planned in found:
        if dataclasses.is_dataclass(planned):
            before = seen.setdefault(synced.target_connection, set())
            ddl = tuple(each for each in planned.ddl if each not in before)
            before.update(ddl)
            told.append((synced, dataclasses.replace(planned, ddl=ddl)))
        else:
            told.append((synced, planned))
    return told


def _print(found: list[Planned], names: dict[tuple[str, str], str]) -> None:
    from sync_assets.cli.errors import show_trace
    from sync_assets.engine import Forecast

    planned = [(names[s.address], each) for s, each in found if isinstance(each, Forecast)]
    if planned:
        print_rows(HEADINGS, [_row(*each) for each in planned], NUMBERS, spare=SPARE)
    for name, each in planned:
        say("")
        say(f"{name}: {each.reason}; {each.deletes}")
        for note in (*each.events, *each.ddl):
            say(f"  {note}")
    for synced, error in found:
        if not isinstance(error, Forecast):
            show_trace(error)
            say("")
            say(f"{names[synced.address]}: a run would fail: {error}")


def _row(name: str, planned: Forecast) -> tuple[str, ...]:
    from sync_assets.cli.commands.status import size

    hows = dict.fromkeys(leaf.how for leaf in planned.leaves)
    return (
        name,
        planned.mode,
        " and ".join([*hows, *(["all keys"] if planned.compares_keys else [])]),
        f"{planned.pages:,}",
        number(planned.rows_at_most, ","),
        size(planned.bytes_at_most),
        number(planned.seconds_expected, ".2f"),
    )
