"""Steps of one run in two Celery workers, with Redis between them."""

from __future__ import annotations

import contextlib

import pytest

from sync_assets_tests.fixtures.live import Live, lock_waits, locked
from sync_assets_tests.fixtures.pair import eventually

pytestmark = pytest.mark.slow

WORKERS = """
query ($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
  ... on EngineEvent { metadataEntries { label ... on TextMetadataEntry { text } } } } } } }
"""


def workers_of(live: Live, run: str) -> set[str]:
    """The workers that a run's steps name."""
    events = live.ask(WORKERS, run=run)["logsForRun"]["events"]
    entries = [entry for event in events for entry in event.get("metadataEntries", [])]
    names = {entry["text"] for entry in entries if entry["label"] == "Celery worker"}
    return {name.partition("@")[0] for name in names}


def test_two_tables_are_synced_at_once_by_two_workers(celery: Live) -> None:
    source = celery.pair.source_url
    with contextlib.ExitStack() as held:
        for table in ("parts", "bins"):
            held.enter_context(locked(source, f"celery.{table}"))
        run = celery.launch(["target/celery/parts", "target/celery/bins"])
        assert eventually(lambda: lock_waits(source) == 2, seconds=60), celery.log(run)
    assert celery.ends(run, "SUCCESS"), celery.log(run)
    assert workers_of(celery, run) == {"one", "two"}
    assert celery.pair.is_exact("celery.parts", "celery.bins")
