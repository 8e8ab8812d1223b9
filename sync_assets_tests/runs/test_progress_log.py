"""What a run's log says of a wait."""

from __future__ import annotations

from sync_assets.engine.progress import Progress
from sync_assets.runs.in_flight import SILENCE
from sync_assets.runs.progress_log import WAIT_SECONDS, ProgressLog


def test_a_wait_is_told_once_and_then_just_often_enough_not_to_seem_dead() -> None:
    lines: list[str] = []
    now = 0.0
    log = ProgressLog(lines.append, lambda: now)
    for second in range(0, 400, 3):
        now = float(second)
        log.follow(
            Progress("public.t", "wait", note=f"a replication lag of {second} s, above 30 s")
        )
    assert lines == [
        "public.t: wait: a replication lag of 0 s, above 30 s",
        "public.t: wait: a replication lag of 300 s, above 30 s, 5 min so far",
    ]
    assert WAIT_SECONDS < SILENCE
