"""`sync-assets workers`: how many workers this machine recommends, and why."""

from __future__ import annotations

import click

from sync_assets.cli.examples import examples
from sync_assets.cli.output import print_facts, print_json
from sync_assets.engine.workers import GIGABYTE, WorkerReport, worker_report


@click.command(epilog=examples("sync-assets workers", "sync-assets workers --json"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, as_json: bool) -> None:
    """Show this machine's cores and memory, and how many workers follow from them.

    Container limits and CPU affinity count. A component's `workers:` block in defs.yaml sets
    the limits; where it sets `default_workers`, that number is taken instead.
    """
    report = worker_report()
    if as_json:
        print_json(report)
    else:
        print_facts(_facts(report))


def _facts(report: WorkerReport) -> list[tuple[str, str]]:
    return [
        ("physical cores", str(report.physical_cores)),
        ("logical cores", str(report.logical_cores)),
        ("usable cores", str(report.usable_cores)),
        ("total memory", f"{report.total_memory / GIGABYTE:.1f} GB"),
        ("available memory", f"{report.available_memory / GIGABYTE:.1f} GB"),
        ("recommended workers", str(report.recommended_workers)),
        ("reason", report.reason),
    ]
