"""What the state remembers of a source's columns and of the types behind them (pure)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sync_assets.engine.postgres.relation import Column, Leaf, LeafColumn, Relation
from sync_assets.engine.postgres.types import UserType

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class RememberedColumns:
    """The columns in scope at one run, in order, and the types they need.

    `relation` is the oid of the table, `kept` are columns that the target still has and the source
    no longer.
    """

    relation: int
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    types: tuple[UserType, ...]
    kept: tuple[Column, ...] = ()

    def as_json(self) -> str:
        """As the state keeps it."""
        return json.dumps(dataclasses.asdict(self))


def remembered_columns(
    relation: Relation,
    types: tuple[UserType, ...],
    key: tuple[str, ...],
    before: RememberedColumns | None,
) -> RememberedColumns:
    """The shape of a source after a run; what the last run kept on the target stays known."""
    now = {column.name for column in relation.columns}
    gone = () if before is None else (*before.kept, *before.columns)
    kept = {column.name: column for column in gone if column.name not in now}
    return RememberedColumns(relation.oid, key, relation.columns, types, tuple(kept.values()))


def from_json(found: Mapping[str, Any] | None) -> RememberedColumns | None:
    """Read what `as_json` wrote, also by another version of this program."""
    if not found:
        return None
    return RememberedColumns(
        found["relation"],
        tuple(found["key"]),
        tuple(_restored(Column, each) for each in found["columns"]),
        tuple(_restored(UserType, each) for each in found["types"]),
        tuple(_restored(Column, each) for each in found.get("kept", ())),
    )


def _restored(kind: type[Item], values: Mapping[str, Any]) -> Item:
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: _tuples(value) for name, value in values.items() if name in names})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def leaf_json(columns: Iterable[LeafColumn]) -> str:
    """Where a leaf keeps its columns, as the state keeps it."""
    return json.dumps({each.name: [each.number, each.generation] for each in columns})


def leaf_columns(found: Mapping[str, tuple[int, str | None]] | None) -> tuple[LeafColumn, ...]:
    """Read what `leaf_json` wrote; jsonb has an order of its own."""
    columns = (
        LeafColumn(number, name, None, generation)
        for name, (number, generation) in (found or {}).items()
    )
    return tuple(sorted(columns, key=lambda column: column.number))


def places(leaf: Leaf) -> tuple[LeafColumn, ...]:
    """The columns of a leaf without what the next run reads anew."""
    return tuple(dataclasses.replace(column, missing=None) for column in leaf.columns)
