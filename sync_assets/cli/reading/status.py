"""`sync-assets status`: how fresh each table is."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from sync_assets.cli.completion import complete_tables
from sync_assets.cli.examples import examples
from sync_assets.cli.output import (
    SHOWN,
    clock,
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
    from sync_assets.cli.connections import Ends
    from sync_assets.cli.selection import Address
    from sync_assets.engine import Limits, TableStatus

HEADINGS = ("table", "last sync", "rows", "watermark", "source max xmin", "behind", "data age")
NUMBERS = "llrrrrr"
SPARE = ("source max xmin", "watermark", "rows")


@click.command(
    epilog=examples(
        "sync-assets status",
        "sync-assets status 'sales.*'",
        "sync-assets status --all",
        "sync-assets status --json | jq '.tables[] | [.target, .age_seconds]'",
    )
)
@click.argument("select", nargs=-1, shell_complete=complete_tables)
@click.option(
    "--all", "everything", is_flag=True, help="Show every table, also those no longer configured."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(select: tuple[str, ...], *, everything: bool, as_json: bool) -> None:
    """Show, for each table in defs.yaml, its last sync and how far behind the source it is.

    SELECT names tables as for `run`. Of many tables the stalest are shown, and a total of all.

    Reads the state beside the data in the target, and the source's current position; changes
    nothing. `behind` is how many transactions and how much WAL the whole source has written since
    the table's last sync; `data age` is how long ago, on the source's clock, the data was read. Lines
    below the table say why a run would wait now (`pause_while`), and what is in the way of a sync.
    What is switched off in Dagster is read from its home, where there is one.
    """
    # Loaded here, so that `status --help` needs no database driver. Of the definitions only the
    # YAML is read: Dagster would take seconds.
    from sync_assets.cli.connections import by_connections
    from sync_assets.cli.hindrances import in_the_way
    from sync_assets.cli.selection import configured_tables, names_of, require_urls, selected
    from sync_assets.engine import read_status
    from sync_assets.hindrances.telling import lines
    from sync_assets.runs.home import has_home

    place, everyone = configured_tables()
    chosen = selected(everyone, select)
    require_urls(chosen)
    found: list[tuple[Address, TableStatus]] = []
    every = list(by_connections(chosen))
    for ends in every:
        group = [synced.table for synced in ends.tables]
        seen = read_status(
            ends.source_url, ends.target_url, group, others=everything and not select
        )
        waits = _waits(ends)
        seen = [dataclasses.replace(each, waits_for=waits.get(each.target)) for each in seen]
        found += [((ends.target_connection, status.target), status) for status in seen]
    hindrances = list(in_the_way(place, every, of_dagster=has_home(os.environ)))
    configured = {synced.address for synced in chosen}
    # Two sources may share a target.
    found = [(at, each) for at, each in found if each.configured or at not in configured]
    if as_json:
        from sync_assets.cli.documents import Hindrance, StatusDocument, StatusTable, placed

        shown_ = [placed(StatusTable, each, at[0]) for at, each in found]
        print_json(StatusDocument(shown_, [Hindrance.of(*each) for each in hindrances]))
    else:
        names = names_of(at for at, _ in found)
        shown = found if everything or len(found) <= SHOWN else _stalest(found)
        print_rows(HEADINGS, [_row(names[at], each) for at, each in shown], NUMBERS, spare=SPARE)
        if len(shown) < len(found):
            left = tables(len(found) - len(shown))
            say(f"… and {left} of fresher data; --all prints every line.")
        say_sentence(_total([each for _, each in found]))
        for why, count in Counter(each.waits_for for _, each in found if each.waits_for).items():
            say_sentence(f"A run of {tables(count)} would wait now: {why}.")
        for line in lines(
            ((names[at], kind, about), known) for at, (_, kind, about), known in hindrances
        ):
            say_sentence(line)


def _waits(ends: Ends) -> dict[str, str]:
    """Why a run would wait now, by target; one that would fail, as it may not ask, does not wait."""
    from sync_assets.engine.errors import PrivilegeError
    from sync_assets.engine.pause import waits_now

    now: dict[Limits, str] = {}
    for limits in {synced.limits for synced in ends.tables}:
        with suppress(PrivilegeError):
            now[limits] = waits_now(ends.source_url, limits)
    return {str(each.table.target): why for each in ends.tables if (why := now.get(each.limits))}


def _stalest(found: Sequence[tuple[Address, TableStatus]]) -> list[tuple[Address, TableStatus]]:
    """Those of which there is most to tell: never synced, of another source, of old data."""
    worst = float("inf")

    def age(each: tuple[Address, TableStatus]) -> float:
        return worst if each[1].age_seconds is None else each[1].age_seconds

    return sorted(found, key=age, reverse=True)[:SHOWN]


def _total(found: Sequence[TableStatus]) -> str:
    ages = sorted(each.age_seconds for each in found if each.age_seconds is not None)
    # As people read them, two may be the same.
    told = dict.fromkeys(map(duration, (*ages[:1], *ages[-1:])))
    never = sum(each.synced_at is None for each in found)
    rows = sum(each.rows_in_target or 0 for each in found)
    parts = (
        tables(len(found)),
        f"{never:,} never synced" if never else "",
        f"{rows:,} rows",
        f"data {' to '.join(told)} old" if told else "",
    )
    return ", ".join(filter(None, parts)) + "."


def _row(name: str, status: TableStatus) -> tuple[str, ...]:
    name = name if status.target == status.source else f"{status.source} → {name}"
    name = name if status.configured else f"{name} (not configured)"
    loading = "" if status.loaded is None else f"loading, {status.loaded:.0%}"
    if status.synced_at is None:
        return (name, loading or "never synced", "", "", "", "", "")
    return (
        f"{name} ({loading})" if loading else name,
        clock(status.synced_at),
        number(status.rows_in_target, ","),
        number(status.watermark),
        number(status.source_max_xmin),
        _lag(status),
        "" if status.age_seconds is None else duration(status.age_seconds),
    )


def _lag(status: TableStatus) -> str:
    if status.source_problem:
        return status.source_problem
    parts = []
    if status.lag_xids is not None:
        parts.append(f"{status.lag_xids:,} xids")
    if status.lag_bytes is not None:
        parts.append(size(status.lag_bytes))
    return ", ".join(parts)
