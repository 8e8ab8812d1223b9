"""The command line: `sync-assets COMMAND`, one module per command, loaded when it is called.

Exit codes: 0, done; 2, nothing was contacted (usage, configuration); 1, anything after that;
130, interrupted. Errors are one line on stderr, without a traceback and without any password. It
holds how tables are selected, results printed and errors told; it may not know a server but through
the engine, and nothing else of the product may know it.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from sync_assets.cli.examples import examples

COMMANDS = {
    "init": "Write a first defs.yaml from what the source has.",
    "check": "Find what will hurt a sync before it hurts; change nothing.",
    "plan": "Show what the next run would do, and why; change nothing.",
    "run": "Bring the selected tables up to date, through Dagster.",
    "approve": "Approve changes of columns that runs have stopped at, and sync.",
    "doctor": "Find what hinders syncing now, and mend what is safe to mend.",
    "refresh": "Look anew at what the source has, where tables are patterns.",
    "status": "Show each table's last sync, watermark and lag.",
    "watch": "Show the state of all tables live, what needs somebody on top.",
    "metrics": "Print the numbers of all tables for Prometheus, or serve them.",
    "why": "Explain why a row is, or is not, on the target.",
    "forget": "Drop what the target remembers of a table, never its rows.",
    "state": "Move what a target remembers to another server.",
    "ui": "Open the Dagster UI on this project.",
    "verify": "Compare both ends exactly, and name the rows that differ.",
    "compare": "Compare tables with copies that any tool made; change nothing.",
    "workers": "Show how many workers this machine recommends, and why.",
    "demo": "Sync real data between two embedded databases, and show what happens.",
}
"""Every command with its short help, so that `--help` need not load any of them."""

OBJECTS = 50_000
"""New ones between two looks for garbage: a command makes modules and plans, which all stay."""

CHANGING = ("run", "doctor", "state", "ui", "verify", "demo")
"""Modules of commands that may change a database; all others only read."""

BESIDE = {"forget": "state", "refresh": "init", "approve": "run"}
"""Commands that share the module of another one, under their own name."""


class CommandGroup(click.Group):
    """A group that loads a command's module when it is called, and reports errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Name the commands without loading them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load one command's module, whose `command` it is."""
        if cmd_name not in COMMANDS:
            return None
        where = BESIDE.get(cmd_name, cmd_name)
        package = "changing" if where in CHANGING else "reading"
        module = importlib.import_module(f"sync_assets.cli.{package}.{where}")
        command: click.Command = getattr(module, cmd_name if where != cmd_name else "command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is named first; raises UsageError, which names the nearest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from sync_assets.engine.names import nearest

            close = nearest(args[0], COMMANDS)
            hint = f" Did you mean {close!r}?" if close else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands with the table's short help."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run the command line and exit with its code."""
        gc.set_threshold(OBJECTS)
        words = list(sys.argv[1:] if args is None else args)
        extra = {"prog_name": "sync-assets", **extra, "standalone_mode": False}
        try:
            code = super().main(words, **extra)
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 (whatever it is, it ends as one line)
            # Only a failure pays for loading what tells errors apart and hides passwords.
            from sync_assets.cli.errors import report

            code = report(error, debug=_debug(words))
        sys.exit(code if isinstance(code, int) else 0)


def _debug(words: list[str]) -> bool:
    # Click's own parse may be what failed, so the flag is looked for by hand, before the command.
    return "--debug" in words[: next((i for i, w in enumerate(words) if w in COMMANDS), None)]


def _remember_debug(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:  # noqa: FBT001
    from sync_assets.cli.errors import DEBUG

    # For errors that do not end the command.
    ctx.meta[DEBUG] = wanted


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:  # noqa: FBT001
    if not wanted or ctx.resilient_parsing:
        return
    click.echo(f"sync-assets {program_version()}")
    ctx.exit()


def program_version() -> str:
    """The version of this program, as it was installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("sync-assets")
    except PackageNotFoundError:
        return "(not installed)"


def read_env_file(folder: Path) -> None:
    """Read `.env` of this folder into the environment; what is set already stays."""
    path = folder / ".env"
    if path.is_file():
        from dotenv import load_dotenv

        load_dotenv(path)


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "export SYNC_SOURCE_URL=postgresql://… SYNC_TARGET_URL=postgresql://…",
        "sync-assets init --output defs/shop/defs.yaml",
        "export SYNC_DEFS=$PWD/defs",
        "sync-assets check",
        "sync-assets run",
        "sync-assets status",
    ),
)
@click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_remember_debug,
    help="Show the traceback of an error.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Sync tables from one PostgreSQL database into another, through Dagster.

    A defs.yaml below the folder that SYNC_DEFS names says which tables; SYNC_SOURCE_URL and
    SYNC_TARGET_URL say where both databases are. A .env file in the current folder is read too.
    """
    read_env_file(Path.cwd())
