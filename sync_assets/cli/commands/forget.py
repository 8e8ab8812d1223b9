"""`sync-assets forget`: drop what the target remembers of a table, never its rows."""

from __future__ import annotations

import os
import sys

import click

from sync_assets.cli.completion import complete_tables
from sync_assets.cli.examples import examples
from sync_assets.cli.output import print_json, say
from sync_assets.plain_text import shown


@click.command(
    epilog=examples(
        "sync-assets forget replica.orders",
        "sync-assets forget public.old_table --yes",
        "sync-assets forget public.t --connection warehouse",
    )
)
@click.argument("table", shell_complete=complete_tables)
@click.option("--connection", help="The target, where the table is not configured or on several.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(table: str, *, connection: str | None, yes: bool, as_json: bool) -> None:
    """Drop the state and the receipts of a target TABLE; its rows stay.

    For a table that is no longer synced; `status --all` shows what the target remembers. A table
    that is still configured is read whole by its next run.
    """
    from sync_assets.cli.selection import require_connections, require_one, written_tables
    from sync_assets.config.model import url_variable
    from sync_assets.engine.names import RelationName
    from sync_assets.engine.state.forget import forget, remembered

    target = RelationName.parse(table)
    _, tables = written_tables()
    owners = [each.target_connection for each in tables if each.table.target == target]
    if connection is None:
        require_one(str(target), owners)
    name = connection or next(iter(owners), "target")
    require_connections({name})
    url = os.environ[url_variable(name)]
    if not yes:
        known = remembered(url, target)
        _ask(
            f"Forget that {known.target} comes from {known.source}, and {known.receipts} receipts?"
        )
    dropped = forget(url, target)
    if as_json:
        from sync_assets.cli.documents import ForgetDocument

        print_json(ForgetDocument(dropped, name))
    else:
        say(f"Forgot {dropped.target} and {dropped.receipts} receipts; its rows are there.")


def _ask(question: str) -> None:
    try:
        agreed = click.confirm(shown(question), err=True)
    except click.Abort:
        # Nobody is there to answer.
        agreed = False
    if not agreed:
        say("Nothing was forgotten; --yes does it without asking.", err=True)
        sys.exit(1)
