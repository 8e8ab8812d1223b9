"""What `run` and `verify` say of a wait where there is no terminal."""

from __future__ import annotations

from sync_assets.cli.run_display import PlainDisplay
from sync_assets.config.entries import TableEntry
from sync_assets.config.model import TableSyncConfig
from sync_assets.engine.progress import Progress


class Looks(PlainDisplay):
    """A display that looks without a clock, and keeps what it says."""

    def __init__(self, *phases: str) -> None:
        config = TableSyncConfig(tables=[TableEntry(source="t")])
        (self.table,) = config.synced_tables("")
        super().__init__({self.table.address: "t"})
        self.lines: list[str] = []
        self.steps = [Progress("public.t", phase, note=phase) for phase in phases]  # type: ignore[arg-type]
        self._over = self  # type: ignore[assignment]

    def wait(self, _seconds: float) -> bool:
        if not self.steps:
            return True
        self.progressed(self.table, self.steps.pop(0))
        return False

    def say(self, line: str) -> None:
        self.lines.append(line.rpartition(": ")[2])


def test_a_wait_is_said_once_and_work_each_time() -> None:
    display = Looks("export", "wait", "wait", "wait", "export", "export", "wait")
    display.started(display.table)
    display._go_on()
    assert display.lines == ["export", "wait", "export", "export", "wait"]
