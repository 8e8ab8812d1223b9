"""What `check` finds about changed pages: what the source lacks to name them (pure)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from sync_assets.engine.check.facts import Facts, WalFacts
from sync_assets.engine.check.finding import Finding, blocks, note
from sync_assets.engine.check.on_source import named
from sync_assets.engine.check.server_facts import Server
from sync_assets.engine.check.table_facts import TablePair
from sync_assets.engine.names import quoted
from sync_assets.engine.plan.changed_pages import SMALL, asks
from sync_assets.engine.plan.unnamed_pages import INSPECT_VERSION, obstacle
from sync_assets.engine.snapshot.wal_tools import BLOCK_INFO, BLOCK_INFO_VERSION, RECORDS_INFO
from sync_assets.engine.table import ChangedBlocks

SUMMARIES_VERSION = 170000
KEPT_WAL = "2GB"
"""WAL to keep for who reads it later, where there are no summaries: a guess at some hours."""


def unknown_changes(facts: Facts) -> Iterator[Finding]:
    """Tables of which every run looks at every row, since nothing tells the pages that changed."""
    source, wal = facts.source, facts.wal
    if source is None or wal is None:
        return
    statements: tuple[str, ...] = ()
    if source.version >= INSPECT_VERSION:
        statements = tuple(_lacking(source, wal, facts.tables))
    yield from _never_named(source, wal, facts.tables, told=bool(statements))
    asking = [pair.table for pair in facts.tables if _would_use(pair)]
    if not statements or not asking:
        return
    required = [each for each in asking if each.changed_blocks is ChangedBlocks.REQUIRE]
    if required and not wal.tools.any:
        yield blocks(
            "source",
            f"{named([each.source for each in required])} must be read by changed pages"
            " (changed_blocks: require), and nothing names them",
            " ".join(statements),
        )
        return
    which = "changed after a checkpoint" if wal.tools.summaries else "changed"
    yield note(
        "source",
        f"nothing names the pages of {named([each.source for each in asking])} that {which}, so a"
        " run looks at every row",
        " ".join(statements),
    )


def _never_named(
    source: Server, wal: WalFacts, tables: tuple[TablePair, ...], *, told: bool
) -> Iterator[Finding]:
    """Tables that require what cannot be; `told` where statements for a DBA say what is lacking."""
    tools = dataclasses.replace(wal.tools, summaries=True) if told else wal.tools
    for pair in tables:
        if pair.source.relation is not None:
            found = obstacle(pair.table, pair.source.relation, tools, source.version, source.role)
            if found is not None:
                yield blocks(
                    f"source {pair.table.source}",
                    f"changed_blocks: require can never be met: {found.why}",
                    found.mend,
                )


def _would_use(pair: TablePair) -> bool:
    relation, table = pair.source.relation, pair.table
    if relation is None or not relation.has_versions or not asks(table):
        return False
    pages = sum(leaf.pages for leaf in relation.leaves)
    keyed = bool(relation.keys or table.key)
    return table.changed_blocks is ChangedBlocks.REQUIRE or (keyed and pages >= SMALL)


def _lacking(source: Server, wal: WalFacts, tables: tuple[TablePair, ...]) -> Iterator[str]:
    """The statements for a DBA, in their order; none where there is what it takes."""
    summaries = source.version >= SUMMARIES_VERSION
    if summaries and not wal.tools.summaries:
        yield "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf();"
    elif summaries and (wal.tools.checkpoint or _wait(tables)):
        return
    elif not summaries and not wal.keeps_wal:
        yield f"ALTER SYSTEM SET wal_keep_size = '{KEPT_WAL}'; SELECT pg_reload_conf();"
    if wal.tools.reader is None and wal.installable:
        yield from _inspecting(source, wal)


def _wait(tables: tuple[TablePair, ...]) -> bool:
    """Whether every table's runs wait for a checkpoint anyway."""
    asking = [pair.table for pair in tables if _would_use(pair)]
    return bool(asking) and all(table.blocks_wait > 0 for table in asking)


def _inspecting(source: Server, wal: WalFacts) -> Iterator[str]:
    elsewhere = "  -- on the primary" if source.standby else ""
    role, schema = quoted(source.role), wal.inspected_from
    if schema is None:
        yield "CREATE EXTENSION pg_walinspect;"
    elif not wal.opened:
        yield f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {role};"
    if source.version >= BLOCK_INFO_VERSION:
        function = f"{BLOCK_INFO}(pg_lsn, pg_lsn, boolean)"
    else:
        function = f"{RECORDS_INFO}(pg_lsn, pg_lsn)"
    named_ = function if schema is None else f"{quoted(schema)}.{function}"
    yield f"GRANT EXECUTE ON FUNCTION {named_} TO {role};{elsewhere}"
