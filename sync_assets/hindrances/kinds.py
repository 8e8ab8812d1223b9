"""What may stand in the way of a table's sync while no run fails and tells of it: one table of kinds.

Pure: a kind's function sees the circumstances of one look and names the tables it hinders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from sync_assets.config.automation import AlertKind
from sync_assets.config.model import SyncedTable
from sync_assets.engine.context import MAX_BATCH_DISK
from sync_assets.engine.errors import NoSuchRelation, PermanentError, SyncError
from sync_assets.engine.inspection.health import BatchDisk, SourceHealth, TargetHealth
from sync_assets.hindrances.circumstances import ASKED, DAGSTER, DISK, ENDS, Circumstances
from sync_assets.runs.in_flight import SILENCE
from sync_assets.runs.progress_log import duration

MINUTE, HOUR = 60.0, 3600.0
PATIENCE = 10 * MINUTE
"""For how long a server may be away, or a stranger hold a lock, before that is told."""

HELD_BACK = 2 * HOUR
"""For how long a transaction is open that is told of."""

NEAR_THE_WRAP = 1_600_000_000
"""PostgreSQL's own `vacuum_failsafe_age`: from here on its vacuum does nothing but save itself."""

FIX = "sync-assets doctor --fix"

ROOM = MAX_BATCH_DISK // 10
"""Bytes that a run's batch files should find: a tenth of what they may take."""


