"""The loading half of a run: batches into staging tables, as they come, over several connections."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from sync_assets.engine import errors
from sync_assets.engine.export.batches import Batch
from sync_assets.engine.export.export import Export
from sync_assets.engine.load import staging
from sync_assets.engine.load.staging import Staging
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import Connection
from sync_assets.engine.threads import TaskGroup


class Loaders:
    """Takes the batches of an export, each by the first loader that is free.

    The connection that holds the target's lock loads too. A temporary staging table is seen by no
    other; into an ordinary one, that of a first load, further connections load beside it, and where
    one can't be had the others do its part.
    """

    def __init__(
        self, sessions: Sessions, plans: Sequence[Plan], staged: Sequence[Staging], export: Export
    ) -> None:
        self._sessions, self._plans, self._staged = sessions, plans, staged
        self._export = export
        self._batches: Iterator[Batch] = iter(())
        self._turn = threading.Lock()

    def load(self, target: Connection, batches: Iterator[Batch], most: int) -> None:
        """Load all batches over at most so many connections; raises what a loader did."""
        self._batches = batches
        alone = any(staging.temporary for staging in self._staged)
        # Giving up takes no `_turn`: its holder may wait for a batch, which only this ends.
        with TaskGroup(self._export.give_up) as group:
            for _ in range(0 if alone else most - 1):
                group.start(self._join)
            self._work(target)

    def _join(self) -> None:
        with contextlib.ExitStack() as stack:
            try:
                connection = stack.enter_context(self._sessions.connected("target"))
            except Exception:  # noqa: BLE001 - whatever it was, the others load on
                self._sessions.check()
                return
            self._work(connection)

    def _work(self, connection: Connection) -> None:
        for batch in self._taken():
            plan = self._plans[batch.member]
            if plan.loads:
                with errors.about(plan.table.target):
                    staging.load_batch(connection, self._staged[batch.member], plan, batch)
            self._export.discard(batch)
            self._sessions.check()

    def _taken(self) -> Iterator[Batch]:
        while True:
            with self._turn:
                batch = next(self._batches, None)
            if batch is None:
                return
            yield batch
