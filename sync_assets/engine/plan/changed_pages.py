"""From a plan that reads by xid to one that reads the changed pages alone, where that can be known.

The result is the same rows: a page that the WAL does not name holds none that the last run lacks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sync_assets.engine import errors
from sync_assets.engine.plan.plan import How, KeysByPage, LeafRead, Plan, key_fields
from sync_assets.engine.plan.unnamed_pages import obstacle
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.relation import Column
from sync_assets.engine.postgres.session import Connection, transaction
from sync_assets.engine.snapshot import wal, wal_tools
from sync_assets.engine.snapshot.flush import ensure_flushed
from sync_assets.engine.snapshot.pages import PageRange, Position, safe_start, too_many
from sync_assets.engine.snapshot.wal_tools import ChangedPages, Storage, Tools, Window
from sync_assets.engine.state.state import State
from sync_assets.engine.table import ChangedBlocks, SyncMode, Table

SMALL = 128
"""Pages of a relation below which `auto` scans: asking costs as much."""


@dataclass(frozen=True, slots=True)
class WalSources:
    """What was seen before the snapshot: how the source can be asked, and where WAL may start."""

    tools: Tools
    position: Position | None

    def without_checkpoint(self) -> WalSources:
        """The sources without a checkpoint: a plan only looks, and asks for none."""
        return dataclasses.replace(self, tools=dataclasses.replace(self.tools, checkpoint=False))


NOTHING = WalSources(Tools(summaries=False, reader=None, checkpoint=False), None)


def probe_wal(source: Connection, tables: Sequence[Table]) -> WalSources:
    """Read what must be read before the snapshot; nothing where no table could use it."""
    if not any(asks(table) for table in tables):
        return NOTHING
    with transaction(source) as cursor:
        tools = wal_tools.read_tools(cursor)
        return WalSources(tools, wal_tools.read_position(cursor) if tools.any else None)


def asks(table: Table) -> bool:
    """Whether its runs ask for changed pages at all."""
    by_change = table.mode is not SyncMode.FULL_SYNC and table.rows is None
    return by_change and table.changed_blocks is not ChangedBlocks.OFF


def by_blocks(
    sessions: Sessions,
    source: Connection,
    plan: Plan,
    known: State | None,
    outlook: WalSources,
) -> Plan:
    """Read changed pages where the WAL can name them; `source` is inside the plan's snapshot.

    Raises ChangesUnknown where they are required, ConfigurationError where they can never be had.
    """
    if not asks(plan.table):
        return plan
    _require_possible(source, plan, outlook.tools)
    plan = dataclasses.replace(plan, position=outlook.position)
    if known is None or not _is_worth_asking(plan):
        return plan
    required = plan.table.changed_blocks is ChangedBlocks.REQUIRE
    pages = sum(leaf.pages for leaf in plan.view.relation.leaves)
    if not required and (not outlook.tools.any or pages < SMALL):
        return plan
    start = safe_start(known.positions, known.watermark)
    if outlook.tools.any and start is None:
        # Not an error where they are required: only a run that succeeds can leave a start.
        return _scanning(plan, "the last run has left no start for a window of WAL")
    wanted = _storages(plan, known)
    asked = _ask(sessions, source, plan, wanted, start or 0, outlook.tools)
    if asked.pages is None:
        if required:
            raise errors.ChangesUnknown(f"the changed pages are not known: {asked.how}")
        return _scanning(plan, asked.how)
    runs = {oid: asked.pages[storage] for oid, storage in wanted.items()}
    return _with_pages(plan, known, runs, asked.how)


def _is_worth_asking(plan: Plan) -> bool:
    readable = plan.reads_by_xid and not plan.view.relation.through_parent
    return readable and not plan.full and not plan.finds_nothing


def _require_possible(source: Connection, plan: Plan, tools: Tools) -> None:
    """Refuse, a first run as well, what no later one could do either; raises ConfigurationError."""
    table = plan.table
    found = obstacle(
        table, plan.view.relation, tools, source.server_version, source.info.user or ""
    )
    if found is None:
        return
    raise errors.ConfigurationError(
        f"{table.source} cannot be read by changed pages (changed_blocks: require): {found.why}",
        remedy=found.remedy,
    )


def _scanning(plan: Plan, why: str) -> Plan:
    return dataclasses.replace(plan, reason=f"{plan.reason}; no changed pages: {why}")


def _ask(
    sessions: Sessions,
    source: Connection,
    plan: Plan,
    wanted: Mapping[int, Storage],
    start: int,
    tools: Tools,
) -> ChangedPages:
    """Ask for what was written since `start`, once all of it is on disk."""
    seen = plan.view.snapshot
    if seen.identity.timeline is None:
        return ChangedPages(None, "this role may not know the source's timeline")
    ensure_flushed(sessions, source, seen.lsn)
    required = plan.table.changed_blocks is ChangedBlocks.REQUIRE
    size = sum(leaf.bytes for leaf in plan.view.relation.leaves)
    with source.cursor() as cursor:
        return wal.changed_pages(
            cursor,
            Window(seen.identity.timeline, seen.identity.database, start, seen.lsn),
            set(wanted.values()),
            tools,
            wait=plan.table.blocks_wait,
            # Where there is more WAL than table, a scan is quicker.
            most=wal.TAIL if required else min(wal.TAIL, size),
            check=sessions.check,
        )


def _storages(plan: Plan, known: State) -> dict[int, Storage]:
    """Where the leaves lie that are still where they were, by oid."""
    before = {leaf.oid: (leaf.filenode, leaf.tablespace) for leaf in known.leaves}
    return {
        leaf.oid: Storage(leaf.tablespace, leaf.filenode)
        for leaf in (read.leaf for read in plan.reads if read.how is How.XID)
        if leaf.kind == "r"
        and not leaf.unlogged
        and before.get(leaf.oid) == (leaf.filenode, leaf.tablespace)
    }


def _with_pages(
    plan: Plan, known: State, runs: Mapping[int, tuple[PageRange, ...]], how: str
) -> Plan:
    """Decide for each leaf, and for the keys (pure)."""
    always = plan.table.changed_blocks is ChangedBlocks.REQUIRE
    reads = tuple(_read_of(read, runs.get(read.leaf.oid), always=always) for read in plan.reads)
    here = {leaf.oid for leaf in plan.view.relation.leaves}
    changed = dataclasses.replace(
        plan,
        reads=reads,
        keys=dataclasses.replace(
            plan.keys,
            by_page=_keys_by_page(plan, known, reads),
            gone_leaves=tuple(leaf.oid for leaf in known.leaves if leaf.oid not in here),
        ),
    )
    return dataclasses.replace(changed, reason=f"{plan.reason}{_pages_read(changed, how)}")


def _read_of(read: LeafRead, runs: tuple[PageRange, ...] | None, *, always: bool) -> LeafRead:
    if read.how is not How.XID:
        return read
    if runs is None:
        return dataclasses.replace(read, reason="rewritten or not in the WAL")
    if too_many(runs, read.leaf.pages) and not always:
        return dataclasses.replace(read, reason="many pages changed")
    return LeafRead(read.leaf, How.BLOCKS, "rows of changed pages by their xid", runs)


def _keys_by_page(plan: Plan, known: State, reads: Sequence[LeafRead]) -> KeysByPage:
    leaves = plan.view.relation.leaves
    if not plan.compares_keys or not can_map(plan) or any(leaf.kind != "r" for leaf in leaves):
        return KeysByPage.NONE
    by_page = any(read.how is How.BLOCKS for read in reads)
    return (
        KeysByPage.USE
        if plan.keys.mapped and by_page and _same_key(plan, known)
        else KeysByPage.BUILD
    )


def _same_key(plan: Plan, known: State) -> bool:
    """Whether a key compares with one of the last run: not in another type or collation."""

    def shown(columns: Iterable[Column]) -> set[tuple[str, str, str | None]]:
        key = plan.layout.key_columns
        return {(each.name, each.type, each.collation) for each in columns if each.name in key}

    before = known.columns.columns if known.columns else ()
    return shown(before) == shown(plan.view.relation.columns)


def _pages_read(plan: Plan, how: str) -> str:
    scanned = [read.reason for read in plan.reads if read.how is How.XID]
    also = f"; {len(scanned)} scanned: {scanned[0]}" if scanned else ""
    if plan.changed_pages is None:
        return also
    return f" in {plan.changed_pages} changed pages ({how}){also}"


UNMAPPABLE = ("int2vector", "oidvector", "record")
"""Types whose arrays cannot be taken apart again, besides arrays and composites."""


def can_map(plan: Plan) -> bool:
    """Whether the keys can be kept as arrays, and read from them as they were.

    Arrays would be taken apart down to their elements, composites to their parts; and a domain
    that a table's array holds could no longer be altered.
    """
    kinds = {column.name: column.type_oid for column in plan.view.relation.columns}
    chosen = {kinds.get(name) for name in plan.layout.key_columns}
    unfit = {each.oid for each in plan.view.types if each.kind in ("c", "d", "table")}
    return not chosen & unfit and not any(
        field.type.endswith("]") or field.type in UNMAPPABLE for field in key_fields(plan)
    )
