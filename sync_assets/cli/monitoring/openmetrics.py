"""What one look found, as OpenMetrics text, or in the format of Prometheus that is older.

All but one are gauges: receipts are pruned, so nothing that they say can be added up for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import prometheus_client
from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest

from sync_assets.cli.monitoring.overview import PartNow, TableNow
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.health import SourceHealth
from sync_assets.engine.receipt import Receipt

LABELS = ("target", "connection")
"""What tells two tables apart: the target table, and the connection that leads to it."""

PREFIX = "sync_assets"


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number of each table: what it is called, what it says, and how it is found; None: not known."""

    name: str
    words: str
    value: Callable[[TableNow], float | None]


def _of_receipt(read: Callable[[Receipt], float | None]) -> Callable[[TableNow], float | None]:
    return lambda now: read(now.last.receipt) if now.last else None


def _is_read_again(receipt: Receipt) -> bool:
    """Whether a run read every row of a table that had a mark to go on from."""
    return receipt.full and receipt.watermark_before is not None and receipt.mode != "full_sync"


def _freshness(now: TableNow) -> float | None:
    allowed = now.synced.automation.freshness
    return allowed.total_seconds() if allowed else None


def _synced_at(now: TableNow) -> float | None:
    return now.status.synced_at.timestamp() if now.status.synced_at else None


GAUGES = (
    Gauge(
        "last_run_timestamp_seconds",
        "When its last successful run was published, since 1970 by the target's clock.",
        _synced_at,
    ),
    Gauge(
        "data_age_seconds",
        "How long ago its data was read, by the source's clock: what status calls data age.",
        lambda now: now.status.age_seconds,
    ),
    Gauge(
        "freshness_limit_seconds",
        "How old its data may become: its freshness in defs.yaml.",
        _freshness,
    ),
    Gauge(
        "lag_bytes",
        "WAL that its whole source has written since its last run.",
        lambda now: now.status.lag_bytes,
    ),
    Gauge(
        "lag_transactions",
        "Transactions that its whole source has begun since its last run.",
        lambda now: now.status.lag_xids,
    ),
    Gauge(
        "rows", "Rows of the target, as its last run counted.", lambda n: n.status.rows_in_target
    ),
    Gauge(
        "first_load_ratio",
        "Which part is there of a first load that is not published yet, from 0 to 1.",
        lambda now: now.status.loaded,
    ),
    Gauge(
        "source_differs",
        "1 where the source is not the one of its last run, or shows an earlier state of it.",
        lambda now: None if now.status.synced_at is None else bool(now.status.source_problem),
    ),
    Gauge(
        "hindrances",
        "How many kinds of hindrances stand in the way of its syncs.",
        lambda now: len(now.kinds),
    ),
    Gauge(
        "last_receipt_timestamp_seconds",
        "When its last receipt was written; a run that found its source idle leaves none.",
        lambda now: now.last.finished_at.timestamp() if now.last else None,
    ),
    Gauge(
        "last_receipt_duration_seconds",
        "How long the run of its last receipt took.",
        _of_receipt(lambda receipt: receipt.seconds.get("total")),
    ),
    Gauge(
        "last_receipt_snapshot_seconds",
        "How long that run held the source's snapshot.",
        _of_receipt(lambda receipt: receipt.seconds.get("snapshot")),
    ),
    Gauge("last_receipt_rows_read", "Rows it read.", _of_receipt(lambda r: r.rows_exported)),
    Gauge("last_receipt_rows_inserted", "Rows it added.", _of_receipt(lambda r: r.rows_inserted)),
    Gauge("last_receipt_rows_updated", "Rows it changed.", _of_receipt(lambda r: r.rows_updated)),
    Gauge(
        "last_receipt_rows_deleted",
        "Rows it deleted or marked as deleted.",
        _of_receipt(lambda r: r.rows_deleted),
    ),
    Gauge("last_receipt_bytes", "Bytes of rows it moved.", _of_receipt(lambda r: r.bytes)),
    Gauge(
        "last_receipt_full_pass",
        "1 where it read every row of an incremental table that had been synced before.",
        _of_receipt(_is_read_again),
    ),
)
"""The numbers of each table, in the order they are printed."""


