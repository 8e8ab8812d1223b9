"""Definitions that do not load: no sensor is there to tell of it, so that the code server does."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from sync_assets.automation.alerts import WEBHOOK, send
from sync_assets.automation.switches import loaded_location
from sync_assets.config.automation import Alerts
from sync_assets.engine.errors import SyncError
from sync_assets.hindrances.telling import BEGUN, OVER
from sync_assets.runs.home import alone_in

logger = logging.getLogger(__name__)


@contextmanager
def told_where_it_fails(addresses: Callable[[], Sequence[Alerts]]) -> Iterator[None]:
    """Tell once of definitions that a code server cannot load, and once that it can again.

    By the alerts that they had when they were loaded last, or by SYNC_ALERT_WEBHOOK if it is set.
    `addresses` are those that they have now.
    """
    try:
        yield
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        kind = error.kind if isinstance(error, SyncError) else type(error).__name__
        _tell(f"{kind}: {said}", list)
        raise
    # Beside the load, which neither waits for Dagster's storage nor fails with it.
    threading.Thread(target=_tell, args=["", addresses], name="loaded", daemon=True).start()


def _tell(failure: str, addresses: Callable[[], Sequence[Alerts]]) -> None:
    try:
        location = loaded_location()
        if location is None or not os.environ.get("DAGSTER_HOME"):
            return
        # One after another: webserver and daemon may each have a code server of their own.
        home = Path(os.environ["DAGSTER_HOME"]).expanduser()
        with alone_in(home), dg.DagsterInstance.get() as instance:
            _tell_once(instance, location, failure, addresses())
    except Exception:
        # The definitions' own error is what is raised.
        logger.warning("nobody was told whether the definitions load", exc_info=True)


def _tell_once(
    instance: dg.DagsterInstance, location: str, failure: str, addresses: Sequence[Alerts]
) -> None:
    key = f"sync_assets definitions {location}"
    kept: dict[str, Any] = json.loads(instance.run_storage.get_cursor_values({key}).get(key, "{}"))
    before = kept.get("failure", "")
    known = [Alerts(**each) for each in kept.get("alerts", [])]
    if failure:
        addresses = known or ([Alerts(webhook=True)] if os.environ.get(WEBHOOK) else [])
    if failure != before:
        subject = f"{location}: {BEGUN if failure else OVER}"
        for each in addresses or known:
            send(each, os.environ, subject, f"every table: {failure or f'over: {before}'}")
    now = {"failure": failure, "alerts": [each.model_dump() for each in addresses]}
    if now != {"failure": before, "alerts": kept.get("alerts", [])}:
        instance.run_storage.set_cursor_values({key: json.dumps(now)})