@dataclass(frozen=True, slots=True)
class Found:
    """A table that is hindered: by what, and what to do about it.

    `about` tells two of a kind apart. It is told once it has lasted for `after` seconds, the
    kind's own by default. `command` does what the remedy says, where it is one for a shell.
    """

    table: SyncedTable
    what: str
    remedy: str
    about: str = ""
    after: float | None = None
    command: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of hindrance: how it is found, and how long it lasts before it is told.

    It is over when it is not found though every part in `needs` could be asked. `alert` is what
    people say who want to be told of it.
    """

    name: str
    words: str
    find: Callable[[Circumstances], Iterator[Found]]
    needs: tuple[str, ...]
    after: float = 0.0
    alert: AlertKind = "failure"


def _of_error(table: SyncedTable, error: SyncError, about: str = "") -> Found:
    """In the words of the run that would meet it."""
    return Found(table, f"{error.kind}: {error.message}", error.remedy, about)


def _unreadable(seen: Circumstances, *, gone: bool) -> Iterator[Found]:
    errors = seen.source.unreadable if isinstance(seen.source, SourceHealth) else {}
    for table in seen.tables:
        error = errors.get(table.table.source)
        if error is not None and isinstance(error, NoSuchRelation) == gone:
            yield _of_error(table, error)


def _table_gone(seen: Circumstances) -> Iterator[Found]:
    yield from _unreadable(seen, gone=True)


def _refused(seen: Circumstances) -> Iterator[Found]:
    yield from _unreadable(seen, gone=False)
    for end, error in seen.ends:
        if isinstance(error, PermanentError):
            yield from (_of_error(table, error, end) for table in seen.tables)


def _unreachable(seen: Circumstances) -> Iterator[Found]:
    for end, error in seen.ends:
        if isinstance(error, SyncError) and not isinstance(error, PermanentError):
            yield from (_of_error(table, error, end) for table in seen.tables)


def _locked(seen: Circumstances) -> Iterator[Found]:
    held = seen.target.locked if isinstance(seen.target, TargetHealth) else {}
    for table in seen.tables:
        if who := held.get(table.table.target):
            what = f"its lock on the target is held by a session that is no run: {who}"
            yield Found(table, what, "End that session, or what it does with pg_advisory_lock().")


def _group_blocked(seen: Circumstances) -> Iterator[Found]:
    alone = {
        each.table.table.target: (each.what, after)
        for find, after in ((_table_gone, 0.0), (_refused, 0.0), (_locked, PATIENCE))
        for each in find(seen)
    }
    for table in seen.tables:
        blocking = [each for each in table.snapshot_targets if each in alone]
        if table.snapshot_group and blocking and table.table.target not in alone:
            first = blocking[0]
            said, after = alone[first]
            what = f"its group {table.snapshot_group} waits for {first}: {said}"
            yield Found(table, what, f"Mend {first}, or take it out of the group.", after=after)


def _failed(seen: Circumstances) -> Iterator[Found]:
    for table in seen.tables:
        if failure := seen.failures.get(table.table.target):
            yield Found(table, failure.what, failure.remedy, failure.kind)


def _hung(seen: Circumstances) -> Iterator[Found]:
    idle = seen.target.idle if isinstance(seen.target, TargetHealth) else {}
    for table in seen.tables:
        target = table.table.target
        held = idle.get(target)
        if held and held.idle >= SILENCE and seen.home and target not in seen.home.working:
            what = "its lock on the target is held by a session of ours, silent for"
            what += f" {held.idle / MINUTE:,.0f} minutes and of no run here: {held.who}"
            remedy = "End that session: what it belongs to hangs, and publishes nothing without it."
            yield Found(table, what, remedy, command=FIX)


def _at_home(kind: str) -> Callable[[Circumstances], Iterator[Found]]:
    """What was found of this kind where Dagster was asked."""

    def find(seen: Circumstances) -> Iterator[Found]:
        for trouble in seen.home.troubles if seen.home else ():
            for table in seen.tables if trouble.kind == kind else ():
                if table.table.target in trouble.targets:
                    said = trouble.what, trouble.remedy, trouble.about
                    yield Found(table, *said, command=trouble.command)

    return find


def _too_old(seen: Circumstances) -> Iterator[Found]:
    if not isinstance(seen.target, TargetHealth):
        return
    looks = seen.home.looks if seen.home else {}
    for table in seen.tables:
        target, automation = table.table.target, table.automation
        last, look = seen.target.last_syncs.get(target), looks.get(target, 0.0)
        if automation.freshness is None or automation.tolerated is None:
            continue
        allowed = automation.tolerated.total_seconds()
        if last and last.age - max(look - last.at.timestamp(), 0.0) <= allowed:
            continue
        when = f"was last synced at {last.at:%Y-%m-%d %H:%M %Z}" if last else "was never synced"
        if last and look > last.at.timestamp():
            when += (
                f", and looked at {datetime.fromtimestamp(look, timezone.utc):%Y-%m-%d %H:%M} UTC"
            )
        what = f"{when}; its freshness allows {duration(automation.freshness.total_seconds())}"
        if automation.is_freshness_too_short:
            what += ", which its schedule did not keep either"
        remedy = "Look at its last runs, and at what else is told of it."
        # One that was never synced counts from the first look.
        yield Found(table, what, remedy, after=None if last else allowed)


def _mark_held(seen: Circumstances) -> Iterator[Found]:
    if not isinstance(seen.source, SourceHealth):
        return
    holder = seen.source.holder
    age = holder.age_seconds if holder else None
    if not seen.source.behind or (age is not None and age < HELD_BACK):
        return
    who = str(holder) if holder else "a transaction on the primary"
    if holder is None:
        remedy = "End it on the primary: pg_stat_activity says there who it is."
    elif holder.gid:
        remedy = "End it: COMMIT PREPARED or ROLLBACK PREPARED, in its database."
    else:
        remedy = f"End it: SELECT pg_terminate_backend({holder.pid});"
    what = f"{who}, holds the watermark back: each run reads again what was written since"
    # Where this role may not see how long it is open, it is to be the same one for so long.
    after, mark = (HELD_BACK if age is None else 0.0), str(seen.source.mark)
    yield from (Found(table, what, remedy, mark, after) for table in seen.tables)


def _near_the_wrap(seen: Circumstances) -> Iterator[Found]:
    for end, health in seen.ends:
        if isinstance(health, SourceHealth | TargetHealth) and health.xid_age >= NEAR_THE_WRAP:
            what = f"the oldest row of the {end}'s database is {health.xid_age:,} transactions old"
            what += "; PostgreSQL stops writing before 2,147,483,648"
            for table in seen.tables:
                yield Found(table, what, "Run there: VACUUM (FREEZE, INDEX_CLEANUP off);", end)


def _disk_full(seen: Circumstances) -> Iterator[Found]:
    if isinstance(seen.disk, SyncError):
        yield from (_of_error(table, seen.disk) for table in seen.tables)
    elif isinstance(seen.disk, BatchDisk) and seen.disk.free < ROOM:
        what = f"{seen.disk.free / 1e6:,.0f} MB are free for batch files in {seen.disk.folder}"
        remedy = "Free space there, or name a folder on a larger disk in SYNC_BATCH_DIR."
        yield from (Found(table, what, remedy) for table in seen.tables)


KINDS = (
    Kind("table_gone", "the source has no such table", _table_gone, ("source",)),
    Kind("refused", "a server does not let the role in, or not at the table", _refused, ENDS),
    Kind("unreachable", "a server does not answer", _unreachable, ASKED, after=PATIENCE),
    Kind(
        "group_blocked", "another table of its `snapshot_group` is hindered", _group_blocked, ENDS
    ),
    Kind("failed", "its last sync failed", _failed, (DAGSTER,)),
    Kind(
        "switched_off",
        "a schedule or sensor is off, and the table says `automation: running`",
        _at_home("switched_off"),
        (DAGSTER,),
    ),
    Kind(
        "daemon_down",
        "the part of Dagster's daemon that is to start its syncs gives no sign of life",
        _at_home("daemon_down"),
        (DAGSTER,),
    ),
    Kind(
        "pool_full",
        "steps wait for its source's pool, which is taken by dead runs, by long ones, or shut",
        _at_home("pool_full"),
        (DAGSTER,),
        after=PATIENCE,
    ),
    Kind("run_dead", "a run of it is dead and not ended", _at_home("run_dead"), (DAGSTER,)),
    Kind(
        "hung",
        "its lock is held by a session of ours that is silent and of no run",
        _hung,
        ("target", DAGSTER),
    ),
    Kind(
        "unwatched",
        "the sensor that tells of all this is off",
        _at_home("unwatched"),
        (DAGSTER,),
    ),
    Kind(
        "versions_differ",
        "the code server works with another version than the command that asks",
        _at_home("versions_differ"),
        (DAGSTER,),
    ),
    Kind(
        "homes_differ",
        "a process of the same project keeps another `DAGSTER_HOME`",
        _at_home("homes_differ"),
        (DAGSTER,),
    ),
    Kind("home_broken", "Dagster's home cannot be opened", _at_home("home_broken"), (DAGSTER,)),
    Kind("too_old", "its `freshness` has passed", _too_old, ("target",), alert="stale"),
    Kind(
        "mark_held",
        "a transaction on the source is open, and holds the watermark back",
        _mark_held,
        ("source",),
        after=HELD_BACK,
    ),
    Kind("near_the_wrap", "a database nears its last transaction id", _near_the_wrap, ENDS),
    Kind("disk_full", "the disk of the batch files is nearly full", _disk_full, (DISK,)),
    Kind("locked", "its lock is held by a stranger", _locked, ("target",), after=PATIENCE),
)
"""Every kind of silence that somebody has found. A new one is a line here, and what finds it."""


def find(seen: Circumstances) -> Iterator[tuple[Kind, Found]]:
    """Everything that hinders a table, in the order of the kinds."""
    for kind in KINDS:
        yield from ((kind, each) for each in kind.find(seen))
