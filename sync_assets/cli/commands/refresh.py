"""`sync-assets refresh`: look anew at what the source has."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from sync_assets.cli.examples import examples
from sync_assets.cli.output import print_json, say_lines
from sync_assets.config.folder import Component, locate, read_written
from sync_assets.config.refresh import Difference, refresh
from sync_assets.plain_text import shown


@click.command(
    epilog=examples("sync-assets refresh", "sync-assets refresh --take 'sales.*'"),
)
@click.option(
    "--take",
    multiple=True,
    metavar="TABLE",
    help="Take a table that waits, or those that a glob matches (on_new_table: ask or ignore).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, take: tuple[str, ...], as_json: bool) -> None:
    """Look anew at what the source has: tables, keys, columns, comments.

    Patterns in `source` stand for what was found last, so that definitions load without a connection.
    `run` looks by itself, and so does the sensor in Dagster. Columns and comments stand in the UI
    from then on, before the first sync.
    """
    place = locate(os.environ)
    differences = [
        refresh(each.config, each.catalog_file, os.environ, take)
        for each in read_written(place).components
    ]
    after = read_written(place).components
    if as_json:
        from sync_assets.cli.documents import RefreshDocument, Refreshed

        told = [Refreshed.of(*each) for each in zip(after, differences, strict=True)]
        print_json(RefreshDocument(told))
        return
    for component, difference in zip(after, differences, strict=True):
        say_lines("".join(f"{line}\n" for line in _lines(component, difference)))


def _lines(component: Component, difference: Difference) -> Iterator[str]:
    catalog = component.config.catalog
    count = len(catalog.relations) if catalog else 0
    tables, document = len(component.config.placed), component.document
    on = component.config.source_connection
    yield f"{document.place(())}: {count:,} relations on {on}, {tables:,} tables to sync"
    yield from (f"  new: {shown(each)}" for each in difference.new)
    yield from (f"  gone: {shown(each)}" for each in difference.gone)
    for each in component.config.left_out():
        yield f"  left out: {shown(str(each.name))}: {shown(each.why)}. {shown(each.remedy or '')}".rstrip()
