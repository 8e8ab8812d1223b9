"""`sync-assets check`: what will hurt, before it hurts."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sync_assets.cli.completion import complete_tables
from sync_assets.cli.examples import examples
from sync_assets.cli.output import alike, named, print_json, say, say_sentence, tables

if TYPE_CHECKING:
    from sync_assets.cli.documents import CheckDocument
    from sync_assets.config.model import SyncedTable, TableSyncConfig
    from sync_assets.engine.check.check import Checked
    from sync_assets.engine.check.finding import Finding
    from sync_assets.engine.postgres.access.transport import Transport

COLOURS = {"blocking": "red", "warning": "yellow", "note": "blue"}
INDENT = " " * 10
QUOTES = frozenset("\"'")
"""What has these may hold a name or a literal with blanks, and stays as it is, to be pasted."""


@click.command(
    epilog=examples(
        "sync-assets check",
        "sync-assets check 'sales.*'",
        "sync-assets check --json | jq -r '.findings[] | .mend'",
    )
)
@click.argument("select", nargs=-1, shell_complete=complete_tables)
@click.option("--all", "everything", is_flag=True, help="Print every finding by itself.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(select: tuple[str, ...], *, everything: bool, as_json: bool) -> None:
    """Find what will hurt before it hurts; change nothing.

    Connects to both ends and looks at versions, rights, keys, unsupported relations, row-level
    security, targets in the way, open transactions that hold the watermark back, transaction id
    age, changed pages, standby settings, time-outs, poolers, connections, encryption, clocks, disk
    for batch files, and in Dagster's home at schedules that a change has switched off and assets that
    are called otherwise now. Each finding comes with its mend, ready to paste.

    SELECT names tables as for `run`; without it all are looked at. The exit code is 1 where a
    finding is blocking: a run would fail.
    """
    from sync_assets.cli.connections import by_connections
    from sync_assets.cli.selection import configured, require_urls, selected
    from sync_assets.engine.check.check import check

    written = configured()
    chosen = selected(written.tables, select)
    require_urls(chosen)
    configs = [component.config for component in written.components]
    most = max(config.workers.max_workers for config in configs)
    found = [
        _with_idle_checks(
            check(
                ends.source_url,
                ends.target_url,
                [synced.table for synced in ends.tables],
                max_workers=most,
                runs=_runs_at_once(ends.tables[0]),
                limits={synced.limits for synced in ends.tables},
                groups={
                    synced.table.target: synced.snapshot_group
                    for synced in ends.tables
                    if synced.snapshot_group
                },
            ),
            ends.tables,
        )
        for ends in by_connections(chosen)
    ]
    beside = (
        *_shared_targets(chosen, written.tables),
        *_left_out(configs),
        *_aging(chosen),
        *_of_dagster(written.place, configs, written.tables),
    )
    found[0] = dataclasses.replace(found[0], findings=(*found[0].findings, *beside))
    if as_json:
        print_json(_document(found))
    else:
        _print(found, everything=everything)
    sys.exit(int(any(_is_blocking(finding) for each in found for finding in each.findings)))


def _runs_at_once(synced: SyncedTable) -> int:
    from sync_assets.runs.home import has_home

    if not has_home(os.environ):
        # Then nothing has run yet but `run`, which takes one table after another.
        return 1
    from sync_assets.launch.pools import runs_at_once

    return runs_at_once(synced)


def _left_out(configs: Sequence[TableSyncConfig]) -> Iterator[Finding]:
    """What patterns match and no run syncs."""
    from sync_assets.engine.check.finding import Finding, Severity

    for config in configs:
        for each in config.left_out():
            what = f"a pattern matches it, and it is left out: {each.why}"
            mend = each.remedy or "Name it in `except`, or at a table of its own."
            yield Finding(Severity.NOTE, str(each.name), what, mend, "left_out")


def _with_idle_checks(checked: Checked, tables: Sequence[SyncedTable]) -> Checked:
    """What was found, and the asset checks that have nothing to say of a table without a key."""
    from sync_assets.engine.check.finding import note

    def idle() -> Iterator[Finding]:
        for synced in tables:
            asked = synced.automation.checks
            sampled = asked.content is not None and asked.content.share < 1
            names = [*["key"] * (asked.key is not None), *["content"] * sampled]
            if synced.table.target in checked.keyless and names:
                what = f"does not apply to it, as it is synced without a key: {', '.join(names)}"
                mend = "leave it out, or name the key: [id]; content: {share: 1} compares all rows"
                found = note(f"target {synced.table.target}", f"among its checks {what}", mend)
                yield dataclasses.replace(found, check="idle_checks")

    return dataclasses.replace(checked, findings=(*checked.findings, *idle()))


def _shared_targets(
    chosen: Sequence[SyncedTable], configured: Sequence[SyncedTable]
) -> Iterator[Finding]:
    """The tables that two connections write in one database, which no run does."""
    from sync_assets.cli.connections import urls_of
    from sync_assets.engine.check.finding import Finding, Severity
    from sync_assets.engine.errors import ConfigurationError
    from sync_assets.runs.shared_targets import refuse_shared_target, rivals_among

    rivals = rivals_among(configured)
    for synced in chosen:
        try:
            refuse_shared_target(synced, urls_of(synced)[1], rivals)
        except ConfigurationError as error:  # noqa: PERF203 (one finding for each table)
            where = f"target {error.table}"
            yield Finding(Severity.BLOCKING, where, error.message, error.remedy, "shared_targets")


def _aging(chosen: Sequence[SyncedTable]) -> Iterator[Finding]:
    """The tables that get too old by their own schedule."""
    from sync_assets.config.automation import longest_gap
    from sync_assets.engine.check.finding import warning
    from sync_assets.runs.progress_log import duration

    for synced in chosen:
        how = synced.automation
        if how.schedule and how.freshness and how.is_freshness_too_short:
            gap, allowed = longest_gap(how.schedule), how.freshness.total_seconds()
            what = f"its schedule may leave {duration(gap)} between two syncs, and its freshness"
            what += f" allows {duration(allowed)}: it is told as too old after both"
            mend = "write a longer freshness, or a schedule that comes more often"
            found = warning(f"target {synced.table.target}", what, mend)
            yield dataclasses.replace(found, check="freshness")


def _of_dagster(
    place: Path, configs: Sequence[TableSyncConfig], configured: Sequence[SyncedTable]
) -> Iterator[Finding]:
    """Pools that let all syncs together open more than a source allows; what a change has lost."""
    from sync_assets.runs.home import has_home

    if not has_home(os.environ):
        return
    from sync_assets.assets.specs import code_location
    from sync_assets.automation.switches import lost_switches
    from sync_assets.definitions import load_tables
    from sync_assets.launch.instance import opened_instance
    from sync_assets.launch.moved import moved_assets
    from sync_assets.launch.pools import pool_uses

    with opened_instance() as instance:
        yield from filter(None, (use.finding for use in pool_uses(instance, configs)))
        yield from lost_switches(instance, code_location(os.environ), load_tables(place))
        yield from moved_assets(instance, configured)


def _is_blocking(finding: Finding) -> bool:
    return finding.severity.value == "blocking"


def _document(found: list[Checked]) -> CheckDocument:
    from sync_assets.cli.documents import CheckDocument, CheckedServer

    servers = [
        CheckedServer.of(server, changed_pages)
        for each in found
        for server, changed_pages in ((each.source, each.changed_pages), (each.target, None))
        if server
    ]
    return CheckDocument(servers, [finding for each in found for finding in each.findings])


def _print(found: list[Checked], *, everything: bool) -> None:
    for each in found:
        for server in (each.source, each.target):
            if server is not None:
                kind = "standby" if server.standby else "primary"
                say(
                    f"{server.side}: PostgreSQL {server.version_text} ({kind}), database"
                    f" {server.database}, role {server.role}{_told(server.transport)}"
                )
        if each.changed_pages:
            say(f"source: names the pages that changed, by {each.changed_pages}")
        kinds = alike(each.findings, lambda finding: finding if everything else _kind(finding))
        for findings in kinds:
            _print_findings(findings)
    findings = [finding for each in found for finding in each.findings]
    blocking = sum(map(_is_blocking, findings))
    many = "finding" if len(findings) == 1 else "findings"
    say(f"{len(findings):,} {many}, {blocking:,} blocking.")


def _told(transport: Transport) -> str:
    return f", {transport}" if str(transport) else ""


def _kind(finding: Finding) -> tuple[str, ...]:
    """What it says but for the table's name."""
    *_, name = finding.where.split(" ", 1)
    said = (finding.what.replace(name, "…"), finding.mend.replace(name, "…"))
    return (finding.severity.value, finding.check, *said)


def _places(findings: Sequence[Finding]) -> str:
    """Where they are, with the side once: `source sales.orders, sales.lines`."""
    parts = [each.where.partition(" ") for each in findings]
    (side, *others), names = {side for side, _, _ in parts}, [name for _, _, name in parts]
    if others or not all(names):
        return named([each.where for each in findings])
    return f"{side} {named(names)}"


def _print_findings(findings: Sequence[Finding]) -> None:
    from sync_assets.cli.errors import one_line

    first, severity = findings[0], findings[0].severity.value
    # An end as a whole is called by its side alone.
    names = [each.where for each in findings if " " in each.where]
    say(severity.ljust(len(INDENT)), fg=COLOURS[severity], nl=False)
    say_sentence(one_line(f"{_places(findings)}: {first.what}"), margin=len(INDENT))
    say(INDENT, nl=False)
    mend = one_line(first.mend)
    if set(mend) & QUOTES:
        say(mend, bold=True)
    else:
        say_sentence(mend, margin=len(INDENT), bold=True)
    if len(findings) > 1 and names:
        say(f"{INDENT}and so for each of {tables(len(findings))}; --all prints every one")
