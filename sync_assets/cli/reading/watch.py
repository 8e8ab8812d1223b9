"""`sync-assets watch`: a live page about all tables."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from sync_assets.cli.completion import complete_tables
from sync_assets.cli.examples import examples

if TYPE_CHECKING:
    from sync_assets.cli.monitoring.overview import PartNow


@click.command(
    epilog=examples(
        "sync-assets watch",
        "sync-assets watch 'sales.*' --every 2",
    )
)
@click.argument("select", nargs=-1, shell_complete=complete_tables)
@click.option(
    "--every",
    type=click.FloatRange(1),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait between two looks.",
)
def command(select: tuple[str, ...], *, every: float) -> None:
    """Show the state of the tables in defs.yaml on a page that is kept up to date.

    SELECT names tables as for `run`. What needs somebody is on top: first tables that are hindered,
    then those never synced, loading or at work, then the others, those with the oldest data first. The
    page has as many tables as the terminal has room for, and more columns on a wider one; below them
    what holds marks back, and a total of all. `behind` is what the whole source has written since the
    table's last sync; `rows moved` is of its last receipt.

    It changes nothing, and keeps one connection to each database. Ctrl-C ends it.
    """
    from rich.console import Console
    from rich.live import Live

    from sync_assets.cli.monitoring.live_page import Page
    from sync_assets.cli.monitoring.overview import Overview
    from sync_assets.cli.selection import configured_tables, require_urls, selected
    from sync_assets.engine.errors import ConfigurationError
    from sync_assets.engine.threads import in_thread
    from sync_assets.runs.home import has_home

    if not sys.stdout.isatty():
        raise ConfigurationError(
            "watch shows a page on a terminal, and this is none",
            remedy="Ask once: sync-assets status; or for a monitor: sync-assets metrics.",
        )
    # An orderly stop (kill, docker stop, systemd) ends like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    place, everything = configured_tables()
    chosen = selected(everything, select)
    require_urls(chosen)
    console, never, of_dagster = Console(), threading.Event(), has_home(os.environ)
    with (
        Overview(place, chosen, of_dagster=of_dagster) as overview,
        Live(console=console, screen=True, refresh_per_second=2) as live,
    ):

        def show(parts: Sequence[PartNow], asking: str = "") -> None:
            page = Page(parts, datetime.now().astimezone(), every, asking)
            live.update(page, refresh=True)

        def answered(look: Callable[[], Sequence[PartNow]]) -> Sequence[PartNow]:
            # In a thread: a driver that waits for a server does not hear Ctrl-C.
            return in_thread(look, "look", daemon=True).result()

        show(overview.unasked(), "asking the databases")
        if of_dagster:
            show(answered(overview.look_at_databases), "asking Dagster")
        while True:
            show(answered(overview.look))
            never.wait(every)
