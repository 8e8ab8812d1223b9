"""`sync-assets init` and `refresh`: a first defs.yaml from what the source has, and what patterns find there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from sync_assets.cli.examples import examples
from sync_assets.cli.output import print_json, say_lines
from sync_assets.plain_text import shown

if TYPE_CHECKING:
    from sync_assets.config.catalog import Catalog
    from sync_assets.config.folder import Component
    from sync_assets.config.refresh import Difference
    from sync_assets.engine.inspection.inventory import Found

SOURCE = "source"


@click.command(
    epilog=examples(
        "sync-assets init",
        "sync-assets init public sales --output defs/shop/defs.yaml",
        "sync-assets init --patterns",
        "sync-assets init --json",
    )
)
@click.argument("schemas", metavar="[SCHEMA]...", nargs=-1)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to a new file; one that exists is never overwritten.",
)
@click.option("--patterns", is_flag=True, help="Write one line for each schema.")
@click.option("--json", "as_json", is_flag=True, help="Print what the source has as one object.")
def command(
    schemas: tuple[str, ...], *, output: Path | None, patterns: bool, as_json: bool
) -> None:
    """Write a commented defs.yaml with every table of the source that can be synced.

    Reads the source's catalog (SYNC_SOURCE_URL): all schemas, or those that are named. What cannot be
    synced is there as a comment that says why; so are views, which can be read whole. The file
    loads and runs as it is. It goes to stdout unless --output names a file. With --patterns it has one
    line for each schema instead, and tables that are new there are synced without another edit.
    """
    from sync_assets.cli.selection import require_connections
    from sync_assets.connections import database_of
    from sync_assets.engine.inspection.inventory import inventory

    require_connections({SOURCE})
    _require_new(output)
    found = inventory(database_of(SOURCE, os.environ), schemas)
    if as_json:
        print_json(InitDocument([FoundRelation.of(each) for each in found]))
        return
    text = "".join(f"{line}\n" for line in _lines(found, patterns=patterns))
    if output is None:
        say_lines(text)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("x", encoding="utf-8") as file:
        file.write(text)
    next_ = ["sync-assets check", "sync-assets run"]
    if not _is_found(output):
        next_.insert(0, f"export SYNC_DEFS={_place(output)}")
    say_lines("".join([f"Wrote {output}. Next:\n", *(f"  {each}\n" for each in next_)]), err=True)


def _is_found(output: Path) -> bool:
    """Whether SYNC_DEFS names a folder that the file is in."""
    named = os.environ.get("SYNC_DEFS")
    return named is not None and output.absolute().is_relative_to(named)


def _place(output: Path) -> Path:
    """The folder for SYNC_DEFS: a component below `defs` is called by its own folder."""
    folder = output.parent.absolute()
    return folder.parent if folder.parent.name == "defs" else folder


def _require_new(output: Path | None) -> None:
    from sync_assets.engine.errors import ConfigurationError

    if output is not None and output.exists():
        raise ConfigurationError(
            f"{output} exists, and init overwrites nothing", remedy="Name a new file."
        )


def _lines(found: Iterable[Found], *, patterns: bool) -> Iterator[str]:
    from sync_assets.cli.defs_text import defs_lines, pattern_lines
    from sync_assets.engine.errors import NoSuchRelation

    tables = list(found)
    if all(each.problem for each in tables):
        raise NoSuchRelation(
            f"none of the {len(tables)} relations found on the source can be synced as it is",
            remedy="See why: sync-assets init --json.",
        )
    return pattern_lines(tables) if patterns else defs_lines(tables)


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
def refresh(*, take: tuple[str, ...], as_json: bool) -> None:
    """Look anew at what the source has: tables, keys, columns, comments.

    Patterns in `source` stand for what was found last, so that definitions load without a connection.
    `run` looks by itself, and so does the sensor in Dagster. Columns and comments stand in the UI
    from then on, before the first sync.
    """
    from sync_assets.config import refresh as source
    from sync_assets.config.folder import locate, read_written

    place = locate(os.environ)
    differences = []
    components = read_written(place).components
    _require_found(
        take, [source.looked_at(each.config, os.environ) for each in components] if take else []
    )
    for each in components:
        found = source.refresh(each.config, each.catalog_file, os.environ, take)
        if found.unkept is not None:
            raise found.unkept
        differences.append(source.difference(each.config.catalog, found.catalog))
    after = read_written(place).components
    if as_json:
        told = [Refreshed.of(*each) for each in zip(after, differences, strict=True)]
        print_json(RefreshDocument(told))
        return
    for component, difference in zip(after, differences, strict=True):
        say_lines("".join(f"{line}\n" for line in _told(component, difference)))


def _require_found(take: Iterable[str], catalogs: Sequence[Catalog]) -> None:
    """Raise ConfigurationError for a word that takes no relation of any source."""
    from sync_assets.cli.selection import meant_by
    from sync_assets.engine.errors import ConfigurationError
    from sync_assets.engine.names import matches

    there = [each.name for catalog in catalogs for each in catalog.relations]
    for word in take:
        if not any(matches(name, word) for name in there):
            raise ConfigurationError(
                f"nothing on the source matches {word!r}",
                remedy=meant_by(word, there) or "See what it has: sync-assets refresh.",
            )


def _told(component: Component, difference: Difference) -> Iterator[str]:
    catalog = component.config.catalog
    count = len(catalog.relations) if catalog else 0
    tables, document = len(component.config.placed), component.document
    on = component.config.source_connection[0]
    yield f"{document.place(())}: {count:,} relations on {on}, {tables:,} tables to sync"
    yield from (f"  new: {shown(each)}" for each in difference.new)
    yield from (f"  gone: {shown(each)}" for each in difference.gone)
    for each in component.config.left_out():
        yield f"  left out: {shown(str(each.name))}: {shown(each.why)}. {shown(each.remedy or '')}".rstrip()


@dataclass(frozen=True)
class FoundRelation:
    """A relation of the source; `syncs` says whether it can be synced by row versions.

    `kind` is PostgreSQL's: r, a table; p, partitioned; v, a view; m, a materialized view; f, a
    foreign table. `whole` says that it can be synced by full_sync.
    """

    name: str
    kind: Literal["r", "p", "v", "m", "f"]
    rows: int | None
    bytes: int
    key: list[str]
    xmin_column: str | None
    problem: str | None
    remedy: str | None
    whole: bool
    syncs: bool

    @classmethod
    def of(cls, found: Found) -> FoundRelation:
        """As machines read it."""
        own: dict[str, Any] = {"name": str(found.name), "syncs": found.problem is None}
        known = {
            each.name: getattr(found, each.name) for each in fields(cls) if each.name not in own
        }
        return cls(**known, **own)


@dataclass(frozen=True)
class InitDocument:
    """`init --json`."""

    tables: list[FoundRelation]


@dataclass(frozen=True)
class Refreshed:
    """What one component's source was found to have; `left_out` says of a relation why."""

    file: str | None
    relations: int
    tables: list[str]
    new: list[str]
    gone: list[str]
    left_out: dict[str, str]

    @classmethod
    def of(cls, component: Component, difference: Difference) -> Refreshed:
        """As machines read it."""
        config = component.config
        return cls(
            component.document.file,
            len(config.catalog.relations) if config.catalog else 0,
            [each.entry.source for each in config.placed],
            list(difference.new),
            list(difference.gone),
            {str(each.name): each.why for each in config.left_out()},
        )


@dataclass(frozen=True)
class RefreshDocument:
    """`refresh --json`."""

    components: list[Refreshed]
