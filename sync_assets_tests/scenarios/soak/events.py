"""What a month brings: one table of kinds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from sync_assets_tests.scenarios.soak.happenings import to_processes, to_servers, to_tables
from sync_assets_tests.scenarios.soak.stage import Happening, Stage, Told

Event = Callable[[Stage], AbstractContextManager[Told]]


@dataclass(frozen=True)
class Kind:
    """A kind of event, and for how many seconds it lasts once people were told what they must be."""

    name: str
    event: Event
    lasts: float = 0.0
    disk: str = ""
    needs: Path | None = None

    def why_not(self, stage: Stage) -> str:
        """Why it cannot happen here, or nothing."""
        refusal: str = getattr(stage.servers, self.disk).refusal if self.disk else ""
        missing = f"{self.needs} is not there" if self.needs and not self.needs.exists() else ""
        return refusal or missing


def _of(happen: Callable[..., Happening], *arguments: str) -> Event:
    made = contextlib.contextmanager(happen)
    return lambda stage: made(stage, *arguments)


AHEAD = to_servers.OTHER_TIME
ROOM = "MB are free for batch files"

KINDS = (
    Kind("daemon killed", _of(to_processes.killed_at_work, "daemon"), 5),
    Kind("webserver killed", _of(to_processes.killed, "webserver"), 5),
    Kind("code server killed, with its runs", _of(to_processes.killed_at_work, "code server"), 5),
    Kind("a run killed", _of(to_processes.run_killed)),
    Kind("the machine gone", _of(to_processes.killed_at_work, *to_processes.ALL), 10),
    Kind("daemon frozen", _of(to_processes.frozen, "daemon"), 40),
    Kind("code server frozen", _of(to_processes.code_server_frozen), 40),
    Kind("code server of another version", _of(to_processes.other_version), 20),
    Kind("source restarted", _of(to_servers.restarted, "primary", "fast")),
    Kind("source down", _of(to_servers.down, "primary"), 30),
    Kind("source failed over", _of(to_servers.failed_over)),
    Kind("target restarted", _of(to_servers.restarted, "target", "fast")),
    Kind("target down", _of(to_servers.down, "target"), 30),
    Kind("the source an hour ahead", _of(to_servers.other_time, "primary"), 30, needs=AHEAD),
    Kind("the target an hour ahead", _of(to_servers.other_time, "target"), 30, needs=AHEAD),
    Kind("Dagster's storage an hour ahead", _of(to_servers.other_time, "dagster"), 30, needs=AHEAD),
    Kind("Dagster's storage restarted", _of(to_servers.restarted, "dagster", "fast")),
    Kind("Dagster's storage down", _of(to_servers.down, "dagster"), 20),
    Kind(
        "disk of Dagster's storage full",
        _of(to_servers.disk_full, "dagster_disk"),
        20,
        disk="dagster_disk",
    ),
    Kind("disk of the target full", _of(to_servers.target_full), disk="target_disk"),
    Kind(
        "disk of batch files full", _of(to_servers.disk_full, "batch_disk", ROOM), disk="batch_disk"
    ),
    Kind("source cut off", _of(to_servers.network, "source", "cut", "0")),
    Kind("target cut off", _of(to_servers.network, "target", "cut", "0")),
    Kind("source half-open", _of(to_servers.network, "source", "half-open", "25"), 25),
    Kind("target half-open", _of(to_servers.network, "target", "half-open", "25"), 25),
    Kind("source stalled", _of(to_servers.network, "source", "stalled", "30"), 30),
    Kind("target stalled", _of(to_servers.network, "target", "stalled", "30"), 30),
    Kind("source full", _of(to_servers.crowded, "source"), 30),
    Kind("target full", _of(to_servers.crowded, "target"), 30),
    Kind("source's password rotated", _of(to_servers.password_rotated, "source", "reader")),
    Kind("target's password rotated", _of(to_servers.password_rotated, "target", "writer")),
    Kind("a right revoked", _of(to_tables.right_revoked)),
    Kind("a table dropped", _of(to_tables.table_dropped)),
    Kind("a table renamed", _of(to_tables.table_renamed)),
    Kind("a table added", _of(to_tables.table_added)),
    Kind("a table taken out", _of(to_tables.table_taken_out)),
    Kind("a column added", _of(to_tables.column, "ADD COLUMN IF NOT EXISTS extra int DEFAULT 7")),
    Kind("a column dropped", _of(to_tables.column, "DROP COLUMN IF EXISTS extra")),
    Kind("a partition attached", _of(to_tables.partition_attached)),
    Kind("a partition detached", _of(to_tables.partition_detached), 20),
    Kind("a table rewritten", _of(to_tables.column, "ALTER COLUMN n TYPE int USING n + 1")),
    Kind("a table truncated and filled", _of(to_tables.truncated)),
    Kind("most rows of a table gone", _of(to_tables.most_deleted)),
    Kind("a target dropped", _of(to_tables.target_changed, "DROP TABLE {}")),
    Kind("a target rewritten", _of(to_tables.target_changed, "VACUUM FULL {}")),
    Kind("a row that the target refuses", _of(to_tables.refused_by_the_target)),
    Kind("the same while alerts go nowhere", _of(to_tables.refused_unheard)),
    Kind("a target locked by a stranger", _of(to_tables.locked_by_a_stranger), 30),
    Kind("the lock of runs held by a stranger", _of(to_tables.lock_of_runs_held)),
    Kind("a transaction open for long", _of(to_tables.open_transaction), 30),
    Kind("nonsense in defs.yaml", _of(to_processes.nonsense), 20),
    Kind("a schedule edited", _of(to_processes.rescheduled), 10),
    Kind("the sensor switched off", _of(to_processes.switched_off)),
)
"""Everything that has been thought of; a new one is a line here, and what it does."""
