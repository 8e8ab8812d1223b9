"""A table from names and words, as scripts and the config write them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from sync_assets.engine.computed.masks import parsed_masks
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.names import RelationName
from sync_assets.engine.partition_of import PartitionOf
from sync_assets.engine.table import (
    Carry,
    ChangedBlocks,
    Deletes,
    LateCommits,
    OnSchemaChange,
    SyncMode,
    Table,
)


def parsed_partition(
    written: PartitionOf | dict[str, str] | None,
) -> PartitionOf | None:
    """What a target is a partition of, from its `table`, `column` and `value`; raises ConfigurationError."""
    if written is None or isinstance(written, PartitionOf):
        return written
    names = {field.name for field in dataclasses.fields(PartitionOf)}
    if set(written) != names:
        raise ConfigurationError(
            f"partition_of has {', '.join(map(repr, written)) or 'nothing'}",
            remedy=f"It takes {', '.join(sorted(names))}.",
        )
    return PartitionOf(**written | {"table": RelationName.parse(written["table"])})  # type: ignore[arg-type]


def parsed_carry(kinds: str | Iterable[str]) -> tuple[Carry, ...]:
    """What to carry from its words, or from `all`; raises ConfigurationError."""
    if kinds == "all":
        return tuple(Carry)
    return tuple(Carry.parse(kind) for kind in _names(kinds) or ())


def _names(names: str | Iterable[str] | None) -> tuple[str, ...] | None:
    return (names,) if isinstance(names, str) else None if names is None else tuple(names)


_PARSED: dict[str, Callable[[Any], Any]] = {
    "key": _names,
    "columns": _names,
    "exclude": _names,
    "expressions": lambda pairs: tuple(dict(pairs).items()),
    "mask": parsed_masks,
    "changed_blocks": ChangedBlocks.parse,
    "deletes": Deletes.parse,
    "late_commits": LateCommits.parse,
    "on_schema_change": OnSchemaChange.parse,
    "carry": parsed_carry,
    "approved_changes": _names,
    "partition_of": parsed_partition,
}
"""Options that scripts write more simply than `Table` keeps them."""

_OPTIONS = frozenset(field.name for field in dataclasses.fields(Table)) - {
    "source",
    "target",
    "mode",
}


def table_of(source: str, target: str, mode: SyncMode, options: dict[str, Any]) -> Table:
    """A table from names and from options as scripts write them; raises ConfigurationError."""
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise ConfigurationError(
            f"unknown option {unknown[0]!r}", remedy=f"Known are {', '.join(sorted(_OPTIONS))}."
        )
    parsed: dict[str, Any] = {
        name: parse(options[name]) for name, parse in _PARSED.items() if name in options
    }
    options = options | parsed
    return Table(RelationName.parse(source), RelationName.parse(target), mode, **options)
