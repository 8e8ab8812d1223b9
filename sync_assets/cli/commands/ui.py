"""`sync-assets ui`: the Dagster UI on this project, with nothing to set up first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from sync_assets.cli.examples import examples

FOLDER = ".dagster"


@click.command(epilog=examples("sync-assets ui", "sync-assets ui --port 3001"))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the UI.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535))
def command(*, host: str, port: int) -> None:
    """Open the Dagster UI, until Ctrl-C.

    Dagster's home is ./.dagster unless DAGSTER_HOME is set, and its storage an embedded PostgreSQL
    server there unless DAGSTER_PG_URL is set. Without SYNC_SOURCE_URL it opens on the demo.
    """
    if not os.environ.get("SYNC_SOURCE_URL"):
        from sync_assets.cli.commands.demo import serve_demo

        click.echo("SYNC_SOURCE_URL is not set: this is the demo, as `sync-assets demo --serve`.")
        serve_demo(Path.cwd() / ".demo", host, port)
        return
    from sync_assets.demo.stage import claimed
    from sync_assets.launch.instance import opened_instance
    from sync_assets.private_server.instance import child_environment, write_workspace
    from sync_assets.private_server.serve import check_port, serve, stop_on_termination

    check_port(host, port)
    folder = Path.cwd() / FOLDER
    with stop_on_termination(), claimed(folder), _storage(folder) as url:
        own = {"DAGSTER_HOME": _home(folder), "DAGSTER_PG_URL": url}
        os.environ.update(own)
        # Here a storage that does not answer is one line; `dagster dev` would print pages.
        with opened_instance():
            pass
        # In a folder of its own: `dagster dev` lets a .env win over the environment.
        serve(folder, write_workspace(folder), child_environment({}), (host, port), click.echo)


def _home(folder: Path) -> str:
    from sync_assets.private_server.instance import write_instance

    given = os.environ.get("DAGSTER_HOME")
    if given:
        return str(Path(given).absolute())
    write_instance(folder)
    return str(folder)


@contextmanager
def _storage(folder: Path) -> Iterator[str]:
    """Give the URL of Dagster's storage, from a server of our own unless one is named."""
    given = os.environ.get("DAGSTER_PG_URL")
    if given:
        yield given
        return
    from sync_assets.private_server.instance import dagster_url
    from sync_assets.private_server.server import PostgresServer, embedded_binaries

    with PostgresServer(folder / "postgres", embedded_binaries()) as server:
        # Its only guest is Dagster, so the database that is there from the start will do.
        yield dagster_url(server.url("postgres"))
