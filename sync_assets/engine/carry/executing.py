"""Execute what makes and drops objects, and say what a server has against it."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg2
from psycopg2.sql import Composable

from sync_assets.engine import errors
from sync_assets.engine.carry.carrying import Carrying
from sync_assets.engine.carry.decide import may_be_there
from sync_assets.engine.carry.objects import TableFacts
from sync_assets.engine.carry.statements import Statement, dropping
from sync_assets.engine.context import Run
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.session import Connection, row, transaction
from sync_assets.engine.state import carried
from sync_assets.engine.state.carried import Carried

PATIENCE = "SET lock_timeout = '10min'"
"""An index that is built beside writers waits for transactions to end, and keeps nobody waiting itself."""


def drop(carrying: Carrying, target: RelationName, there: TableFacts, made: Carried) -> str | None:
    """Drop what a run made; return what was against it."""
    if may_be_there(made, there):
        _, problem = attempt(carrying.run, carrying.target, dropping(target, made))
        if problem is not None:
            return problem.message
    with transaction(carrying.target) as cursor:
        carried.let_go(cursor, target, made)
    return None


def attempt(
    run: Run, connection: Connection, statements: Iterable[Statement]
) -> tuple[int, errors.SyncError | None]:
    """Execute statements; return how many were, and what the target has against the next."""
    done = 0
    try:
        for statement in statements:
            if statement.alone:
                _execute_alone(connection, statement.sql)
            else:
                with transaction(connection) as cursor:
                    cursor.execute(statement.sql)
            done += 1
    except psycopg2.Error as error:
        if connection.closed:
            raise
        return done, run.sessions.explained(error)
    return done, None


def _execute_alone(connection: Connection, statement: Composable) -> None:
    with connection.cursor() as cursor:
        (before,) = row(cursor, "SELECT current_setting('lock_timeout')")
        cursor.execute(PATIENCE)
        try:
            cursor.execute(statement)
        finally:
            if not connection.closed:
                cursor.execute("SELECT set_config('lock_timeout', %s, false)", (before,))
