"""What `init` and `refresh` print with `--json`: what a source has."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from sync_assets.config.folder import Component
from sync_assets.config.refresh import Difference
from sync_assets.engine.inspection.inventory import Found


@dataclass(frozen=True)
class FoundRelation:
    """A relation of the source; `syncs` says whether it can be synced by row versions.

    `kind` is PostgreSQL's: r, a table; p, partitioned; v, a view; m, a materialized view; f, a
    foreign table. `whole` says that it can be synced by full_sync.
    """

    name: str
    kind: Literal["r", "p", "v", "m", "f"]
    rows: int | None
    bytes: int
    key: list[str]
    xmin_column: str | None
    problem: str | None
    remedy: str | None
    whole: bool
    syncs: bool

    @classmethod
    def of(cls, found: Found) -> FoundRelation:
        """As machines read it."""
        own: dict[str, Any] = {"name": str(found.name), "syncs": found.problem is None}
        known = {
            each.name: getattr(found, each.name) for each in fields(cls) if each.name not in own
        }
        return cls(**known, **own)


@dataclass(frozen=True)
class InitDocument:
    """`init --json`."""

    tables: list[FoundRelation]


@dataclass(frozen=True)
class Refreshed:
    """What one component's source was found to have; `left_out` says of a relation why."""

    file: str | None
    relations: int
    tables: list[str]
    new: list[str]
    gone: list[str]
    left_out: dict[str, str]

    @classmethod
    def of(cls, component: Component, difference: Difference) -> Refreshed:
        """As machines read it."""
        config = component.config
        return cls(
            component.document.file,
            len(config.catalog.relations) if config.catalog else 0,
            [each.entry.source for each in config.placed],
            list(difference.new),
            list(difference.gone),
            {str(each.name): each.why for each in config.left_out()},
        )


@dataclass(frozen=True)
class RefreshDocument:
    """`refresh --json`."""

    components: list[Refreshed]
