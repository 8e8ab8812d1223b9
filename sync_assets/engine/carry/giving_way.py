"""What refused rows although nothing of it was known before them goes, and is made again after them.

Two rows that swapped their values where a foreign key acts, words that another collation compares in
another way: no look at the catalogs tells of them.
"""

from __future__ import annotations

import psycopg2

from sync_assets.engine.carry.carrying import Carrying
from sync_assets.engine.carry.decide import REFUSING, UNIQUE
from sync_assets.engine.carry.executing import drop
from sync_assets.engine.carry.view_making import drop_views
from sync_assets.engine.errors import SchemaConflict, SyncError
from sync_assets.engine.merge.alter import DEPENDS
from sync_assets.engine.state.carried import Carried
from sync_assets.engine.table import Carry


def gave_way(carrying: Carrying | None, error: SyncError | psycopg2.Error) -> bool:
    """Drop what runs have made and rows were refused by, and say whether they can come now."""
    if carrying is None or carrying.target.closed:
        return False
    if isinstance(error, psycopg2.Error):
        error = carrying.run.sessions.explained(error)
    if not isinstance(error, SchemaConflict):
        return False
    looked = [*carrying.look(where_made=True)]
    refused = {each for *_, made, _ in looked for each in made if _is_said(each, error.message)}
    changes_type = "change column" in error.message
    dropped = [DEPENDS in error.message and drop_views(carrying)]
    for kind in (*REFUSING, Carry.INDEXES):
        for table, there, made, _ in looked:
            for each in made:
                # What it refers to could not go before it, nor get another type.
                leans = kind is Carry.FOREIGN_KEYS and (refused or changes_type)
                if there and each.kind is kind and not each.problem and (leans or each in refused):
                    dropped.append(drop(carrying, table.target, there, each) is None)
    return any(dropped)


def _is_said(each: Carried, message: str) -> bool:
    if each.kind is Carry.NOT_NULL:
        return f'null value in column "{each.name}"' in message
    refuses = each.kind in REFUSING or each.definition.startswith(UNIQUE)
    return refuses and any(f"{before}{each.made_as} " in message for before in _NAMED)


_NAMED = ("constraint ", "which ", "at ")
"""What stands before an index or a constraint that did not allow rows."""
