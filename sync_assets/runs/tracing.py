"""OpenTelemetry spans of a run's tables, where `OTEL_EXPORTER_OTLP_ENDPOINT` says who wants them.

A Dagster run is one trace, of the run's own id; each attempt at a table is a span in it, and each
phase of that a span within. What is not set costs a look at the environment, and imports nothing.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import uuid
from contextvars import ContextVar
from dataclasses import dataclass
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING

from sync_assets.engine.errors import SyncError
from sync_assets.runs.listener import Listener

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from sync_assets.config.model import SyncedTable
    from sync_assets.engine.progress import Progress
    from sync_assets.engine.receipt import Receipt

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
SERVICE = "OTEL_SERVICE_NAME"
TOLD = (
    "mode",
    "reason",
    "full",
    "rows_exported",
    "rows_inserted",
    "rows_updated",
    "rows_unchanged",
    "rows_deleted",
    "bytes",
    "chunks",
    "workers",
    "watermark",
)
"""What of a receipt stands at its span, each as `sync_assets.` and its name."""

_run: ContextVar[str] = ContextVar("sync_assets_traced_run")


def traced(listener: Listener, run_id: str) -> Listener:
    """A listener that hears the same and sends spans besides, if anybody wants them."""
    if not any(os.environ.get(name, "").strip() for name in ENDPOINTS):
        return listener
    tracer = _tracer()
    return listener if tracer is None else _Traced(listener, tracer, run_id)


@dataclass(slots=True)
class _Attempt:
    """The span of an attempt at a table, and that of the phase it is in."""

    span: Span
    phase: str = ""
    within: Span | None = None

    def enter(self, tracer: Tracer, phase: str) -> None:
        from opentelemetry import trace

        if phase != self.phase:
            self.leave()
            self.phase = phase
            above = trace.set_span_in_context(self.span)
            self.within = tracer.start_span(phase, context=above)

    def leave(self) -> None:
        if self.within is not None:
            self.within.end()
            self.within = None


_attempts: dict[tuple[str, str, str], _Attempt] = {}
"""Those under way, by run and address: whoever begins a table's work may not be who ends it."""


@dataclass(frozen=True, slots=True)
class _Traced(Listener):
    """Opens and ends spans as the listener behind it hears of tables."""

    behind: Listener
    tracer: Tracer
    run_id: str

    def started(self, synced: SyncedTable) -> None:
        self.behind.started(synced)
        table = synced.table
        token = _run.set(self.run_id)
        try:
            span = self.tracer.start_span(
                f"sync {table.target}",
                attributes={
                    "db.system.name": "postgresql",
                    "db.collection.name": str(table.target),
                    "dagster.run_id": self.run_id,
                    "sync_assets.source": str(table.source),
                    "sync_assets.source_connection": synced.source_connection,
                    "sync_assets.target_connection": synced.target_connection,
                },
            )
        finally:
            _run.reset(token)
        _attempts[self._key(synced)] = _Attempt(span)

    def progressed(self, synced: SyncedTable, progress: Progress) -> None:
        self.behind.progressed(synced, progress)
        attempt = _attempts.get(self._key(synced))
        # Export goes on beneath the load, and is heard of until it ends.
        if attempt is not None and (attempt.phase, progress.phase) != ("load", "export"):
            attempt.enter(self.tracer, progress.phase)

    def finished(self, synced: SyncedTable, receipt: Receipt) -> None:
        self.behind.finished(synced, receipt)
        attempt = _attempts.pop(self._key(synced), None)
        if attempt is not None:
            attempt.leave()
            for name in TOLD:
                attempt.span.set_attribute(f"sync_assets.{name}", getattr(receipt, name))
            attempt.span.end()

    def failed(self, synced: SyncedTable, error: SyncError) -> None:
        from opentelemetry.trace import Status, StatusCode

        self.behind.failed(synced, error)
        attempt = _attempts.pop(self._key(synced), None)
        if attempt is not None:
            attempt.leave()
            attempt.span.set_attribute("error.type", error.kind)
            attempt.span.set_status(Status(StatusCode.ERROR, str(error)))
            attempt.span.end()

    def _key(self, synced: SyncedTable) -> tuple[str, str, str]:
        return (self.run_id, *synced.address)


@functools.cache
def _tracer() -> Tracer | None:
    """What makes our spans: by the process's own provider, if whoever embeds us has set one."""
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    except ImportError:
        logging.getLogger(__name__).warning(
            "%s is set, and no span is sent: install the extra otel, sync-assets[otel]",
            ENDPOINTS[0],
        )
        return None

    class OfTheRun(RandomIdGenerator):
        """A trace is found by the id that Dagster shows of a run."""

        def generate_trace_id(self) -> int:
            with contextlib.suppress(LookupError, ValueError):
                return uuid.UUID(_run.get()).int
            return super().generate_trace_id()

    if isinstance(own := trace.get_tracer_provider(), TracerProvider):
        return own.get_tracer("sync_assets")
    named = {} if os.environ.get(SERVICE) else {"service.name": "sync-assets"}
    provider = TracerProvider(
        resource=Resource.create(named), id_generator=OfTheRun(), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    # A step's process, which Dagster starts by multiprocessing, runs no `atexit`; both run these.
    Finalize(None, provider.shutdown, exitpriority=0)
    return provider.get_tracer("sync_assets")
