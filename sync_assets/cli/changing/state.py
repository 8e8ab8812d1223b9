"""`sync-assets state export|import` and `forget`: move and drop what a target remembers, never rows."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sync_assets.cli.completion import complete_connections, complete_tables
from sync_assets.cli.examples import examples
from sync_assets.cli.output import as_json_text, print_json, say
from sync_assets.plain_text import shown

if TYPE_CHECKING:
    from sync_assets.engine.postgres.access.database import DatabaseOrUrl
    from sync_assets.engine.state.forget import Remembered

connection_option = click.option(
    "--connection",
    default="target",
    show_default=True,
    shell_complete=complete_connections,
    help="The target, by its resource key.",
)


@click.group(
    epilog=examples("sync-assets state export state.json", "sync-assets state import state.json")
)
def command() -> None:
    """Move what a target remembers to another server, with its tables."""


@command.command(
    "export",
    epilog=examples("sync-assets state export state.json", "sync-assets state export - | gzip"),
)
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@connection_option
def export_command(file: str, *, connection: str) -> None:
    """Write state and receipts of every table to FILE, a new one, or to stdout for -."""
    from sync_assets.cli.documents import StateExportDocument
    from sync_assets.engine.errors import ConfigurationError
    from sync_assets.engine.state.export_import import export_state

    if file != "-" and Path(file).exists():
        raise ConfigurationError(f"{file} exists", remedy="Name a new file.")
    document = StateExportDocument(**export_state(_url(connection)))
    if file == "-":
        print_json(document)
        return
    # Readable by nobody else: what is remembered of the newest rows holds values of their keys.
    with open(file, "x", encoding="utf-8", opener=partial(os.open, mode=0o600)) as written:
        written.write(as_json_text(document) + "\n")
    say(f"Wrote the state of {len(document.tables)} tables to {file}.", err=True)


@command.command(
    "import",
    epilog=examples(
        "sync-assets state import state.json",
        "sync-assets state import state.json --trust-target",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.option(
    "--trust-target", is_flag=True, help="Go on from the mark: the tables were copied, too."
)
@connection_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def import_command(file: Path, *, trust_target: bool, connection: str, as_json: bool) -> None:
    """Make a target remember what FILE says; all of it or nothing.

    The next run of each table reads everything once. With --trust-target it goes on from the mark
    instead: say so only if the target's tables were copied after the last sync into the other
    target and before the next, and nobody has written to them since.
    """
    from sync_assets.cli.documents import StateImportDocument
    from sync_assets.engine.state.export_import import import_state

    targets = import_state(_url(connection), _read(file), trust_target=trust_target)
    if as_json:
        print_json(StateImportDocument([str(target) for target in targets], trust_target))
    else:
        say(
            f"Imported the state of {len(targets)} tables; their next runs "
            + ("go on from it." if trust_target else "read everything once.")
        )


def _url(connection: str) -> DatabaseOrUrl:
    from sync_assets.cli.selection import require_connections
    from sync_assets.connections import database_of

    require_connections({connection})
    return database_of(connection, os.environ)


def _read(file: Path) -> dict[str, Any]:
    from sync_assets.engine.errors import ConfigurationError

    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}", remedy="") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file} is not an exported state", remedy="")
    return document


@click.command(
    epilog=examples(
        "sync-assets forget replica.orders",
        "sync-assets forget public.old_table --yes",
        "sync-assets forget public.t --connection warehouse",
        "sync-assets forget replica.orders --load",
    )
)
@click.argument("table", shell_complete=complete_tables)
@click.option(
    "--connection",
    shell_complete=complete_connections,
    help="The target, where the table is not configured or on several.",
)
@click.option("--load", is_flag=True, help="Drop only what a load that is not done has brought.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def forget(table: str, *, connection: str | None, load: bool, yes: bool, as_json: bool) -> None:
    """Drop the state and the receipts of a target TABLE; its rows stay.

    For a table that is no longer synced; `status --all` shows what the target remembers. A table
    that is still configured is read whole by its next run. Where a first load is not done, the rows
    that it has brought, which nobody sees yet, are dropped as well; --load drops nothing else.
    """
    from sync_assets.cli.selection import require_connections, require_one, written_tables
    from sync_assets.connections import database_of
    from sync_assets.engine.names import RelationName
    from sync_assets.engine.state import forget as memory

    target = RelationName.parse(table)
    _, tables = written_tables()
    owners = [each.target_connection for each in tables if each.table.target == target]
    if connection is None:
        require_one(str(target), owners)
    name = connection or next(iter(owners), "target")
    require_connections({name})
    url = database_of(name, os.environ)
    if not yes:
        _ask(_question(memory.remembered(url, target, load=load), load=load))
    dropped = memory.forget(url, target, load=load)
    if as_json:
        from sync_assets.cli.documents import ForgetDocument

        print_json(ForgetDocument(dropped, name))
    else:
        kept = "its rows are there" if dropped.loaded is None else "what was loaded is dropped"
        what = (
            f"a load of {dropped.target}"
            if load
            else f"{dropped.target} and {dropped.receipts} receipts"
        )
        say(f"Forgot {what}; {kept}.")


def _question(known: Remembered, *, load: bool) -> str:
    loaded = "" if known.loaded is None else f"drop the {known.loaded:.0%} that are loaded"
    if load:
        return f"Of a load of {known.target} that is not done, {loaded}?"
    and_loaded = loaded and f", and {loaded}"
    return f"Forget that {known.target} comes from {known.source}, and {known.receipts} receipts{and_loaded}?"


def _ask(question: str) -> None:
    try:
        agreed = click.confirm(shown(question), err=True)
    except click.Abort:
        # Nobody is there to answer.
        agreed = False
    if not agreed:
        say("Nothing was forgotten; --yes does it without asking.", err=True)
        sys.exit(1)
