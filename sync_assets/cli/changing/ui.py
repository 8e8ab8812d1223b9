"""`sync-assets ui`: the Dagster UI on this project, with nothing to set up first."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sync_assets.cli.examples import examples


@click.command(epilog=examples("sync-assets ui", "sync-assets ui --port 3001"))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the UI.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535))
def command(*, host: str, port: int) -> None:
    """Open the Dagster UI, until Ctrl-C.

    It shows what `sync-assets run` has recorded, and starts what the tables' `automation` says.
    Dagster's home is DAGSTER_HOME, else one among your state files that goes with SYNC_DEFS; what
    is recorded is in SQLite files there, or in the database that DAGSTER_PG_URL names. Without
    SYNC_SOURCE_URL it opens on the demo.
    """
    if not os.environ.get("SYNC_SOURCE_URL"):
        from sync_assets.cli.changing.demo import serve_demo

        click.echo("SYNC_SOURCE_URL is not set: this is the demo, as `sync-assets demo --serve`.")
        serve_demo(Path.cwd() / ".demo", host, port)
        return
    from sync_assets.demo.stage import claimed
    from sync_assets.launch.instance import opened_instance
    from sync_assets.private_server.instance import child_environment, write_workspace
    from sync_assets.private_server.serve import check_port, serve, stop_on_termination
    from sync_assets.runs.home import OWN_RUNS, VARIABLE, find_home

    check_port(host, port)
    home = find_home(os.environ)
    # Here a storage that does not answer is one line; `dagster dev` would print pages.
    with opened_instance():
        pass
    own = {"DAGSTER_HOME": str(home)}
    if not (os.environ.get("DAGSTER_HOME") or os.environ.get(VARIABLE)):
        own[VARIABLE] = str(OWN_RUNS)
    # In a folder of its own: `dagster dev` lets a .env win over the environment.
    with stop_on_termination(), claimed(home / "ui") as folder:
        serve(folder, write_workspace(folder), child_environment(own), (host, port), click.echo)
