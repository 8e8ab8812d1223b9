"""`sync-assets state export|import`: let the state follow its tables to another server."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import click

from sync_assets.cli.examples import examples
from sync_assets.cli.output import as_json_text, print_json, say

connection_option = click.option(
    "--connection", default="target", show_default=True, help="The target, by its resource key."
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
    "--trust-target", is_flag=True, help="Its tables hold what the other target's held: go on."
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


def _url(connection: str) -> str:
    from sync_assets.cli.selection import require_connections
    from sync_assets.config.model import url_variable

    require_connections({connection})
    return os.environ[url_variable(connection)]


def _read(file: Path) -> dict[str, Any]:
    from sync_assets.engine.errors import ConfigurationError

    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}", remedy="") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file} is not an exported state", remedy="")
    return document
