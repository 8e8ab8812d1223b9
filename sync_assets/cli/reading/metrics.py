"""`sync-assets metrics`: the numbers of all tables for Prometheus and its like."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sync_assets.cli.examples import examples
from sync_assets.cli.output import say, say_lines
from sync_assets.whole_file import replace_whole

if TYPE_CHECKING:
    from sync_assets.cli.monitoring.overview import Overview, PartNow

EVERYBODY_READS = 0o644
"""The mode of the file: node_exporter is another user."""


@click.command(
    epilog=examples(
        "sync-assets metrics",
        "sync-assets metrics --listen 127.0.0.1:9187",
        "sync-assets metrics --textfile /var/lib/node_exporter/sync_assets.prom",
    )
)
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write them to a file, whole or not at all, for node_exporter.",
)
@click.option("--listen", metavar="HOST:PORT", help="Answer GET /metrics until Ctrl-C.")
def command(*, textfile: Path | None, listen: str | None) -> None:
    """Print the numbers of all tables in defs.yaml as OpenMetrics text.

    Nothing of ours needs to run for them: they are read when they are asked for, from states and receipts
    on the target, from the source's position, and from Dagster's home where there is one. `--listen` looks
    anew at each scrape. A database that does not answer has `sync_assets_up 0`; where that is a target, the
    command fails, unless it listens.
    """
    _require_client()
    from sync_assets.engine.errors import ConfigurationError

    if textfile is not None and listen is not None:
        raise ConfigurationError(
            "--textfile and --listen are two ways to tell the same", remedy="Keep one of the two."
        )
    # An orderly stop (kill, docker stop, systemd) ends like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    overview = _overview()
    if listen is not None:
        _listen(overview, listen)
        return
    with overview:
        parts = overview.look()
    if textfile is None:
        say_lines(_text(parts).decode())
    else:
        write_whole(textfile, _text(parts, older=True))
    for part in parts:
        if isinstance(part.target, Exception):
            raise part.target


def _require_client() -> None:
    from sync_assets.engine.errors import ConfigurationError

    try:
        import prometheus_client  # noqa: F401 (whether it is there)
    except ImportError:
        raise ConfigurationError(
            "prometheus_client, which writes the numbers, is not installed",
            remedy="Install it: pip install 'sync-assets[metrics]'.",
        ) from None


def _overview() -> Overview:
    from sync_assets.cli.monitoring.overview import Overview
    from sync_assets.cli.selection import configured_tables, require_urls
    from sync_assets.runs.home import has_home

    place, tables = configured_tables()
    require_urls(tables)
    return Overview(place, tables, of_dagster=has_home(os.environ))


def _text(parts: list[PartNow], *, older: bool = False) -> bytes:
    from sync_assets.cli import program_version
    from sync_assets.cli.monitoring.openmetrics import as_older_text, as_text

    return (as_older_text if older else as_text)(parts, program_version())


def _listen(overview: Overview, where: str) -> None:
    from sync_assets.cli.monitoring.listening import MetricsServer, address

    def exposition(older: bool) -> bytes:  # noqa: FBT001 (the server's one argument)
        return _text(overview.look(), older=older)

    with overview, MetricsServer(*address(where), exposition) as server:
        say(f"Answering at {server.url}; Ctrl-C ends it.", err=True)
        server.serve_forever()


def write_whole(file: Path, content: bytes) -> None:
    """Put the content in the file's place at once; raises ConfigurationError where that is no place."""
    from sync_assets.engine.errors import ConfigurationError

    try:
        replace_whole(file, content, EVERYBODY_READS)
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be written: {error.strerror or error}",
            remedy="Name a file in a folder that is there and that this user may write to.",
        ) from None
