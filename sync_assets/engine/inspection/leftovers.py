"""What lies on a target that no run needs: staging tables of dead runs, state of tables no longer synced."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sync_assets.engine.names import RelationName, staging_name
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.connection import Sessions, ask
from sync_assets.engine.postgres.lock import held_among, locked
from sync_assets.engine.postgres.session import Cursor, row, rows
from sync_assets.engine.state import ledger
from sync_assets.engine.state.left_behind import drop_left_behind


@dataclass(frozen=True, slots=True)
class Leftovers:
    """`staging`: the targets with a staging table that no run works with.

    `passes` are targets of a full pass by pieces that is not done, and after whose begin others were
    published: no run goes on with it but a full pass. `others` are staging tables of tables that were not asked for, which somebody else's run may work
    with, and `remembered` such tables of which there is state, or a first load that has begun. One of a
    table that was asked for is not left behind: the next run goes on with it.
    """

    staging: tuple[RelationName, ...]
    passes: tuple[RelationName, ...]
    others: tuple[RelationName, ...]
    remembered: tuple[RelationName, ...]


_STAGING = r"""
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.relname ~ '^sync_assets_staging_[0-9a-f]{16}$'
ORDER BY 1, 2
"""

_REMEMBERED = "SELECT target_schema, target_table FROM sync_assets.state ORDER BY 1, 2"


def leftovers(target_url: DatabaseOrUrl, targets: Collection[RelationName]) -> Leftovers:
    """What lies there, `targets` being the tables that are configured; raises SyncError."""

    def look(cursor: Cursor) -> Leftovers:
        found = [RelationName(*each) for each in rows(cursor, _STAGING)]
        (there,) = row(cursor, "SELECT to_regclass('sync_assets.state') IS NOT NULL")
        known = [RelationName(*each) for each in (rows(cursor, _REMEMBERED) if there else ())]
        passed_by = ledger.passed_by(cursor)
        loads = {staging_name(each, temporary=False): each for each in ledger.shares(cursor)}
        known += [each for each in loads.values() if each not in known]
        staging = {staging_name(each, temporary=False): each for each in targets}
        idle = [staging[each] for each in found if each in staging and each not in loads]
        held = held_among(cursor, idle)
        return Leftovers(
            tuple(each for each in idle if each not in held),
            tuple(each for each in targets if each in passed_by),
            tuple(each for each in found if each not in staging and each not in loads),
            tuple(each for each in known if each not in targets),
        )

    return ask(target_url, look, "target")


def drop_staging_of(target_url: DatabaseOrUrl, targets: Collection[RelationName]) -> None:
    """Drop the staging tables of these targets; raises SyncError, ConcurrentRun for one at work."""
    sessions = Sessions(target_url, target_url)

    def drop() -> None:
        with sessions.connected("target") as target, locked(target, targets):
            drop_left_behind(target, [*targets])

    sessions.translating(drop)
