"""`sync-assets status`: how fresh each table is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from sync_assets.cli.examples import examples
from sync_assets.cli.output import number, print_json, print_rows, say
from sync_assets.runs.progress_log import duration

if TYPE_CHECKING:
    from sync_assets.cli.selection import Address
    from sync_assets.engine import TableStatus

HEADINGS = ("table", "last sync", "rows", "watermark", "source max xmin", "behind", "data age")
NUMBERS = "llrrrrr"
SPARE = ("source max xmin", "watermark", "rows")
KILO = 1024


@click.command(
    epilog=examples(
        "sync-assets status",
        "sync-assets status --all",
        "sync-assets status --json | jq '.tables[] | select(.age_seconds > 3600) | .target'",
    )
)
@click.option("--all", "everything", is_flag=True, help="Also what is no longer configured.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, everything: bool, as_json: bool) -> None:
    """Show, for each table in defs.yaml, its last sync and how far behind the source it is.

    Reads the state beside the data in the target, and the source's current position; changes
    nothing. `behind` counts the source's transactions and WAL since the last sync, of all its
    tables; `data age` is how long ago, on the source's clock, the data was read. Below the table
    stands what is in the way of a sync; what is switched off in Dagster is read from
    DAGSTER_HOME, where that is set.
    """
    # Loaded here, so that `status --help` needs no database driver. Of the definitions only the
    # YAML is read: Dagster would take seconds.
    from sync_assets.cli.connections import by_connections
    from sync_assets.cli.hindrances import in_the_way
    from sync_assets.cli.selection import configured_tables, names_of, require_urls
    from sync_assets.engine import read_status
    from sync_assets.hindrances.telling import lines

    place, tables = configured_tables()
    require_urls(tables)
    found: list[tuple[Address, TableStatus]] = []
    every = list(by_connections(tables))
    for ends in every:
        group = [synced.table for synced in ends.tables]
        seen = read_status(ends.source_url, ends.target_url, group, others=everything)
        found += [((ends.target_connection, status.target), status) for status in seen]
    of_dagster = bool(os.environ.get("DAGSTER_HOME"))
    hindrances = list(in_the_way(place, every, of_dagster=of_dagster))
    configured = {synced.address for synced in tables}
    # Two sources may share a target.
    found = [(at, each) for at, each in found if each.configured or at not in configured]
    if as_json:
        from sync_assets.cli.documents import Hindrance, StatusDocument, StatusTable, placed

        shown = [placed(StatusTable, each, at[0]) for at, each in found]
        print_json(StatusDocument(shown, [Hindrance.of(*each) for each in hindrances]))
    else:
        names = names_of(at for at, _ in found)
        print_rows(HEADINGS, [_row(names[at], each) for at, each in found], NUMBERS, spare=SPARE)
        for line in lines(
            ((names[at], kind, about), known) for at, (_, kind, about), known in hindrances
        ):
            say(line)


def _row(name: str, status: TableStatus) -> tuple[str, ...]:
    name = name if status.target == status.source else f"{status.source} → {name}"
    name = name if status.configured else f"{name} (not configured)"
    if status.synced_at is None:
        return (name, "never synced", "", "", "", "", "")
    return (
        name,
        status.synced_at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
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


def size(count: int) -> str:
    """Return a number of bytes as people read it: `12.3 MB`."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < KILO:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= KILO
    return f"{value:.1f} TB"
