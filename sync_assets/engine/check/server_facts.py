"""What `check` looks at on one server: version, settings, rights, open transactions, room."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sync_assets.engine.postgres import time_outs
from sync_assets.engine.postgres.access.transport import Transport, transport_of
from sync_assets.engine.postgres.driver_errors import Side
from sync_assets.engine.postgres.session import Connection, row, rows, transaction


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction that has written: of a session (`pid`) or prepared (`gid`).

    `seconds` is None where this role may not see when it began; `xids` counts what came after it.
    """

    pid: int | None
    gid: str | None
    role: str | None
    application: str | None
    database: str | None
    seconds: float | None
    xids: int


# One row of what a server says of itself, and what was measured of it: each field is a fact.
@dataclass(frozen=True, slots=True)
class Server:
    """One end. `settings` are as this role finds them, before we set our own.

    `ahead` is how many seconds its clock is before ours, give or take `uncertain`; `xid_age` the
    age of its database's oldest row version; `sees_all` whether others' sessions are shown; `free_connections` what is left for this role;
    `mark_distance` how far its snapshot's xmin is behind its newest transaction. `event_triggers`
    are those that DDL fires and somebody wrote for this database.
    """

    side: Side
    version: int
    version_text: str
    role: str
    database: str
    standby: bool
    ahead: float
    uncertain: float
    pooled: bool
    xid_age: int
    mark_distance: int
    identifies: bool
    sees_all: bool
    encoding: str
    may_create_schemas: bool
    state_exists: bool
    state_usable: bool
    free_connections: int
    settings: Mapping[str, str]
    open_transactions: tuple[OpenTransaction, ...]
    transport: Transport
    event_triggers: tuple[str, ...] = ()


_SERVER = """
SELECT current_setting('server_version'), current_user::text, current_database()::text,
       pg_is_in_recovery(), extract(epoch FROM clock_timestamp())::float8, pg_backend_pid(),
       (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()),
       (pg_snapshot_xmax(s)::text::bigint - pg_snapshot_xmin(s)::text::bigint),
       has_function_privilege('pg_control_system()', 'EXECUTE')
         AND has_function_privilege('pg_control_checkpoint()', 'EXECUTE'),
       pg_has_role('pg_read_all_stats', 'USAGE'), current_setting('server_encoding'),
       has_database_privilege(current_database(), 'CREATE'),
       to_regnamespace('sync_assets') IS NOT NULL,
       (SELECT encrypted FROM pg_stat_gssapi WHERE pid = pg_backend_pid())
FROM pg_current_snapshot() AS s
"""

_STATE_USABLE = """
SELECT has_schema_privilege('sync_assets', 'USAGE')
  AND CASE WHEN to_regclass('sync_assets.receipt') IS NULL
           THEN has_schema_privilege('sync_assets', 'CREATE')
           ELSE (SELECT bool_and(has_table_privilege(oid, 'SELECT')
                   AND (relname = 'version' OR has_table_privilege(oid, 'INSERT')))
                 FROM pg_class WHERE relnamespace = to_regnamespace('sync_assets')
                   AND relkind = 'r' AND relname IN ('version', 'state', 'state_leaf', 'receipt'))
           END
"""

_OPEN = """
SELECT pid, NULL, usename::text, nullif(application_name, ''), datname::text,
       extract(epoch FROM clock_timestamp() - xact_start)::float8, age(backend_xid)
FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
UNION ALL
SELECT NULL, gid, owner::text, NULL, database::text,
       extract(epoch FROM clock_timestamp() - prepared)::float8, age(transaction)
FROM pg_prepared_xacts
"""

_FREE = """
SELECT least(
  (SELECT sum(CASE name WHEN 'max_connections' THEN 1 ELSE -1 END * setting::int)
   FROM pg_settings WHERE name IN
     ('max_connections', 'superuser_reserved_connections', 'reserved_connections'))
    - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
  (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)
    - (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user),
  (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())
    - (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())) + 1
"""

_EVENT_TRIGGERS = """
SELECT e.evtname::text FROM pg_event_trigger e
WHERE e.evtenabled IN ('O', 'A') AND e.evtevent <> 'login'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_event_trigger'::regclass
                    AND d.objid = e.oid AND d.deptype = 'e')
ORDER BY 1
"""

_SETTINGS = "SELECT name, reset_val FROM pg_settings WHERE name = ANY (%s)"
SETTINGS = (
    "autovacuum_freeze_max_age",
    "default_transaction_read_only",
    "hot_standby_feedback",
    "max_standby_streaming_delay",
    "old_snapshot_threshold",
    *time_outs.NAMES,
)


def read_server(connection: Connection, side: Side) -> Server:
    """Everything about one end that `check` wants to know."""
    with transaction(connection) as cursor:
        began = time.time()
        version, role, database, standby, clock, pid, *rest = row(cursor, _SERVER)
        spent = time.time() - began
        age, distance, identifies, sees_all, encoding, creates, state, gssapi = rest
        return Server(
            side=side,
            version=connection.server_version,
            version_text=version,
            role=role,
            database=database,
            standby=standby,
            ahead=clock - (began + spent / 2),
            uncertain=spent / 2,
            # A pooler makes up the process that a client may ask it to cancel.
            pooled=connection.info.backend_pid != pid,
            xid_age=age,
            mark_distance=distance,
            identifies=identifies,
            sees_all=sees_all,
            encoding=encoding,
            may_create_schemas=creates,
            state_exists=state,
            state_usable=bool(row(cursor, _STATE_USABLE)[0]) if state else False,
            free_connections=row(cursor, _FREE)[0],
            settings=dict(rows(cursor, _SETTINGS, (list(SETTINGS),))),
            open_transactions=tuple(OpenTransaction(*each) for each in rows(cursor, _OPEN)),
            transport=transport_of(connection, gssapi=bool(gssapi)),
            event_triggers=tuple(name for (name,) in rows(cursor, _EVENT_TRIGGERS)),
        )
