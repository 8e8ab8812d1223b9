"""State that an older version of this program has left, brought up to date.

A step takes the tables from one version to the next. A released step never changes: whoever skips
versions walks through all of them, in one transaction, and `state_tables` has only the last shape.
"""

from __future__ import annotations

from sync_assets.engine.lock import lock_ddl
from sync_assets.engine.session import Cursor
from sync_assets.engine.state_tables import STATE_VERSION, version_of

CURSORS_COLUMNS_AND_SAMPLES = """
ALTER TABLE sync_assets.state ADD cursor_column text, ADD cursor_mark text, ADD columns jsonb,
  ADD samples jsonb NOT NULL DEFAULT '[]';
ALTER TABLE sync_assets.state_leaf ADD columns jsonb
"""

POSITIONS_AND_MAPS = """
ALTER TABLE sync_assets.state ADD positions jsonb NOT NULL DEFAULT '[]',
  ADD mapped boolean NOT NULL DEFAULT false
"""

NO_SCHEMA_FINGERPRINTS = """
ALTER TABLE sync_assets.state DROP fingerprint;
ALTER TABLE sync_assets.state_leaf DROP fingerprint
"""

MAPS_BY_STORAGE = """
ALTER TABLE sync_assets.state DROP mapped, ADD map text
"""

MIGRATIONS: tuple[str, ...] = (
    CURSORS_COLUMNS_AND_SAMPLES,
    POSITIONS_AND_MAPS,
    NO_SCHEMA_FINGERPRINTS,
    MAPS_BY_STORAGE,
)
"""The first goes from version 1 to 2, and so on."""


def migrate(cursor: Cursor) -> bool:
    """Bring the state's tables to this program's version, within the transaction of `cursor`.

    Returns whether there are any; raises UnsupportedVersion where they are newer.
    """
    version = version_of(cursor)
    if version is None or version == STATE_VERSION:
        return version is not None
    lock_ddl(cursor)
    # Another run may have done it while this one waited.
    for step in MIGRATIONS[(version_of(cursor) or version) - 1 : STATE_VERSION - 1]:
        cursor.execute(step)
    cursor.execute("UPDATE sync_assets.version SET version = %s", (STATE_VERSION,))
    return True
