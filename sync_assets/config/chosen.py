"""The options that hold for one table, and the engine's table that they make."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from sync_assets.engine.names import RelationName
from sync_assets.engine.table import Table


def set_values(options: BaseModel) -> dict[str, Any]:
    """The options that are written."""
    return {name: value for name, value in options if value is not None}


def engine_table(chosen: Mapping[str, Any]) -> Table:
    """The table as the engine takes it; raises ConfigurationError where options contradict each other."""
    # Only what was set is passed on: the engine's own defaults stay the only ones.
    names = {field.name for field in dataclasses.fields(Table)} - {"source", "target"}
    options: dict[str, Any] = {name: chosen[name] for name in names if name in chosen}
    options |= {name: tuple(value) for name, value in options.items() if isinstance(value, list)}
    if "sync_mode" in chosen:
        options["mode"] = chosen["sync_mode"]
    if "expressions" in chosen:
        options["expressions"] = tuple(chosen["expressions"].items())
    source = RelationName.parse(chosen["source"])
    target = _target(chosen["target"], source) if "target" in chosen else source
    return Table(source=source, target=target, **options)


def _target(text: str, source: RelationName) -> RelationName:
    """The target's name, with that of the source where it is a template; raises ConfigurationError."""
    parts = {"{schema}": source.schema, "{table}": source.name}
    named = RelationName.parse(text)

    def filled(part: str) -> str:
        return re.sub(r"\{(schema|table)\}", lambda found: parts[found[0]], part)

    return RelationName.parse(str(RelationName(filled(named.schema), filled(named.name))))
