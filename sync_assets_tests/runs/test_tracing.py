"""Spans of a run's tables: nothing where nobody asked, and a word where they cannot be sent."""

from __future__ import annotations

import sys
import uuid

import pytest

from sync_assets.runs import tracing
from sync_assets.runs.listener import Listener
from sync_assets.runs.tracing import traced

RUN = str(uuid.uuid4())


def test_nobody_who_asks_for_no_spans_pays_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tracing.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    listener = Listener()
    assert traced(listener, RUN) is listener


def test_that_spans_cannot_be_sent_is_told_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    tracing._tracer.cache_clear()
    listener = Listener()
    assert [traced(listener, RUN), traced(listener, RUN)] == [listener, listener]
    [told] = caplog.messages
    assert "sync-assets[otel]" in told
    tracing._tracer.cache_clear()