def as_text(parts: Sequence[PartNow], version: str) -> bytes:
    """The exposition of one look, which ends in `# EOF`."""
    text: bytes = generate_latest(_Families(parts, version))  # type: ignore[no-untyped-call]
    return text


def as_older_text(parts: Sequence[PartNow], version: str) -> bytes:
    """The exposition in Prometheus' text format, the only one that node_exporter reads in files."""
    return prometheus_client.generate_latest(_Families(parts, version))


@dataclass(frozen=True, slots=True)
class _Families:
    """Stands for a registry, of which the exposition asks this alone."""

    parts: Sequence[PartNow]
    version: str

    def collect(self) -> Iterable[Metric]:
        yield from families(self.parts, self.version)


def families(parts: Sequence[PartNow], version: str) -> Iterator[Metric]:
    """Every metric, those without a sample too; no label holds more than a name."""
    build = _gauge("build_info", "The version that prints this.", ["version"])
    build.add_metric([version], 1)
    yield build
    yield from _of_ends(parts)
    tables = [(_labels(now), now) for part in parts for now in part.tables]
    info = _gauge("table_info", "What is configured of it.", [*LABELS, "source", "mode"])
    for labels, now in tables:
        table = now.synced.table
        info.add_metric([*labels, str(table.source), table.mode.value], 1)
    yield info
    for gauge in GAUGES:
        family = _gauge(f"table_{gauge.name}", gauge.words, LABELS)
        for labels, now in tables:
            value = gauge.value(now)
            if value is not None:
                family.add_metric(labels, float(value))
        yield family
    yield from _of_hindrances_and_runs(tables)


def _of_hindrances_and_runs(
    tables: Sequence[tuple[Sequence[str], TableNow]],
) -> Iterator[Metric]:
    words = "1 for each kind of hindrance in the way of its syncs, as status tells them."
    hindrance = _gauge("table_hindrance", words, [*LABELS, "kind"])
    runs = CounterMetricFamily(
        f"{PREFIX}_table_runs", "Runs published since its state was made.", labels=LABELS
    )
    for labels, now in tables:
        for kind in now.kinds:
            hindrance.add_metric([*labels, kind], 1)
        if now.last:
            runs.add_metric(labels, now.last.published)
    yield hindrance
    yield runs


def _of_ends(parts: Sequence[PartNow]) -> Iterator[Metric]:
    up = _gauge(
        "up", "Whether the database answered, and with what was asked.", ["connection", "end"]
    )
    behind = _gauge(
        "source_mark_behind_transactions",
        "How many transactions began after the oldest that is open, where a mark would stay now.",
        ["connection"],
    )
    held = _gauge(
        "source_mark_holder_age_seconds",
        "How long the transaction is open that holds marks back; 0 where none does.",
        ["connection"],
    )
    answered: dict[tuple[str, str], bool] = {}
    sources: dict[str, SourceHealth] = {}
    for part in parts:
        if not isinstance(part.source, SyncError):
            sources[part.source_connection] = part.source
        ends = (
            ((part.source_connection, "source"), part.source),
            (
                (part.target_connection, "target"),
                part.target,
            ),
        )
        for end, seen in ends:
            answered[end] = answered.get(end, True) and not isinstance(seen, SyncError)
    for end, is_up in answered.items():
        up.add_metric(end, float(is_up))
    for connection, source in sources.items():
        behind.add_metric([connection], source.behind)
        age = _held_for(source)
        if age is not None:
            held.add_metric([connection], age)
    yield from (up, behind, held)


def _held_for(source: SourceHealth) -> float | None:
    """Seconds; None where this role may not see how long the transaction is open, or whose it is."""
    if not source.behind:
        return 0.0
    return source.holder.age_seconds if source.holder else None


def _labels(now: TableNow) -> tuple[str, str]:
    return str(now.synced.table.target), now.synced.target_connection


def _gauge(name: str, words: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", words, labels=labels)
