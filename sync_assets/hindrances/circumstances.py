"""Everything that one look at the tables of a component finds around them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import SyncError
from sync_assets.engine.inspection.health import (
    BatchDisk,
    SourceHealth,
    TargetHealth,
    look_at_disk,
    look_at_source,
    look_at_target,
)
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.connection import Server

ENDS, DAGSTER, DISK = ("source", "target"), "Dagster", "disk"

ASKED = ("source asked", "target asked")
"""What is known of an end also where it has not answered: that it was asked."""

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What Dagster has of a kind: in words, its mend, and the targets that it hinders.

    `about` tells two of a kind apart, `command` does what the remedy says.
    """

    kind: str
    what: str
    remedy: str
    targets: Collection[RelationName]
    about: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Home:
    """What Dagster's home says: what hinders, and the targets that living runs work on.

    `looks` says when those with a `freshness` were looked at that were found idle, in seconds since
    1970: that leaves nothing on the target.
    """

    troubles: Sequence[Trouble] = ()
    working: Collection[RelationName] = ()
    looks: Mapping[RelationName, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """With what a table's last failed sync failed, and when."""

    kind: str
    what: str
    remedy: str
    at: float


Failures = Mapping[RelationName, Failure]


@dataclass(frozen=True)
class Circumstances:
    """What did not answer is its error, and None what was not asked.

    `failures` are those that no sync of the table has followed.
    """

    tables: Sequence[SyncedTable]
    source: SourceHealth | SyncError | None = None
    target: TargetHealth | SyncError | None = None
    disk: BatchDisk | SyncError | None = None
    home: Home | None = None
    failures: Failures = field(default_factory=dict)

    @property
    def ends(self) -> tuple[tuple[str, SourceHealth | TargetHealth | SyncError | None], ...]:
        """Both, with their names."""
        return tuple(zip(ENDS, (self.source, self.target), strict=True))

    @property
    def known(self) -> set[str]:
        """What has answered, and which ends were asked at all."""
        answered = {end for end, it in self.ends if isinstance(it, SourceHealth | TargetHealth)}
        asked = {asked for asked, (_, it) in zip(ASKED, self.ends, strict=True) if it is not None}
        beside = {name for name, it in ((DAGSTER, self.home), (DISK, self.disk)) if it is not None}
        return answered | asked | beside


def look(
    source: Server,
    target: Server,
    tables: Sequence[SyncedTable],
    home: Home | None = None,
    failures: Failures = MappingProxyType({}),
) -> Circumstances:
    """Ask each end once, and this machine; what Dagster has was asked before."""
    return Circumstances(
        tables,
        _or_error(lambda: look_at_source(source, [each.table.source for each in tables])),
        _or_error(lambda: look_at_target(target, [each.table.target for each in tables])),
        _or_error(look_at_disk),
        home,
        failures,
    )


def _or_error(ask: Callable[[], Seen]) -> Seen | SyncError:
    try:
        return ask()
    except SyncError as error:
        return error
