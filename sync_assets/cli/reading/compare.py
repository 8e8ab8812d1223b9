"""`sync-assets compare`: is the copy that somebody else's tool made what its source is?"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from sync_assets.cli.completion import complete_connections, complete_tables
from sync_assets.cli.examples import examples
from sync_assets.cli.output import print_json, print_rows, say, say_sentence

if TYPE_CHECKING:
    from sync_assets.cli.selection import Address
    from sync_assets.engine.errors import SyncError
    from sync_assets.engine.names import RelationName
    from sync_assets.engine.postgres.access.database import DatabaseOrUrl
    from sync_assets.engine.verify.copied_columns import Copy
    from sync_assets.engine.verify.copies import CopyComparison

    Pair = tuple[RelationName, RelationName]

HEADINGS = ("table", "rows", "on target", "differ", "missing", "extra", "result")
NUMBERS = "lrrrrrl"
SPARE = ("on target",)
HOW = {"differing": "differs", "only_in_source": "missing", "only_in_target": "extra"}
DIFFERENT = 1
PAIR = re.compile(r'(?P<source>(?:[^"=]|"[^"]*")+)(?:=(?P<target>.+))?')
WRITE = (
    "Write schema.table, or schema.table=other.table where the copy has another name;"
    " 'schema.*', or 'schema.*=other.*', for all tables of a schema."
)
TABLES = "rp"
"""What a glob finds: tables, partitioned ones once; as `pg_class.relkind` has it."""

CONNECTION = re.compile(r"\w+")


@click.command(
    epilog=examples(
        "sync-assets compare source target public.orders",
        "sync-assets compare source target 'sales.*'",
        "sync-assets compare postgresql://me@a/shop postgresql://me@b/lake t=raw.t",
        "sync-assets compare source target public.orders --shared-columns",
        "sync-assets compare source target orders --json | jq '.tables[].equal'",
    )
)
@click.argument("source", shell_complete=complete_connections)
@click.argument("target", shell_complete=complete_connections)
@click.argument(
    "tables", nargs=-1, required=True, metavar="TABLE...", shell_complete=complete_tables
)
@click.option("--columns", metavar="NAMES", help="Compare these columns alone: a,b,c.")
@click.option("--exclude", metavar="NAMES", help="Leave these columns out: a,b,c.")
@click.option("--shared-columns", is_flag=True, help="Leave out the columns that one end lacks.")
@click.option("--key", metavar="NAMES", help="Tell rows apart by these columns: a,b.")
@click.option(
    "--examples",
    "most",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    metavar="N",
    help="Name at most N rows of each table.",
)
@click.option(
    "--again-after",
    type=click.FloatRange(0),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait before what differs is looked at again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with the results.")
def command(  # noqa: PLR0913 - click's, each by its name
    source: str,
    target: str,
    tables: tuple[str, ...],
    *,
    columns: str | None,
    exclude: str | None,
    shared_columns: bool,
    key: str | None,
    most: int,
    again_after: float,
    as_json: bool,
) -> None:
    """Compare tables with their copies exactly, row by row; nothing of ours is needed on either end.

    SOURCE and TARGET are libpq URLs or DSNs, or names of connections: `source` stands for
    SYNC_SOURCE_URL, which keeps a password out of the list of processes. TABLE is schema.name, or
    schema.name=other.name where the copy is called otherwise; or a glob with * and ? for tables of the
    source, 'sales.*', or 'sales.*=raw.*' where the copies are in another schema; it leaves views out.

    Both ends are only read, by any role with SELECT. They are not read at one moment, so rows that
    differ are looked at again, and only those that neither end has changed in between are shown, by
    their keys. The exit code is 0 where all are equal, 1 where a row differs or a table could not be
    compared.
    """
    # Loaded here, so that `compare --help` needs no database driver.
    from sync_assets.cli.errors import tell_of_all
    from sync_assets.cli.run_display import display
    from sync_assets.engine.errors import SyncError
    from sync_assets.engine.verify.copied_columns import Copy
    from sync_assets.engine.verify.copies import compare_copy

    # An orderly stop (kill, docker stop, systemd) ends like Ctrl-C: cancelled on the servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    urls = _url(source), _url(target)
    copies = {
        _address(pair): Copy(
            *pair, _names(key), _names(columns), _names(exclude) or (), shared_columns
        )
        for pair in _pairs(tables, urls[0])
    }
    names = {address: _name(*address) for address in copies}
    done: list[tuple[Copy, CopyComparison | SyncError]] = []
    with display(names) as shown:
        for address, copy in copies.items():
            shown.begin(address)
            move = partial(shown.move, address)
            try:
                found = compare_copy(
                    urls, copy, examples=most, again_after=again_after, on_progress=move
                )
            except SyncError as error:
                shown.end(address, error)
                done.append((copy, error))
            else:
                shown.end(address)
                done.append((copy, found))
    tell_of_all(shown.errors, names)
    if as_json:
        from sync_assets.cli.documents import CompareDocument, FailedComparison

        told = [
            FailedComparison.of(copy, it) if isinstance(it, SyncError) else it for copy, it in done
        ]
        print_json(CompareDocument(told))
    else:
        _print(done)
    sys.exit(0 if all(getattr(outcome, "equal", False) for _, outcome in done) else DIFFERENT)


def _url(text: str) -> DatabaseOrUrl:
    """The URL that is written, or the database of the connection which is named."""
    from sync_assets.connections import database_of, named_connections, url_variable
    from sync_assets.engine.errors import ConfigurationError
    from sync_assets.engine.names import suggestion
    from sync_assets.engine.postgres.access.connect import check_database, check_url

    if not CONNECTION.fullmatch(text):
        check_url(text, "given")
        return text
    variable = url_variable(text)
    if not os.environ.get(variable, "").strip():
        raise ConfigurationError(
            f"{variable} is not set, and {text!r} is no URL",
            remedy=f"{suggestion(text, named_connections(os.environ))} Write"
            f" postgresql://role@host/database, or export {variable}=postgresql://…".lstrip(),
        )
    database = database_of(text, os.environ)
    check_database(database, text)
    return database


def _pairs(texts: Sequence[str], source: DatabaseOrUrl) -> Iterator[Pair]:
    """Tables and their copies as they are written, or as globs find them on the source."""
    from sync_assets.cli.selection import is_glob, meant_by
    from sync_assets.engine.errors import ConfigurationError, NoSuchRelation
    from sync_assets.engine.inspection.inventory import relations_of
    from sync_assets.engine.names import RelationName, matches

    there: list[RelationName] | None = None
    for text in texts:
        written = PAIR.fullmatch(text)
        if written is None:
            raise ConfigurationError(f"{text!r} is not the name of a table", remedy=WRITE)
        pattern, copy = written["source"], written["target"]
        if not is_glob(pattern):
            name = RelationName.parse(pattern)
            yield name, RelationName.parse(copy) if copy else name
            continue
        if copy and not copy.endswith(".*"):
            raise ConfigurationError(f"{copy!r} is one place for many tables", remedy=WRITE)
        schema = RelationName.parse(f"{copy[:-1]}any").schema if copy else None
        there = relations_of(source, TABLES) if there is None else there
        found = [name for name in there if matches(name, pattern)]
        if not found:
            hint = meant_by(pattern, there)
            raise NoSuchRelation(
                f"no table of the source matches {pattern!r}", remedy=hint or WRITE
            )
        yield from ((name, RelationName(schema or name.schema, name.name)) for name in found)


def _address(pair: Pair) -> Address:
    return str(pair[0]), str(pair[1])


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(each.strip() for each in text.split(",")) if text is not None else None


def _print(done: Sequence[tuple[Copy, CopyComparison | SyncError]]) -> None:
    from sync_assets.engine.errors import SyncError

    found = [it for _, it in done if not isinstance(it, SyncError)]
    if found:
        print_rows(HEADINGS, [_row(each) for each in found], NUMBERS, spare=SPARE)
    rows = [
        (_name(each.source, each.target), ", ".join(map("=".join, row.key.items())), HOW[row.kind])
        for each in found
        for row in each.examples
    ]
    if rows:
        say("")
        print_rows(("table", "row", "how"), rows)
    for each in found:
        for note in _notes(each):
            say_sentence(f"{_name(each.source, each.target)}: {note}")


def _name(source: str, target: str) -> str:
    return target if source == target else f"{source} → {target}"


def _row(seen: CopyComparison) -> tuple[str, ...]:
    counts = (
        seen.rows_source,
        seen.rows_target,
        seen.rows_differing,
        seen.rows_only_in_source,
        seen.rows_only_in_target,
    )
    return (
        _name(seen.source, seen.target),
        *(f"{count:,}" for count in counts),
        "equal" if seen.equal else "differs",
    )


def _notes(seen: CopyComparison) -> Iterator[str]:
    """What else is to be known of the numbers."""
    if seen.rows_settled:
        yield f"{seen.rows_settled:,} more rows differed at a first look, and no longer at a later one."
    if seen.rows_changing:
        yield (
            f"{seen.rows_changing:,} more differed at every look, changed between any two, and cannot"
            " be judged: compare again when less is written."
        )
    if not (seen.equal or seen.looked_again):
        yield "so many rows differ that they were looked at once: some may only be on their way."
    if not seen.key:
        yield (
            "no key is among the columns: one row that differs counts as one missing and one extra."
            " --key names the columns that tell rows apart."
        )
    ours = seen.columns_of_ours
    others = [name for name in seen.columns_only_in_target if name not in ours]
    for why, names in (
        ("only the source has them", seen.columns_only_in_source),
        ("only the target has them", others),
        ("sync-assets adds them to its copies", ours),
    ):
        if names:
            yield f"not compared, as {why}: {', '.join(names)}."
    if len(ours) > 1:
        yield f"a row that is marked in {ours[1]} is on the target all the same: it counts as extra."
    for each in seen.types_differing:
        yield (
            f"{each.column} is {each.source} on the source and {each.target} on the target;"
            " compared by its text."
        )
