"""What a sync must not do: variants of the protocol that lose rows, for a comparison to catch.

Each is applied after every round and spoils the next ones. Where it misreads the mark it takes the
witnesses away, which at times tell that the mark and the rows contradict each other: the run would
refuse what the comparison is to catch.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sync_assets.engine.postgres.xid import XidWindow
from sync_assets.engine.snapshot import snapshot
from sync_assets_tests.scenarios.storms.rounds import Rounds

Control = Callable[[Rounds, pytest.MonkeyPatch], None]

PREDICATE = XidWindow.predicate


def max_xmin(rounds: Rounds, _: pytest.MonkeyPatch) -> None:
    """The mark is the highest xmin that was seen."""
    rounds.pair.target(
        "UPDATE sync_assets.state SET watermark = coalesce(source_max_xmin, watermark),"
        " samples = DEFAULT"
    )


def xip_list(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark is the snapshot's xmax, and its list of open transactions is read besides."""
    rounds.pair.target("UPDATE sync_assets.state SET watermark = snapshot_xmax, samples = DEFAULT")
    last = {view.relation.name: view.snapshot.text for view in rounds.watch.views}
    open_then = {xid for text in last.values() for xid in text.split(":")[2].split(",") if xid}
    listed = ", ".join(f"'{int(xid) % 2**32}'" for xid in open_then) or "NULL"

    def predicate(window: XidWindow) -> str:
        inside = "false" if window.start == window.end else PREDICATE(window)
        return f"({inside} OR xmin IN ({listed}))"

    monkeypatch.setattr(XidWindow, "is_empty", False)
    monkeypatch.setattr(XidWindow, "quick_predicate", predicate)


def no_lock(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing keeps the table as it was when the snapshot was taken."""
    rounds.watch.rewrites_awaited = 1.0
    monkeypatch.setattr(snapshot, "locks", lambda _: ())


CONTROLS: tuple[Control, ...] = (max_xmin, xip_list, no_lock)
