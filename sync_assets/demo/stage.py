"""The demo's folder: one PostgreSQL server with three databases, definitions and a Dagster home."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from psycopg2 import sql

from sync_assets.demo.story import Stage, write_definitions
from sync_assets.engine.errors import ConcurrentRun
from sync_assets.private_server.instance import child_environment, dagster_url, write_instance
from sync_assets.private_server.server import PostgresServer, embedded_binaries

DATABASES = ("source", "target", "dagster")
TOLD = "sync-assets: the demo's story was told to its end"


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """Hold this folder for one process at a time; it is made if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            # Let go of by the kernel, however this process ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConcurrentRun(
                f"another process works in {folder}", remedy="Stop it, or wait for it to end."
            ) from None
        yield folder


@contextmanager
def raised(folder: Path) -> Iterator[Stage]:
    """Start the demo's server for the time of a with block; what it holds stays in the folder."""
    with claimed(folder), PostgresServer(folder / "postgres", embedded_binaries()) as server:
        write_definitions(folder / "defs" / "listings")
        write_instance(folder / "home")
        source, target = server.url("source"), server.url("target")
        own = {
            "SYNC_SOURCE_URL": source,
            "SYNC_TARGET_URL": target,
            "SYNC_DEFS": str(folder / "defs"),
            "SYNC_BATCH_DIR": str(folder / "batches"),
            "DAGSTER_HOME": str(folder / "home"),
            "DAGSTER_PG_URL": dagster_url(server.url("dagster")),
        }
        # The user's own databases and settings must not reach into the demo.
        environment = child_environment(own, drop=("SYNC_", "DAGSTER_", "PG"))
        yield Stage(folder / "home", source, target, environment, server.url("postgres"))


def was_told(stage: Stage) -> bool:
    """Say whether the story was told to its end on this stage."""
    with closing(psycopg2.connect(stage.admin_url)) as session, session.cursor() as cursor:
        cursor.execute(
            "SELECT shobj_description(oid, 'pg_database') = %s FROM pg_database"
            " WHERE datname = 'target'",
            (TOLD,),
        )
        found = cursor.fetchone()
    return bool(found and found[0])


def mark_told(stage: Stage) -> None:
    """Remember, with the data itself, that the story was told to its end."""
    _administer(stage, [sql.SQL("COMMENT ON DATABASE target IS {}").format(sql.Literal(TOLD))])


def clear(stage: Stage) -> None:
    """Make the three databases anew, empty."""
    names = [sql.Identifier(name) for name in DATABASES]
    _administer(
        stage,
        [sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name) for name in names]
        + [sql.SQL("CREATE DATABASE {}").format(name) for name in names],
    )


def _administer(stage: Stage, statements: list[sql.Composed]) -> None:
    with closing(psycopg2.connect(stage.admin_url)) as session, session.cursor() as cursor:
        session.autocommit = True
        for statement in statements:
            cursor.execute(statement)
