"""Find what will hurt before it hurts; changes nothing.

`CHECKS` is the whole of it: each looks at the same facts and yields what it finds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sync_assets.engine.carry.carrying import not_carried
from sync_assets.engine.check import (
    on_changed_pages,
    on_servers,
    on_sessions,
    on_source,
    on_target,
    on_values,
)
from sync_assets.engine.check.facts import Facts, Room, WalFacts, read_wal_facts
from sync_assets.engine.check.finding import Finding, Severity, blocks
from sync_assets.engine.check.server_facts import Server, read_server
from sync_assets.engine.check.table_facts import (
    TablePair,
    paired,
    read_source,
    read_target,
    with_oneness,
)
from sync_assets.engine.check.type_facts import MissingTypes, read_missing_types
from sync_assets.engine.context import MAX_BATCH_DISK
from sync_assets.engine.errors import ConfigurationError, SyncError
from sync_assets.engine.export.batches import base_folder
from sync_assets.engine.limits import Limits
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.driver_errors import Side
from sync_assets.engine.postgres.session import Connection, transaction
from sync_assets.engine.snapshot.identity import place_of
from sync_assets.engine.table import Table

SIDES: tuple[Side, ...] = ("source", "target")
BESIDE_WORKERS = 2
"""Connections to the source that a run may hold besides its workers."""

CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    on_source.unfit_tables,
    on_source.closed_schemas,
    on_source.unreadable_tables,
    on_source.unreadable_leaves,
    on_source.row_level_security,
    on_source.one_table,
    on_target.obstacles,
    on_target.missing_extensions,
    on_target.missing_schemas,
    on_target.closed_target_schemas,
    on_target.target_rights,
    on_target.history_rights,
    on_target.columns_to_change,
    on_target.tables_of_many_sources,
    on_target.target_rules,
    on_target.target_triggers,
    on_target.stricter_targets,
    on_target.values_taken_over,
    on_target.filtered_targets,
    on_target.closed_state,
    on_values.unfilled_views,
    on_values.missing_types,
    on_values.names_of_objects,
    on_values.large_objects,
    on_values.personal_data,
    on_servers.read_only_target,
    on_servers.ddl_triggers,
    on_servers.old_xids,
    on_servers.long_transactions,
    on_servers.prepared_transactions,
    on_servers.mark_held_back_on_standby,
    on_servers.cancelling_standby,
    on_servers.snapshots_not_shared,
    on_sessions.expiring_snapshots,
    on_servers.hidden_identity,
    on_servers.hidden_timeline,
    on_servers.narrower_encoding,
    on_servers.unchecked_encoding,
    on_sessions.unseen_sessions,
    on_sessions.poolers,
    on_sessions.plain_text,
    on_sessions.unverified,
    on_sessions.connection_room,
    on_sessions.batch_room,
    on_sessions.clocks,
    on_servers.untested_versions,
    on_sessions.time_outs,
    on_target.deletes_left_behind,
    on_target.unchecked_domains,
    on_target.not_carried,
    on_changed_pages.unknown_changes,
)


@dataclass(frozen=True, slots=True)
class Checked:
    """The servers that were asked, and what was found: what blocks first.

    An end that did not answer is None.

    `changed_pages` says by what the source names them, where it can; `keyless` are the targets of
    tables that are synced without a key.
    """

    source: Server | None
    target: Server | None
    findings: tuple[Finding, ...]
    changed_pages: str | None = None
    keyless: frozenset[RelationName] = frozenset()


def check(  # noqa: PLR0913 - the tables, and what their callers know of them, by name
    source_url: DatabaseOrUrl,
    target_url: DatabaseOrUrl,
    tables: Sequence[Table],
    *,
    max_workers: int,
    runs: int = 1,
    limits: Collection[Limits] = (),
    groups: Mapping[RelationName, str] = MappingProxyType({}),
) -> Checked:
    """Look at both ends and at every table; raises only what is no finding.

    `runs` is how many may read this source at once, `limits` what they keep to, and `groups` the
    snapshot_group of targets that are in one.
    """
    sessions = Sessions(source_url, target_url)
    return sessions.translating(
        lambda: _checked(sessions, tables, max_workers, runs, limits, groups)
    )


def _checked(
    sessions: Sessions,
    tables: Sequence[Table],
    max_workers: int,
    runs: int,
    limits: Collection[Limits],
    groups: Mapping[RelationName, str],
) -> Checked:
    failures: list[Finding] = []
    with contextlib.ExitStack() as stack:
        ends = {side: _opened(stack, sessions, side, failures) for side in SIDES}
        source, target = (
            read_server(connection, side) if connection else None
            for side, connection in ends.items()
        )
        pairs, types, left = _pairs(ends["source"], ends["target"], tables, groups)
        wal = _wal(ends["source"])
    room = _room(pairs, max_workers, runs, failures)
    facts = Facts(source, target, pairs, room, types, wal, limits, left)
    found = [
        dataclasses.replace(finding, check=look.__name__)
        for look in CHECKS
        for finding in look(facts)
    ]
    order = list(Severity)
    return Checked(
        source,
        target,
        tuple(sorted([*failures, *found], key=lambda finding: order.index(finding.severity))),
        str(wal) if wal is not None and wal.tools.any else None,
        frozenset(p.table.target for p in pairs if p.fits and p.key is None),
    )


def _opened(
    stack: contextlib.ExitStack, sessions: Sessions, side: Side, failures: list[Finding]
) -> Connection | None:
    try:
        return stack.enter_context(sessions.connected(side))
    except ConfigurationError:
        raise
    except SyncError as error:
        found = blocks(side, error.message, error.remedy)
        failures.append(dataclasses.replace(found, check="connections"))
        return None


def _pairs(
    source: Connection | None,
    target: Connection | None,
    tables: Sequence[Table],
    groups: Mapping[RelationName, str],
) -> tuple[tuple[TablePair, ...], MissingTypes, tuple[tuple[RelationName, str, str], ...]]:
    if source is None or target is None:
        return (), MissingTypes(), ()
    with (
        transaction(source) as reading,
        transaction(target) as writing,
    ):
        one_database = place_of(reading).shows(place_of(writing))
        pairs = tuple(
            paired(reading, table, read_source(reading, table), read_target(writing, table))
            for table in tables
        )
        if one_database:
            pairs = tuple(with_oneness(writing, pair) for pair in pairs)
        relations = [pair.source.relation for pair in pairs if pair.source.relation is not None]
        fitting = [pair.table for pair in pairs if pair.fits]
        carries = any(table.carry for table in fitting)
        left = tuple(not_carried(reading, writing, fitting, groups)) if carries else ()
        return pairs, read_missing_types(reading, writing, relations), left


def _wal(source: Connection | None) -> WalFacts | None:
    if source is None:
        return None
    with transaction(source) as cursor:
        return read_wal_facts(cursor)


def _room(pairs: Sequence[TablePair], max_workers: int, runs: int, failures: list[Finding]) -> Room:
    """What is wanted: a table that the target has may need little, one that it lacks all of it."""
    first_loads = [
        sum(leaf.bytes for leaf in pair.source.relation.leaves)
        for pair in pairs
        if pair.source.relation is not None and pair.target.relation is None
    ]
    largest = min(MAX_BATCH_DISK, max(first_loads, default=0))
    connections = max_workers + BESIDE_WORKERS
    try:
        folder = base_folder()
    except ConfigurationError as error:
        mend = "export SYNC_BATCH_DIR=/a/folder/of/your/own"
        found = blocks("here", error.message, mend)
        failures.append(dataclasses.replace(found, check="batch_room"))
        return Room(connections, runs, Path(), 0, 0)
    return Room(connections, runs, folder, largest, shutil.disk_usage(folder).free)
