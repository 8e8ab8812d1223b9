"""The loading half of a run: batches into staging tables, as they come, over several connections."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from sync_assets.engine.export.batches import Batch
from sync_assets.engine.export.export import Export
from sync_assets.engine.load import staging
from sync_assets.engine.load.staging import Staging
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.session import Connection


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
        self._failures: list[BaseException] = []

    def load(self, target: Connection, batches: Iterator[Batch], most: int) -> None:
        """Load all batches over at most so many connections; raises what a loader did."""
        self._batches = batches
        alone = any(staging.temporary for staging in self._staged)
        others = [
            threading.Thread(target=self._guarded, args=(self._join,))
            for _ in range(0 if alone else most - 1)
        ]
        for thread in others:
            thread.start()
        self._guarded(lambda: self._work(target))
        for thread in others:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits for all
            # Do not take `_turn` here: its holder may wait for a batch, which only this ends.
            self._failures.append(error)
            self._export.give_up(error)

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
