"""What an event can happen to, and what people have to be told of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg

from sync_assets_tests.fixtures.inbox import Inbox
from sync_assets_tests.scenarios.soak.home import Home
from sync_assets_tests.scenarios.soak.servers import Servers
from sync_assets_tests.scenarios.soak.tables import GROUP, Tables


@dataclass(frozen=True)
class Told:
    """What people have to be told: of each hindered table in these words, and that others failed."""

    hindered: Mapping[str, str] = field(default_factory=dict)
    failed: str = ""


NOTHING = Told()


@dataclass
class Stage:
    """All that an event can happen to."""

    servers: Servers
    home: Home
    tables: Tables
    inbox: Inbox
    instance: dg.DagsterInstance
    chance: random.Random
    interval: int

    def redefine(self) -> None:
        """Write the definitions anew and reload them."""
        self.home.write(self.tables.entries(), self.interval)
        self.home.reload()

    def any_of(self, names: Sequence[str]) -> str:
        """One of these that is synced."""
        return self.chance.choice(sorted(self.tables.synced.keys() & set(names)))

    def all_hindered(self, words: str) -> Told:
        """Every table that is synced, for one reason."""
        return Told(dict.fromkeys(self.tables.synced, words))

    def hindered(self, name: str, words: str) -> Told:
        """One table, and with it the group that it is in."""
        told = {name: words}
        if name in GROUP:
            told |= {other: "its group order waits" for other in GROUP if other != name}
        return Told(told)


Happening = Iterator[Told]
"""An event: it happens, yields what is to be told, and after a while is over, or mended."""
