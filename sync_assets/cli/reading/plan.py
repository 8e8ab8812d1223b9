"""`sync-assets plan`: what the next run would do, and why."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from sync_assets.cli.completion import complete_tables
from sync_assets.cli.examples import examples
from sync_assets.cli.output import (
    SHOWN,
    alike,
    named,
    number,
    print_json,
    print_rows,
    say,
    say_sentence,
    size,
    tables,
)
from sync_assets.runs.progress_log import duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sync_assets.cli.selection import Address
    from sync_assets.config.model import SyncedTable
    from sync_assets.engine import Forecast, SyncError

Planned: TypeAlias = "tuple[SyncedTable, Forecast | SyncError]"
Group: TypeAlias = "list[tuple[str, Forecast]]"

HEADINGS = ("table", "mode", "reads", "pages", "rows at most", "size", "seconds")
NUMBERS = "lllrrrr"
SPARE = ("seconds", "pages")


@click.command(
    epilog=examples(
        "sync-assets plan",
        "sync-assets plan 'sales.*'",
        "sync-assets plan --full-refresh",
        "sync-assets plan public.orders --rows \"created_at >= '2026-01-01'\"",
    )
)
@click.argument("select", nargs=-1, shell_complete=complete_tables)
@click.option("--full-refresh", is_flag=True, help="Plan a run that reads every row.")
@click.option("--rows", metavar="SQL", help="Plan a run that reads these rows again.")
@click.option("--all", "everything", is_flag=True, help="Print every table and statement.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(select: tuple[str, ...], *, everything: bool, as_json: bool, **asked: Any) -> None:
    """Show what the next run would do; SELECT names tables as for `run`.

    For each table: what is read and why, how much of it, every statement that would define or change
    what is on the target, and what becomes of deleted rows. Where there are many tables, those that
    would be treated alike share a line. Reads no row and changes nothing. Exit code 0, whatever it finds.
    """
    from sync_assets.cli.selection import (
        configured_tables,
        names_of,
        require_one_table,
        require_urls,
        selected,
    )

    _, everyone = configured_tables()
    chosen = selected(everyone, select)
    require_one_table(chosen, asked)
    require_urls(chosen)
    outcomes = forecasts(chosen, asked)
    found = _once([(synced, outcomes[synced.address]) for synced in chosen])
    if as_json:
        from sync_assets.cli.documents import PlanDocument, PlanTable, table_or_error

        print_json(PlanDocument([table_or_error(PlanTable, *each) for each in found]))
    else:
        names = names_of(synced.address for synced in chosen)
        _print(found, names, everything=everything)


def forecasts(
    chosen: Sequence[SyncedTable], asked: Mapping[str, Any]
) -> dict[Address, Forecast | SyncError]:
    """The next run of each of these tables, by address, were it asked for that."""
    from sync_assets.cli.connections import by_connections
    from sync_assets.engine import DataCopyEngine

    found: dict[Address, Forecast | SyncError] = {}
    for ends in by_connections(chosen):
        sweeps = any(asked.values())
        # Reading everything looks for deleted rows, too, and so does reading a part again.
        tables = [synced.table if sweeps else synced.between_sweeps for synced in ends.tables]
        wanted = [dataclasses.replace(table, **asked) for table in tables]
        planned = DataCopyEngine(ends.source_url, ends.target_url).plan_each(wanted)
        for synced, outcome in zip(ends.tables, planned, strict=True):
            found[synced.address] = _said(synced, outcome, sweeps=sweeps)
    return found


def _said(
    synced: SyncedTable, outcome: Forecast | SyncError, *, sweeps: bool
) -> Forecast | SyncError:
    if sweeps or synced.between_sweeps is synced.table or isinstance(outcome, Exception):
        return outcome
    until = f"{outcome.deletes} until delete_schedule: {synced.automation.delete_schedule}"
    return dataclasses.replace(outcome, deletes=until)


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


def _print(found: list[Planned], names: dict[tuple[str, str], str], *, everything: bool) -> None:
    from sync_assets.cli.errors import show_trace
    from sync_assets.engine import Forecast

    planned = [(names[s.address], each) for s, each in found if isinstance(each, Forecast)]
    groups = [[each] for each in planned]
    if len(planned) > SHOWN and not everything:
        groups = alike(planned, lambda each: _kind(each[1]))
    if planned:
        print_rows(HEADINGS, [_row(group) for group in groups], NUMBERS, spare=SPARE)
    for group in groups:
        name, first = group[0]
        notes = (*first.schema_changes, *first.events, *first.ddl) if len(group) == 1 else ()
        why = _reason(first) if len(group) > 1 else first.reason
        say("")
        say_sentence(f"{_called(group)}: {why}; {first.deletes}")
        for note in notes:
            say(f"  {note}")
        count = sum(len(each.ddl) for _, each in group)
        if len(group) > 1 and count:
            say(f"  {count:,} statements that define them; see: sync-assets plan {name}")
    failed = [(synced, each) for synced, each in found if not isinstance(each, Forecast)]
    for same in alike(failed, lambda each: (each[1].kind, each[1].message)):
        error = same[0][1]
        show_trace(error)
        say("")
        said = named([names[each.address] for each, _ in same], everything=everything)
        told = error if len(same) == 1 else f"{error.message}. {error.remedy}".rstrip()
        say_sentence(f"{said}: a run would fail: {told}")
    say("")
    say_sentence(_total([each for _, each in planned], len(failed)))


def _kind(planned: Forecast) -> tuple[object, ...]:
    """What is said of a table but for its numbers."""
    changes = planned.schema_changes or planned.events or (planned.ddl and not planned.full)
    own = (planned.target,) if changes else ()
    return (planned.mode, _reads(planned), _reason(planned), planned.deletes, *own)


def _reason(planned: Forecast) -> str:
    return re.sub(r"\d[\d,]*", "…", planned.reason)


def _called(group: Group) -> str:
    return named([name for name, _ in group])


def _total(planned: list[Forecast], failed: int) -> str:
    rows = [each.rows_at_most for each in planned if each.rows_at_most is not None]
    # Of a table that was never analyzed the source knows none.
    counted = f"{sum(rows):,} rows in " if len(rows) == len(planned) else ""
    seconds = [each.seconds_expected for each in planned if each.seconds_expected is not None]
    parts = (
        f"{tables(len(planned) + failed)}",
        f"{failed:,} would fail" if failed else "",
        f"{sum(each.full for each in planned):,} read whole",
        f"at most {counted}{size(sum(each.bytes_at_most for each in planned))}",
        f"about {duration(sum(seconds))}" if seconds else "",
    )
    return ", ".join(filter(None, parts)) + "."


def _row(group: Group) -> tuple[str, ...]:
    first, those = group[0][1], [each for _, each in group]
    expected = [each.seconds_expected for each in those if each.seconds_expected is not None]
    rows = [each.rows_at_most for each in those if each.rows_at_most is not None]
    return (
        _called(group) if len(group) == 1 else tables(len(group)),
        first.mode,
        _reads(first),
        f"{sum(each.pages for each in those):,}",
        number(sum(rows) if len(rows) == len(those) else None, ","),
        size(sum(each.bytes_at_most for each in those)),
        number(sum(expected) if expected else None, ".2f"),
    )


def _reads(planned: Forecast) -> str:
    hows = dict.fromkeys(leaf.how for leaf in planned.leaves)
    return " and ".join([*hows, *(["all keys"] if planned.compares_keys else [])])
