"""`sync-assets why`: why one row is, or is not, on the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sync_assets.cli.completion import complete_connections, complete_tables
from sync_assets.cli.examples import examples
from sync_assets.cli.output import clock, number, print_facts, print_json, print_rows, say_sentence

if TYPE_CHECKING:
    from sync_assets.engine.inspection.why import SeenRun, Why

HEADINGS = ("last runs", "mode", "watermark", "rows", "deleted", "reason")
NUMBERS = "llrrrl"
SPARE = ("reason", "deleted")


@click.command(
    epilog=examples(
        "sync-assets why public.orders 4711",
        "sync-assets why sales.items 4711,3",
        "sync-assets why sales.notes 'Kim, Minji' 2026-01-31",
    )
)
@click.argument("table", shell_complete=complete_tables)
@click.argument("key", nargs=-1, required=True)
@click.option(
    "--connection",
    shell_complete=complete_connections,
    help="The target, where the table is on several.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(table: str, key: tuple[str, ...], *, connection: str | None, as_json: bool) -> None:
    """Explain why a row is, or is not, on the target.

    TABLE is a target table, KEY the value of its key as PostgreSQL reads it. Of a key of several
    columns give all values, in the key's order: as arguments, or as one separated by commas.
    Changes nothing. A value that begins with a dash comes after --.
    """
    from sync_assets.cli.connections import urls_of
    from sync_assets.cli.selection import configured_tables, named, require_urls
    from sync_assets.engine.inspection.why import why

    _, tables = configured_tables()
    synced = named(tables, table, connection)
    require_urls([synced])
    found = why(*urls_of(synced), synced.table, key)
    if as_json:
        from sync_assets.cli.documents import WhyDocument, placed

        print_json(placed(WhyDocument, found, synced.target_connection))
    else:
        _print(found)


def _print(found: Why) -> None:
    from sync_assets.cli.errors import one_line

    key = ", ".join(f"{name} = {value}" for name, value in found.key.items())
    say_sentence(one_line(f"{found.target}, {key}: {found.sentence}."))
    print_facts(
        [
            ("on the source", _source(found)),
            ("on the target", _target(found)),
            ("next run reads from", number(found.watermark)),
            ("last run saw below", number(found.snapshot_xmax)),
            ("last run read at", clock(found.snapshot_at) if found.snapshot_at else ""),
        ]
    )
    if found.runs:
        print_rows(HEADINGS, [_row(each) for each in found.runs], NUMBERS, spare=SPARE)


def _source(found: Why) -> str:
    if not found.on_source:
        return "no"
    place = f" in {found.source_leaf}" if found.source_leaf != found.source else ""
    return f"yes{place}, xmin {number(found.source_xmin) or 'none'}"


def _target(found: Why) -> str:
    if not found.on_target:
        return "no"
    mark = f", marked as deleted at {found.deleted_at.isoformat()}" if found.deleted_at else ""
    return f"yes, source_xmin {number(found.target_source_xmin) or 'none'}{mark}"


def _row(run: SeenRun) -> tuple[str, ...]:
    return (
        clock(run.finished_at),
        run.mode,
        str(run.watermark),
        f"{run.rows_exported:,}",
        f"{run.rows_deleted:,}",
        run.reason,
    )
