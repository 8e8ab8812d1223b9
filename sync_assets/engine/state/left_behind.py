"""What killed loads have left beside their targets: whose it is, and its end."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg2.errors
from psycopg2.sql import SQL, Composable

from sync_assets.engine import errors
from sync_assets.engine.names import RelationName, staging_name
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.session import UNFLUSHED, Connection, Cursor, rows, transaction
from sync_assets.engine.state import ledger


def give_up_loads(connection: Connection, targets: Sequence[RelationName]) -> None:
    """Forget and drop what killed loads of these targets have left; needs their locks.

    Ends where no other process works on a piece any more. Raises PrivilegeError for one of another role.
    """
    if not targets:
        return
    with transaction(connection) as cursor:
        if ledger.abandon(cursor, targets):
            require_ours(cursor, targets)
    drop_left_behind(connection, targets)


def drop_left_behind(connection: Connection, targets: Sequence[RelationName]) -> None:
    """Drop the tables that killed loads of these targets have left; needs their locks.

    Raises PrivilegeError for one of another role.
    """
    if not targets:
        return
    try:
        with transaction(connection, UNFLUSHED, drop_statement(targets)):
            pass
    except psycopg2.errors.InsufficientPrivilege:
        with transaction(connection) as cursor:
            require_ours(cursor, targets)
        raise


def drop_statement(targets: Sequence[RelationName]) -> Composable:
    """What drops the tables that killed loads of these targets have left, if there are any."""
    left = (identifiers.relation(staging_name(target, temporary=False)) for target in targets)
    quiet = SQL("SET LOCAL client_min_messages = warning; DROP TABLE IF EXISTS {}")
    return quiet.format(SQL(", ").join(left))


_OF_OTHERS = """
SELECT n.nspname::text, c.relname::text, pg_catalog.pg_get_userbyid(c.relowner)::text
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE (n.nspname::text, c.relname::text) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
  AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')
"""


def require_ours(cursor: Cursor, targets: Sequence[RelationName]) -> None:
    """Raise PrivilegeError for what a killed load of another role has left.

    Only a member of that role may drop it, and no GRANT changes that.
    """
    left = {staging_name(target, temporary=False): target for target in targets}
    places = [each.schema for each in left], [each.name for each in left]
    for schema, name, owner in rows(cursor, _OF_OTHERS, places):
        table = RelationName(schema, name)
        raise errors.PrivilegeError(
            f"role {owner} began a load of {left[table]} that is not done, and owns what it brought",
            remedy="Run it as that role, which goes on with it, or give it up as that role, then run"
            f" it again: DROP TABLE {table.as_sql};",
        )
