"""Open Dagster's instance, or say in one line why it does not open."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import dagster as dg
import psycopg2
from dagster import DagsterInvalidConfigError
from sqlalchemy.exc import ArgumentError

from sync_assets.engine.errors import ConfigurationError, ConnectionFailed, SyncError
from sync_assets.launch.engines import kept_engines
from sync_assets.private_server.instance import write_instance
from sync_assets.runs.home import alone_in, find_home, has_home, state_folder

UNSET = re.compile(r'environment variable "(\w+)"')
RETRYING = "Retrying failed database connection"
NO_FILE = "No dagster instance configuration file"
"""What Dagster says at each opening of a home that holds no dagster.yaml, which is a home like another."""

SHAPE = "postgresql+psycopg2://role@host/database"


FILES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
"""Where Dagster keeps what it records, unless dagster.yaml says otherwise."""


class BrokenHome(ConfigurationError):
    """Stop what uses it, and run: sync-assets doctor --fix."""

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.file = home, home / name
        made = f"{self.file} was made by several processes at once"
        super().__init__(f"{made}, and Dagster cannot open it")


def mend_home(broken: BrokenHome) -> None:
    """Take all marks of the tables' version away; Dagster writes one when it opens the file."""
    with alone_in(broken.home), closing(sqlite3.connect(broken.file)) as opened:
        opened.execute("DELETE FROM alembic_version")
        opened.commit()


@contextmanager
def opened_instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's instance, in the home that `find_home` finds.

    Raises ConfigurationError if it is not set up rightly, ConnectionFailed if its storage cannot
    be reached.
    """
    with kept_engines():
        try:
            with _quiet():
                instance = _open()
        except Exception as error:  # noqa: BLE001 (whatever dagster.yaml names: a file, a module, a database)
            raise (error if isinstance(error, SyncError) else _told(error)) from None
        with instance:
            yield instance


@contextmanager
def instance_to_read() -> Iterator[dg.DagsterInstance]:
    """Open the instance to read it: where no home was made yet, one as it would be, gone afterwards.

    Raises as `opened_instance` does.
    """
    # In a database there may be runs of other machines.
    if has_home(os.environ) or os.environ.get("DAGSTER_PG_URL"):
        with opened_instance() as instance:
            yield instance
    else:
        with TemporaryDirectory() as place:
            write_instance(Path(place), in_files=True)
            with dg.DagsterInstance.from_config(place) as instance:
                yield instance


def _open() -> dg.DagsterInstance:
    home = find_home(os.environ)
    if os.environ.get("DAGSTER_HOME"):
        with alone_in(home):
            _refuse_two_marks(home)
            return dg.DagsterInstance.get()
    home.mkdir(parents=True, exist_ok=True)
    with alone_in(home):
        new = not has_home(os.environ)
        write_instance(home, in_files=not os.environ.get("DAGSTER_PG_URL"))
        _refuse_two_marks(home)
        instance = dg.DagsterInstance.from_config(str(home))
    if new:
        _tell_where(home)
    return instance


def _tell_where(home: Path) -> None:
    """Say where runs are recorded from now on, and where they were."""
    click.echo(f"DAGSTER_HOME is not set: runs are recorded in {home}", err=True)
    older = (state_folder(os.environ) / "dagster", Path.cwd() / ".dagster")
    if left := [str(folder) for folder in older if folder.is_dir()]:
        click.echo(f"What older versions recorded stays in {' and '.join(left)}, unread", err=True)


def _refuse_two_marks(home: Path) -> None:
    """Raise BrokenHome for a file that processes without our lock made at once."""
    for name in FILES:
        file, marks = home / name, 0
        with (
            suppress(sqlite3.Error),
            closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as opened,
        ):
            marks = opened.execute("SELECT count(*) FROM alembic_version").fetchone()[0]
        if marks > 1:
            raise BrokenHome(home, name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Dagster logs of a missing dagster.yaml and of each attempt to connect off the console.

    The last attempt is our error.
    """

    def keep(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith((RETRYING, NO_FILE))

    # A logger's filter sees only what is logged to it directly, as these are.
    loggers = logging.getLogger(), logging.getLogger("dagster")
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(keep)


def _told(error: Exception) -> SyncError:
    """Name the cause that a person can mend; Dagster's own first line rarely does."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, psycopg2.OperationalError):
            return ConnectionFailed(
                f"Dagster's storage cannot be reached: {_first_line(cause)}",
                remedy="Check DAGSTER_PG_URL, and that its server answers.",
            )
        if isinstance(cause, ArgumentError):
            return ConfigurationError(
                "DAGSTER_PG_URL is not a database's URL", remedy=f"Write {SHAPE}."
            )
        if isinstance(cause, ModuleNotFoundError) and cause.name in ("psycopg", "MySQLdb"):
            return ConfigurationError(
                f"DAGSTER_PG_URL asks for the driver {cause.name}, which is not installed",
                remedy=f"Write {SHAPE}.",
            )
    unset = UNSET.search(str(error))
    if unset:
        return ConfigurationError(
            f"{unset[1]} is not set, and the dagster.yaml in DAGSTER_HOME asks for it",
            remedy="Set it, in the environment or in .env.",
        )
    return ConfigurationError(
        f"Dagster's instance cannot be opened: {_first_line(error)}",
        remedy="Check DAGSTER_HOME and the dagster.yaml in it.",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, DagsterInvalidConfigError) and error.error_messages:
        # The whole schema follows, a page long.
        text = error.error_messages[0].partition(" Expected:")[0]
    return text.strip().partition("\n")[0]
