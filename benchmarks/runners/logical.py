"""Logical replication: CREATE SUBSCRIPTION until the table is there; then until the target has it all.

The second is told from the end of the writes on the source, which it has been following meanwhile.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing

import psycopg2
from psycopg2.extensions import cursor

READY = "SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel"
APPLIED = "SELECT coalesce(bool_and(replay_lsn >= %s), false) FROM pg_stat_replication"


def until(at: cursor, question: str, values: tuple[str, ...] = ()) -> None:
    """Ask until the answer is yes."""
    while True:
        at.execute(question, values)
        if (at.fetchone() or (False,))[0]:
            return
        time.sleep(0.01)


with (
    closing(psycopg2.connect(os.environ["SOURCE_URL"])) as source,
    closing(psycopg2.connect(os.environ["TARGET_URL"])) as target,
):
    source.autocommit = target.autocommit = True
    here, there = source.cursor(), target.cursor()
    if sys.argv[1] == "prepare":
        here.execute("DROP PUBLICATION IF EXISTS work")
        here.execute(f"CREATE PUBLICATION work FOR TABLE {os.environ['TABLE']}")
        there.execute(f"{os.environ['CREATE_TABLE']}; {os.environ['ADD_KEY']}")
    elif sys.argv[1] == "initial":
        there.execute(
            "CREATE SUBSCRIPTION work CONNECTION %s PUBLICATION work", (os.environ["SOURCE_URL"],)
        )
        until(there, READY)
    else:
        here.execute("SELECT pg_current_wal_lsn()::text")
        until(here, APPLIED, here.fetchone() or ())
