"""`sync-assets watch`: a live page about all tables."""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import datetime

import click

from sync_assets.cli.completion import complete_tables
from sync_assets.cli.examples import examples


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
    help="Look so often.",
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
    console, never = Console(), threading.Event()
    with (
        Overview(place, chosen, of_dagster=has_home(os.environ)) as overview,
        Live("Asking…", console=console, screen=True, refresh_per_second=2) as live,
    ):
        while True:
            # In a thread: a driver that waits for a server does not hear Ctrl-C.
            parts = in_thread(overview.look, "look", daemon=True).result()
            live.update(Page(parts, datetime.now().astimezone(), every), refresh=True)
            never.wait(every)
