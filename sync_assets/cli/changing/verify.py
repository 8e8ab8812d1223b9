"""`sync-assets verify`: compare both ends exactly, and name the rows that differ."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from sync_assets.cli.completion import complete_tables
from sync_assets.cli.examples import examples
from sync_assets.cli.output import print_json, print_rows, say

if TYPE_CHECKING:
    from sync_assets.cli.run_display import PlainDisplay
    from sync_assets.cli.selection import Address
    from sync_assets.config.model import SyncedTable
    from sync_assets.engine import SyncError, Verification
    from sync_assets.runs.shared_targets import Rivals

    Verified = tuple[SyncedTable, Verification | SyncError]

HEADINGS = ("table", "rows", "on target", "differ", "missing", "extra", "pending", "result")
NUMBERS = "lrrrrrrl"
SPARE = ("on target", "pending")
DIFFERENT = 1
MEANING = {"wrong": "wrong", "pending": "the next run brings it", "kept": "kept"}
HOW = {"differing": "differs", "only_in_source": "missing", "only_in_target": "extra"}


@click.command(
    epilog=examples(
        "sync-assets verify",
        "sync-assets verify public.orders --repair",
        "sync-assets verify --no-sync --json",
    )
)
@click.argument("select", nargs=-1, shell_complete=complete_tables)
@click.option("--repair", is_flag=True, help="Sync the rows that are wrong once more.")
@click.option(
    "--no-sync",
    is_flag=True,
    help="Compare without a sync first; what a run would bring is pending.",
)
@click.option(
    "--examples",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    metavar="N",
    help="Name at most N rows of each table.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with the results.")
def command(
    select: tuple[str, ...], *, repair: bool, no_sync: bool, examples: int, as_json: bool
) -> None:
    """Compare tables exactly, on one snapshot; SELECT names them as for `run`.

    Each table is synced first, so that whatever differs then is a fault. Rows are named by their
    keys; their values stay on the servers. The exit code is 0 where nothing is wrong, 1 where a row
    is, or a table could not be compared. Rows that the next run brings, and rows that only the target
    has because `deletes: ignore` keeps them, are shown and are no fault.
    """
    # Loaded here, so that `verify --help` needs no database driver.
    from sync_assets.cli.errors import tell_of_all
    from sync_assets.cli.run_display import display
    from sync_assets.cli.selection import configured_tables, names_of, require_urls, selected
    from sync_assets.runs.shared_targets import rivals_among

    # An orderly stop (kill, docker stop, systemd) ends like Ctrl-C: cancelled on the servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _, everything = configured_tables()
    tables, rivals = selected(everything, select), rivals_among(everything)
    require_urls(tables)
    options = {"sync": not no_sync, "repair": repair, "examples": examples}
    names = names_of(synced.address for synced in tables)
    done: list[Verified] = []
    with display(names) as shown:
        for group in _groups(tables):
            done += _verify(group, shown, rivals, options)
    tell_of_all(shown.errors, names)
    if as_json:
        from sync_assets.cli.documents import VerifyDocument, VerifyTable, table_or_error

        print_json(VerifyDocument([table_or_error(VerifyTable, *each) for each in done]))
    else:
        _print(done, names)
    sys.exit(0 if all(getattr(outcome, "faultless", False) for _, outcome in done) else DIFFERENT)


def _groups(tables: Sequence[SyncedTable]) -> list[list[SyncedTable]]:
    """The tables that are synced, and so compared, at one moment of the source."""
    groups: dict[object, list[SyncedTable]] = {}
    for synced in tables:
        together = synced.snapshot_targets or (synced.table.target,)
        groups.setdefault((synced.target_connection, together), []).append(synced)
    return list(groups.values())


def _verify(
    group: Sequence[SyncedTable], shown: PlainDisplay, rivals: Rivals, options: Mapping[str, Any]
) -> list[Verified]:
    from sync_assets.cli.connections import urls_of
    from sync_assets.engine import DataCopyEngine, SyncError
    from sync_assets.runs.shared_targets import refuse_shared_target

    first = group[0]
    # A sync for the occasion looks for deleted rows; without one they may wait for their time.
    tables = [synced.table if options["sync"] else synced.between_sweeps for synced in group]
    addresses = {str(synced.table.target): synced.address for synced in group}
    engine = DataCopyEngine(
        *urls_of(first),
        workers=first.workers,
        limits=first.limits,
        on_progress=lambda progress: shown.move(addresses[progress.table], progress),
    )
    for address in addresses.values():
        shown.begin(address)
    try:
        for synced in group:
            refuse_shared_target(synced, urls_of(synced)[1], rivals)
        found = engine.verify_group(tables, **options)
    except SyncError as error:
        for address in addresses.values():
            shown.end(address, error)
        return [(synced, error) for synced in group]
    for address in addresses.values():
        shown.end(address)
    return list(zip(group, found, strict=True))


def _print(
    done: Sequence[tuple[SyncedTable, Verification | SyncError]], names: Mapping[Address, str]
) -> None:
    from sync_assets.engine import Verification

    found = [(names[s.address], seen) for s, seen in done if isinstance(seen, Verification)]
    if found:
        print_rows(HEADINGS, [_row(*each) for each in found], NUMBERS, spare=SPARE)
    rows = [
        (name, ", ".join(map("=".join, each.key.items())), HOW[each.kind], MEANING[each.verdict])
        for name, seen in found
        for each in seen.examples
    ]
    if rows:
        say("")
        print_rows(("table", "row", "how", "meaning"), rows)


def _row(name: str, seen: Verification) -> tuple[str, ...]:
    counts = (
        seen.rows_source,
        seen.rows_target,
        seen.rows_differing,
        seen.rows_only_in_source,
        seen.rows_only_in_target,
        seen.rows_pending,
    )
    return (name, *(f"{count:,}" for count in counts), _result(seen))


def _result(seen: Verification) -> str:
    if not seen.faultless:
        left = f"{seen.rows_left:,} still wrong" if seen.repaired else f"{seen.rows_wrong:,} wrong"
        return "; ".join((left, *_excused(seen)))
    if seen.repaired is not None:
        return "; ".join((f"{seen.rows_wrong:,} repaired", *_excused(seen)))
    excused = " and ".join(_excused(seen))
    return f"equal but for {excused}" if excused else "equal"


def _excused(seen: Verification) -> Iterator[str]:
    """What differs and is no fault."""
    kept, pending = seen.rows_kept, seen.rows_pending
    if kept:
        yield f"{kept:,} kept row{'s' * (kept > 1)} that only the target has"
    if pending:
        yield f"{pending:,} that the next run brings"
